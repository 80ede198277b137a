// Who is talking: a demo user whose token is kept in localStorage and renewed by the server.

import { Stored } from "./storage.js";

const NEARLY_OVER_MS = 15_000;
const WITHIN_MS = 10_000;
const LOCK = "atma.demo.identity";

/** The server gave no token; `signedOut` where asking again would not help. */
export class NoToken extends Error {
  constructor(message, signedOut) {
    super(message);
    this.signedOut = signedOut;
  }
}

export class Identity {
  /** `onStranger` is called when the server knows this user no longer and made another. */
  constructor({ onStranger }) {
    this.stored = new Stored(() => localStorage, LOCK);
    this.held = this.stored.read();
    this.onStranger = onStranger;
    this.renewing = null;
  }

  get user() {
    return this.held?.user ?? null;
  }

  /** A token that is good for a while, from here or from the server. */
  async token() {
    const kept = this.stored.read();
    if (kept && kept.user === (this.user ?? kept.user)) this.held = kept;
    return this.held && fresh(this.held) ? this.held.token : this.renew();
  }

  /** Another token for the same user; asked for once, however many want it. */
  renew() {
    this.renewing ??= this.#alone(() => this.#renew()).finally(() => {
      this.renewing = null;
    });
    return this.renewing;
  }

  /** The server refuses this token. */
  discard() {
    if (!this.held) return;
    const { token } = this.held;
    this.held = { ...this.held, expiresAt: 0 };
    // another tab may have a newer one
    if (this.stored.read()?.token === token) this.stored.write(this.held);
  }

  /** Be nobody: the next token is a new user's. */
  forget() {
    this.held = null;
    this.stored.clear();
  }

  /** Tabs that open together become one user, not several. */
  #alone(work) {
    return navigator.locks ? navigator.locks.request(LOCK, work) : work();
  }

  async #renew() {
    const before = this.held;
    const kept = this.stored.read();
    // another tab may have been here first
    if (kept && kept.token !== before?.token && fresh(kept)) return this.#take(kept, before);
    const headers = before ? { Authorization: `Bearer ${before.token}` } : {};
    let answer;
    try {
      answer = await fetch("demo/token", { method: "POST", headers, signal: AbortSignal.timeout(WITHIN_MS) });
    } catch {
      throw new NoToken("The server cannot be reached.", false);
    }
    if (!answer.ok) throw new NoToken("The server gives no token.", answer.status < 500 && answer.status !== 429);
    const { token, user, expires_at: at, expires_in: seconds } = await answer.json();
    const next = { token, user, expiresAt: endOf(at, seconds) };
    this.stored.write(next);
    return this.#take(next, before);
  }

  #take(next, before) {
    this.held = next;
    if (!before || before.user === next.user) return next.token;
    this.onStranger();
    return new Promise(() => {}); // the page is going away, and nobody is to speak in another's name
  }
}

function fresh({ expiresAt }) {
  return expiresAt === null || expiresAt - Date.now() > NEARLY_OVER_MS;
}

/** When a token ends, in ms since 1970; `null` where the server does not say. */
function endOf(at, seconds) {
  if (typeof at === "number") return at * 1000;
  if (typeof at === "string") return Date.parse(at);
  return typeof seconds === "number" ? Date.now() + seconds * 1000 : null;
}
