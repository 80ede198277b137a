// What the user wants done and the server has not confirmed: kept, repeated, and never done twice.

import { backOff } from "./closing.js";

const OF_THE_MOMENT = new Set(["unavailable", "draining", "internal"]);
const MOST_TRIES = 6;
const SOON_MS = 3_000;

export class Outbox {
  /** `onChange()` after every change; `onAccepted(entry)` and `onRefused(entry, error)` with the answer. */
  constructor({ connection, entries, onChange, onAccepted, onRefused }) {
    Object.assign(this, { connection, entries, onChange, onAccepted, onRefused });
  }

  /** Say something in a place: a conversation, or a draft that becomes one. */
  say({ content, place, conversation, parent }) {
    this.#add({ kind: "send", content, place, conversation, parent });
  }

  /** Answer a message again. */
  again({ target, place }) {
    this.#add({ kind: "regenerate", target, place });
  }

  /** What a reload left unanswered. */
  resume(entries) {
    for (const entry of entries) {
      this.entries.set(entry.key, entry);
      if (entry.state === "sending") this.#ask(entry);
    }
  }

  /** Once more, as the same command. */
  retry(key) {
    const entry = this.entries.get(key);
    if (!entry) return;
    Object.assign(entry, { state: "sending", reason: null, tries: 0 });
    this.#ask(entry);
    this.onChange();
  }

  discard(key) {
    this.entries.delete(key);
    this.onChange();
  }

  #add(fields) {
    const entry = { ...fields, key: uuid(), state: "sending", reason: null, tries: 0, message: null, generation: null };
    this.entries.set(entry.key, entry);
    this.#ask(entry);
    this.onChange();
  }

  async #ask(entry) {
    let ack;
    try {
      ack = await this.connection.command(commandOf(entry));
    } catch (error) {
      this.#refused(entry, error);
      return;
    }
    if (this.entries.get(entry.key) !== entry) return;
    const { message = null, generation, conversation = entry.conversation, duplicate } = ack;
    Object.assign(entry, { state: "sent", message, generation, conversation, duplicate });
    this.onAccepted(entry);
    this.onChange();
  }

  #refused(entry, error) {
    if (this.entries.get(entry.key) !== entry) return;
    const wait = Math.max(error.retryAfterMs ?? 0, backOff(entry.tries + 1, Math.random()));
    const passing = OF_THE_MOMENT.has(error.code) || (error.code === "rate_limited" && wait <= SOON_MS);
    entry.tries += 1;
    if (passing && entry.tries < MOST_TRIES) {
      setTimeout(() => this.entries.get(entry.key) === entry && this.#ask(entry), wait);
      return;
    }
    Object.assign(entry, { state: "failed", reason: error.message });
    this.onRefused(entry, error);
    this.onChange();
  }
}

function commandOf({ kind, key, content, conversation, parent, target }) {
  if (kind === "regenerate") return { type: "message.regenerate", message: target, client_message_id: key };
  return {
    type: "message.send",
    content,
    client_message_id: key,
    conversation: conversation ?? undefined,
    parent_message_id: parent ?? undefined,
  };
}

/** A random UUID, also where the page is not served securely and `crypto.randomUUID` is missing. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
