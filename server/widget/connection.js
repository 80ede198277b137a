// One session after another over a WebSocket, until the page is left or the server says stop.
//
// Commands are repeated on every new session until they are answered: whoever sends a message chooses its
// `client_message_id` once, so a repetition does nothing twice.

import { BLAMED, adviceFor, backOff, waitForPlace } from "./closing.js";

const SUBPROTOCOL = "atma.chat.v1";
const CLIENT = { name: "atma-demo", version: "1" };
const WELCOME_WITHIN_MS = 10_000;
const HEALTHY_AFTER_MS = 30_000;
const LOOK_EVERY_MS = 500;

/** A command the server refused, or one that was given up with its connection. */
export class Refused extends Error {
  constructor({ code, message, retryable, retry_after_ms: retryAfterMs }) {
    super(message);
    this.code = code;
    this.retryable = Boolean(retryable);
    this.retryAfterMs = retryAfterMs ?? null;
  }
}

/**
 * `state` is `connecting`, `open` (welcomed, catching up), `synced`, `waiting` (until `retryAt`) or
 * `stopped` (by close code `code`). `onState()` tells of a change, `onFrame(frame)` of what was news.
 */
export class Connection {
  constructor({ url, identity, view, onState, onFrame }) {
    Object.assign(this, { url, identity, view, onState, onFrame });
    this.state = "connecting";
    this.retryAt = 0;
    this.code = null;
    this.limits = null;
    this.socket = null;
    this.waiting = new Map(); // id -> { command, resolve, reject }
    this.nextId = 1;
    this.tries = 0;
    this.longer = 0; // the server asked to stay away for at least so long
    this.timers = {};
    this.moveAt = 0; // when a server that restarts wants this session to have moved
    this.patient = false; // one session too many: not to come back early
    addEventListener("online", () => this.state === "waiting" && !this.patient && this.connect());
    setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** The user wants it again, after a stop. */
  retry() {
    if (this.state === "stopped") this.connect();
  }

  /** Send a command until it is answered; resolves with its `ack`, rejects with `Refused`. */
  command(fields) {
    return new Promise((resolve, reject) => {
      const id = `c${this.nextId++}`;
      const command = { ...fields, id };
      this.waiting.set(id, { command, resolve, reject });
      if (this.state === "open" || this.state === "synced") this.#send(command);
    });
  }

  async connect() {
    clearTimeout(this.timers.retry);
    this.#abandon();
    this.#become("connecting");
    this.heardAt = Date.now();
    this.silenceMs = WELCOME_WITHIN_MS;
    const attempt = {};
    this.attempt = attempt;
    let token;
    try {
      token = await this.identity.token();
    } catch (error) {
      if (this.attempt === attempt) this.#ended(error.signedOut ? 4003 : 1006);
      return;
    }
    if (this.attempt !== attempt) return;
    const socket = new WebSocket(this.url, [SUBPROTOCOL]);
    this.socket = socket;
    socket.onopen = () => {
      this.#send({ type: "hello", id: "hello", token, resume: this.view.resumePoint(), client: CLIENT });
    };
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => {
      this.#abandon();
      this.#ended(code);
    };
  }

  // --- receiving ------------------------------------------------------------------------------

  #receive(frame) {
    this.heardAt = Date.now();
    const news = this.view.apply(frame);
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "synced" && !this.view.needsResume) this.#become("synced");
    else if (frame.type === "reset") this.#become("open");
    else if (frame.type === "ack" || frame.type === "error") this.#answered(frame);
    else if (frame.type === "auth.expiring") this.#extend();
    else if (frame.type === "drain") this.#drain(frame.reconnect_in_ms);
    if (news) this.onFrame(frame);
    if (this.view.needsResume) this.#lost();
    else if (this.view.needsSync && !this.syncing) this.#sync();
    if (!this.view.needsSync) this.syncing = false;
  }

  #welcomed(frame) {
    this.limits = frame.limits;
    this.silenceMs = 2 * frame.heartbeat_ms;
    this.syncing = false;
    this.longer = 0;
    this.timers.healthy = setTimeout(() => {
      this.tries = 0;
    }, HEALTHY_AFTER_MS);
    this.#become("open");
    for (const { command } of this.waiting.values()) this.#send(command);
  }

  #answered(frame) {
    const asked = this.waiting.get(frame.re);
    this.waiting.delete(frame.re);
    if (frame.type === "ack") asked?.resolve(frame);
    else if (asked) asked.reject(new Refused(frame));
    else this.longer = frame.retry_after_ms ?? 0; // of `hello`, or of the connection itself
  }

  async #extend() {
    const { socket } = this;
    const { user } = this.identity;
    try {
      const token = await this.identity.renew();
      if (this.socket === socket && this.identity.user === user) this.#send({ type: "auth", token });
    } catch {
      // the session ends with its token, and the next one asks again
    }
  }

  #drain(ms) {
    this.moveAt = Date.now() + ms;
    clearTimeout(this.timers.move);
    this.timers.move = setTimeout(() => this.connect(), ms);
  }

  #sync() {
    this.syncing = true;
    this.#send({ type: "sync", texts: this.view.heldTexts() });
  }

  // --- ending ---------------------------------------------------------------------------------

  /** The connection is of no use any more: what has gone missing comes with the next one. */
  #lost() {
    this.#abandon();
    this.#ended(1006);
  }

  /** Hear nothing more of a socket; a half-open one would tell of its end only after minutes. */
  #abandon() {
    this.attempt = null;
    clearTimeout(this.timers.healthy);
    clearTimeout(this.timers.move);
    const { socket } = this;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  #ended(code) {
    this.view.synced = false;
    if (BLAMED.has(code)) this.#giveUp();
    const advice = adviceFor(code);
    this.patient = advice === "wait";
    if (advice === "stop") {
      this.code = code;
      this.#become("stopped");
      return;
    }
    if (advice === "token") this.identity.discard();
    let delay = Math.max(backOff(this.tries, Math.random()), this.longer);
    if (this.patient) delay = waitForPlace(Math.random());
    // a server that restarts has said when to come back
    else if (code === 1012 && this.moveAt > Date.now()) delay = this.moveAt - Date.now();
    this.moveAt = 0;
    this.longer = 0;
    this.tries += 1;
    this.retryAt = Date.now() + delay;
    this.timers.retry = setTimeout(() => this.connect(), delay);
    this.#become("waiting");
  }

  #giveUp() {
    const given = [...this.waiting.values()];
    this.waiting.clear();
    const reason = { code: "bad_request", message: "The server could not read this.", retryable: false };
    for (const { reject } of given) reject(new Refused(reason));
  }

  #look() {
    if (this.socket && Date.now() - this.heardAt > this.silenceMs) this.#lost();
    else if (this.state === "waiting") this.onState(); // the seconds left
  }

  #send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  #become(state) {
    this.state = state;
    this.onState();
  }
}
