// Fetches by REST what the channel does not bring: the list, and the history of the conversation that is open.

import { Failed } from "./rest.js";

const GONE = new Set([400, 404]);

export class Loader {
  /** `onChange()` when something arrived, `onFailure(message)` when what the user asked for did not. */
  constructor({ rest, library, onChange, onFailure }) {
    Object.assign(this, { rest, library, onChange, onFailure });
    this.asked = new Map(); // what is being fetched -> the latest request
    this.failed = new Set(); // conversations that could not be fetched; "" is the list
    this.missing = new Set(); // conversations that are not there
  }

  /** The list from its beginning, in place of what is listed. */
  async conversations() {
    const known = [...this.library.conversations.keys()];
    await this.#fetch("", () => this.rest.conversations(), (page) => this.library.takeList(page, known));
  }

  async moreConversations() {
    const offset = this.library.listing().length;
    await this.#fetch("more conversations", () => this.rest.conversations({ offset }), (page) => this.library.takeList(page));
  }

  /** See that a conversation's messages are here, or on their way. */
  open(conversation) {
    if (!conversation || this.library.thread(conversation).loaded) return;
    if (this.asked.has(conversation) || this.failed.has(conversation) || this.missing.has(conversation)) return;
    this.again(conversation);
  }

  /** Fetch a conversation's newest messages. */
  async again(conversation) {
    this.listed(conversation);
    await this.#fetch(
      conversation,
      () => this.rest.messages(conversation),
      (page) => this.library.takeMessages(conversation, page),
    );
  }

  /** See that a conversation is in the list: one that is not among the first page has no title here. */
  async listed(conversation) {
    if (this.library.conversations.has(conversation)) return;
    const key = `title ${conversation}`;
    if (this.asked.has(key)) return;
    await this.#fetch(
      key,
      () => this.rest.conversation(conversation),
      (found) => this.library.take({ type: "conversation.updated", conversation: found }),
    );
  }

  async earlier(conversation) {
    const [before] = [...this.library.thread(conversation).messages.keys()].sort();
    await this.#fetch(
      `earlier ${conversation}`,
      () => this.rest.messages(conversation, { before }),
      (page) => this.library.takeMessages(conversation, page, { older: true }),
    );
  }

  /** Something was lost: fetch again what is shown. */
  everything(conversation) {
    this.failed.clear();
    this.missing.clear();
    this.conversations();
    if (conversation) this.again(conversation);
  }

  /** The connection is back: fetch what could not be fetched. */
  retry() {
    const failed = [...this.failed];
    this.failed.clear();
    for (const key of failed) {
      if (key === "") this.conversations();
      else this.again(key);
    }
  }

  /** Ask, and take the answer unless something newer was asked meanwhile. */
  async #fetch(key, ask, take) {
    const request = {};
    this.asked.set(key, request);
    try {
      const answer = await ask();
      if (this.asked.get(key) === request) take(answer);
    } catch (error) {
      if (this.asked.get(key) === request) this.#missed(key, error);
    } finally {
      if (this.asked.get(key) === request) this.asked.delete(key);
      this.onChange();
    }
  }

  #missed(key, error) {
    if (key.startsWith("title ")) return;
    const gone = error instanceof Failed && GONE.has(error.status);
    if (gone) this.missing.add(key);
    else if (!key.includes(" ")) this.failed.add(key);
    this.onFailure(gone ? "This conversation is not there." : error.message);
  }
}
