// The REST part of the contract that this page uses: lists and history.

const BASE = "api/chat";
const WITHIN_MS = 15_000;

/** An answer that is no success, or none at all (`status` 0). */
export class Failed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Rest {
  constructor(identity) {
    this.identity = identity;
  }

  conversations({ limit = 30, offset = 0 } = {}) {
    return this.#get(`/conversations?limit=${limit}&offset=${offset}`);
  }

  async conversation(id) {
    return (await this.#get(`/conversations/${encodeURIComponent(id)}`)).conversation;
  }

  messages(conversation, { before = null } = {}) {
    const cursor = before === null ? "" : `&before_id=${encodeURIComponent(before)}`;
    return this.#get(`/conversations/${encodeURIComponent(conversation)}/messages?limit=50${cursor}`);
  }

  async #get(path) {
    let answer = await this.#ask(path, await this.identity.token());
    // a token that ended between two looks at the clock
    if (answer.status === 401) answer = await this.#ask(path, await this.identity.renew());
    if (answer.ok) return answer.json();
    const problem = await answer.json().catch(() => ({}));
    throw new Failed(answer.status, problem.detail ?? "The server cannot do this now.");
  }

  async #ask(path, token) {
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
    try {
      return await fetch(BASE + path, { headers, signal: AbortSignal.timeout(WITHIN_MS) });
    } catch {
      throw new Failed(0, "The server cannot be reached.");
    }
  }
}
