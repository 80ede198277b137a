// The REST part of the contract that this page uses: lists, history, and the way of an assessment.

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

  /** Somebody's assessment is finished for them; a door of development, beside the contract. */
  finishAssessment(language) {
    return this.#do("POST", `demo/assessments?language=${language}`);
  }

  assessmentConversation(assessment) {
    return this.#get(`/assessment/${encodeURIComponent(assessment)}/conversation`);
  }

  initialize(assessment) {
    return this.#do("POST", `${BASE}/assessment/${encodeURIComponent(assessment)}/initialize`);
  }

  #get(path) {
    return this.#do("GET", BASE + path);
  }

  async #do(method, address) {
    let answer = await this.#ask(method, address, await this.identity.token());
    // a token that ended between two looks at the clock
    if (answer.status === 401) answer = await this.#ask(method, address, await this.identity.renew());
    if (answer.ok) return answer.json();
    const problem = await answer.json().catch(() => ({}));
    throw new Failed(answer.status, problem.detail ?? "The server cannot do this now.");
  }

  async #ask(method, address, token) {
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
    try {
      return await fetch(address, { method, headers, signal: AbortSignal.timeout(WITHIN_MS) });
    } catch {
      throw new Failed(0, "The server cannot be reached.");
    }
  }
}
