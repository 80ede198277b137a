// What the page shows: conversations, their messages, and what was said and is not accepted yet.
// Facts come from events and from REST, in any order; neither takes back what the other brought.

import { branchOf } from "./tree.js";

/** A conversation's messages, as far as they are here. */
class Thread {
  constructor() {
    this.messages = new Map();
    this.choices = new Map(); // parent's id -> the sibling picked by the reader
    this.loaded = false;
    this.stale = false; // it may have a hole: what is older than the next page is not to be trusted
    this.earlier = false; // whether the server has more before the oldest
  }
}

export class Library {
  constructor() {
    this.conversations = new Map();
    this.activity = new Map(); // conversation -> when its newest message here was written
    this.gone = new Set();
    this.threads = new Map();
    this.listed = false;
    this.hasMore = false;
    this.outbox = new Map(); // client_message_id -> what was said, until its message is here
    this.answers = new Map(); // running generation -> { conversation, message, reply_to }
    this.marks = new Map(); // id of an answer -> { switches, error }
    this.failures = new Map(); // id of a question -> the error that left it without an answer
    this.awaited = new Set(); // questions just asked, whose answers are about to begin
  }

  /** The thread of a conversation, made when it is first asked for. */
  thread(conversation) {
    if (!this.threads.has(conversation)) this.threads.set(conversation, new Thread());
    return this.threads.get(conversation);
  }

  /** Conversations to list, the newest activity first. */
  listing() {
    return [...this.conversations.values()]
      .filter(({ status }) => status === "active")
      .map((each) => ({ ...each, active_at: latest(each.updated_at, this.activity.get(each.id)) }))
      .sort((a, b) => (a.active_at < b.active_at ? 1 : -1));
  }

  /** The branch to show of a conversation; `running` are the answers being written in it. */
  branch(conversation, running) {
    const { messages, choices } = this.thread(conversation);
    const growing = running.map((each) => ({
      id: each.message,
      sender_type: "assistant",
      content_type: "text",
      parent_message_id: each.reply_to,
      metadata: {},
      running: each,
    }));
    const all = new Map([...messages.values(), ...growing].map((message) => [message.id, message]));
    return branchOf(all.values(), choices);
  }

  /** The facts of an event or a state. */
  take(frame) {
    switch (frame.type) {
      case "conversation.created":
      case "conversation.updated":
        this.#conversation(frame.conversation);
        break;
      case "conversation.deleted":
        this.gone.add(frame.conversation.id);
        this.conversations.delete(frame.conversation.id);
        this.threads.delete(frame.conversation.id);
        break;
      case "message.created":
        this.#news(frame.conversation, frame.message);
        if (frame.message.sender_type === "user") this.awaited.add(frame.message.id);
        if (frame.client_message_id) this.outbox.delete(frame.client_message_id);
        break;
      case "generation.started":
      case "generation.state":
        this.#started(frame);
        break;
      case "generation.switched":
        this.#switched(frame);
        break;
      case "generation.finished":
        this.#finished(frame);
        break;
      default:
    }
  }

  /** After a loss: whatever is shown is fetched anew, and may have holes until it is. */
  doubt() {
    this.awaited.clear();
    for (const thread of this.threads.values()) Object.assign(thread, { loaded: false, stale: true });
  }

  /** A page of the list, by REST. `known`, with the first page, are the ids listed when it was asked for. */
  takeList({ conversations, pagination }, known = []) {
    const here = new Set(conversations.map(({ id }) => id));
    for (const id of known) if (!here.has(id)) this.conversations.delete(id);
    for (const each of conversations) this.#conversation(each);
    this.listed = true;
    this.hasMore = pagination.has_next;
  }

  /** A conversation's newest messages, or (`older`) the page before the oldest, by REST. */
  takeMessages(conversation, { messages, pagination }, { older = false } = {}) {
    const thread = this.thread(conversation);
    if (!older && thread.stale) {
      const oldest = messages[0]?.id ?? "";
      for (const id of thread.messages.keys()) if (id < oldest) thread.messages.delete(id);
    }
    for (const message of messages) this.#message(conversation, message);
    if (older || thread.stale || !thread.loaded) thread.earlier = pagination.has_more;
    Object.assign(thread, { loaded: true, stale: false });
    for (const [key, { message }] of this.outbox) if (thread.messages.has(message)) this.outbox.delete(key);
  }

  /** What was said in a place and is not in its thread yet, oldest first. */
  unsent(place) {
    return [...this.outbox.values()].filter((each) => each.kind === "send" && each.place === place);
  }

  /** Whether something is being sent in a place. */
  isSending(place) {
    return [...this.outbox.values()].some((each) => each.place === place && each.state === "sending");
  }

  #started(frame) {
    const { generation, conversation, message, reply_to } = frame;
    this.answers.set(generation, { conversation, message, reply_to });
    this.failures.delete(reply_to);
    this.awaited.delete(reply_to);
    this.thread(conversation).choices.delete(reply_to);
    for (const [key, each] of this.outbox) {
      if (each.kind === "regenerate" && each.generation === generation) this.outbox.delete(key);
    }
  }

  #switched({ generation, from_model: from, to_model: to, cause }) {
    const answer = this.answers.get(generation)?.message;
    if (!answer) return;
    const marks = this.marks.get(answer) ?? {};
    this.marks.set(answer, { ...marks, switches: [...(marks.switches ?? []), { from, to, cause }] });
  }

  #finished({ generation, conversation, message, error }) {
    const answer = this.answers.get(generation);
    this.answers.delete(generation);
    if (message) {
      this.#news(conversation, message);
      if (error) this.marks.set(message.id, { ...this.marks.get(message.id), error });
    } else if (answer && error) {
      this.failures.set(answer.reply_to, error);
    }
  }

  #conversation(given) {
    if (this.gone.has(given.id)) return;
    const held = this.conversations.get(given.id);
    if (!held || held.updated_at <= given.updated_at) this.conversations.set(given.id, { ...held, ...given });
  }

  #message(conversation, message) {
    if (this.gone.has(conversation)) return;
    const { messages } = this.thread(conversation);
    const held = messages.get(message.id);
    // an event leaves long content out, REST has it
    if (!held || held.content === null) messages.set(message.id, message);
  }

  /** An event's message: it makes its conversation the newest, which history does not. */
  #news(conversation, message) {
    this.#message(conversation, message);
    this.activity.set(conversation, latest(message.created_at, this.activity.get(conversation)));
  }
}

/** The later of two times as the wire writes them; the second may be missing. */
function latest(a, b = "") {
  return a > b ? a : b;
}
