// What this page knows of its user's channel: facts by position, texts by `text = text[:at] + delta.text`.
// No socket, no clock, no page: `apply` takes every frame, `resumePoint` is what `hello` presents.

import { countPoints, firstPoints } from "./points.js";

const REMEMBERED_ENDS = 500;

/** Frames that are facts of the log and carry a position. */
export const EVENTS = new Set([
  "conversation.created",
  "conversation.updated",
  "conversation.deleted",
  "message.created",
  "generation.started",
  "generation.switched",
  "generation.finished",
  "usage.settled",
  "notification",
]);

/** A text that deltas change; `length` counts code points, `attempt` is whose text it is. */
export class GrowingText {
  constructor(start = 0) {
    this.attempt = 0;
    this.text = "";
    this.length = start;
    this.start = start;
  }

  /** Apply the one rule; `false`, and nothing changed, if the delta begins beyond the text. */
  apply(delta) {
    if (delta.attempt < this.attempt) return true; // of an attempt that was given up
    if (delta.at > this.length) return false;
    if (delta.at < this.length) this.text = firstPoints(this.text, Math.max(delta.at - this.start, 0));
    this.text += delta.text;
    this.length = delta.at + countPoints(delta.text);
    this.attempt = delta.attempt;
    return true;
  }
}

function parsePosition(position) {
  const match = /^([0-9a-z]{1,32}):(0|[1-9][0-9]{0,15})$/.exec(position ?? "");
  return match && { epoch: match[1], offset: Number(match[2]) };
}

export class ChannelView {
  constructor() {
    this.session = null;
    this.position = null;
    this.texts = new Map(); // generation -> GrowingText
    this.reasoning = new Map(); // generation -> GrowingText, shown live and never repeated
    this.running = new Map(); // generation -> its started or state frame, with the present attempt and model
    this.synced = false;
    this.needsSync = false; // a delta began beyond the text held: send `sync`
    this.needsResume = false; // an event is missing: connect again and resume
    this.needsRefetch = false; // the position was given up: fetch what is shown by REST
    this.ended = new Set();
    this.seen = new Set(); // generations told of since `welcome` or `reset`
    this.forgetUnseen = false;
  }

  /** Take in a frame; whether it says something that was not known. */
  apply(frame) {
    switch (frame.type) {
      case "delta":
        return frame.kind === "reasoning" ? this.#reasoning(frame) : !frame.kind && this.#delta(frame);
      case "generation.state":
        return this.#state(frame);
      case "interim":
        return !this.ended.has(frame.generation);
      case "welcome":
        return this.#welcome(frame);
      case "reset":
        this.#beginAgain(frame.position);
        return true;
      case "synced":
        return this.#synced(frame);
      default:
        return EVENTS.has(frame.type) && this.#event(frame);
    }
  }

  /** What to present in `hello`, on any node, to go on exactly here. */
  resumePoint() {
    return {
      session: this.session ?? undefined,
      position: this.position ?? undefined,
      texts: this.heldTexts(),
    };
  }

  /** The texts of running generations, as `hello` and `sync` present them. */
  heldTexts() {
    const held = [...this.texts].filter(([, { length }]) => length > 0);
    return Object.fromEntries(held.map(([key, { attempt, length }]) => [key, { attempt, at: length }]));
  }

  /** Everything that must survive a reload, as plain data. */
  snapshot() {
    return {
      session: this.session,
      position: this.position,
      texts: [...this.texts].map(([key, { attempt, text }]) => [key, { attempt, text }]),
      running: [...this.running],
    };
  }

  /** Go on from a snapshot. */
  restore({ session, position, texts, running }) {
    this.session = session;
    this.position = position;
    this.running = new Map(running);
    for (const [generation, { attempt, text }] of texts) {
      this.texts.set(generation, Object.assign(new GrowingText(), { attempt, text, length: countPoints(text) }));
    }
  }

  // --- the rules ----------------------------------------------------------------------------

  #welcome(frame) {
    this.session = frame.session;
    this.needsResume = false;
    if (frame.resume === "fresh" || frame.resume === "reset") {
      this.#beginAgain(frame.position);
    } else {
      // `live`: it is the position presented. `replay`: the events in between follow first.
      this.synced = false;
      this.needsSync = false;
      this.seen.clear();
    }
    return true;
  }

  #beginAgain(position) {
    this.position = position;
    this.synced = false;
    this.needsSync = false;
    this.needsResume = false;
    this.needsRefetch = true;
    this.seen.clear();
    this.forgetUnseen = true;
    // what is shown stays until its snapshot comes, whoever sends it
    for (const held of this.texts.values()) held.attempt = 0;
  }

  #synced(frame) {
    this.synced = true;
    this.needsSync = false;
    if (this.forgetUnseen) {
      // what was running before and is not told of now ended unseen
      for (const generation of [...this.texts.keys(), ...this.running.keys()]) {
        if (!this.seen.has(generation)) this.#drop(generation);
      }
      this.forgetUnseen = false;
    }
    if (this.position === null) this.position = frame.position;
    else if (frame.position !== this.position) this.needsResume = true;
    return true;
  }

  #state(frame) {
    if (this.ended.has(frame.generation)) return false;
    this.seen.add(frame.generation);
    this.running.set(frame.generation, frame);
    return true;
  }

  #delta(frame) {
    if (this.ended.has(frame.generation)) return false;
    const held = this.texts.get(frame.generation) ?? new GrowingText();
    this.texts.set(frame.generation, held);
    if (held.apply(frame)) return true;
    this.needsSync = true;
    return false;
  }

  #reasoning(frame) {
    if (this.ended.has(frame.generation)) return false;
    let held = this.reasoning.get(frame.generation) ?? new GrowingText();
    // never replayed, so one joined late begins where it was joined
    if (frame.attempt > held.attempt || frame.at > held.length) held = new GrowingText(frame.at);
    this.reasoning.set(frame.generation, held);
    return held.apply(frame);
  }

  #event(frame) {
    if (!this.#isNext(frame.position)) return false;
    this.position = frame.position;
    const { generation } = frame;
    if (frame.type === "generation.started") {
      this.seen.add(generation);
      // a state says more than the start it may have come before
      if (!this.running.has(generation)) this.running.set(generation, frame);
    } else if (frame.type === "generation.switched") {
      // only announces: whose the text is changes with the attempt's first delta
      const running = this.running.get(generation);
      if (running && frame.attempt > running.attempt) {
        this.running.set(generation, { ...running, attempt: frame.attempt, model: frame.to_model });
      }
    } else if (frame.type === "generation.finished") {
      this.ended.add(generation);
      if (this.ended.size > REMEMBERED_ENDS) this.ended.delete(this.ended.values().next().value);
      this.#drop(generation);
    }
    return true;
  }

  /** Whether an event is the next one: not one seen before, and none missing before it. */
  #isNext(text) {
    const next = parsePosition(text);
    const held = parsePosition(this.position);
    if (!next) return false;
    if (!held) return true;
    if (next.epoch === held.epoch && next.offset <= held.offset) return false;
    if (next.epoch === held.epoch && next.offset === held.offset + 1) return true;
    this.needsResume = true;
    return false;
  }

  #drop(generation) {
    this.texts.delete(generation);
    this.reasoning.delete(generation);
    this.running.delete(generation);
  }
}
