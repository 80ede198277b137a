// The demo page: one user, one connection, the conversation that is open. Everything meets here.

import { Assessments } from "./assessments.js";
import { ChannelView } from "./channel.js";
import { Connection } from "./connection.js";
import { runningIn } from "./entries.js";
import { Identity } from "./identity.js";
import { Library } from "./library.js";
import { Loader } from "./loader.js";
import { Outbox, uuid } from "./outbox.js";
import { sendable } from "./points.js";
import { Rest } from "./rest.js";
import { Screen } from "./screen.js";
import { ConnectionStatus } from "./status.js";
import { Keeper, Stored } from "./storage.js";
import { Announcer, Toasts } from "./toasts.js";

const SOCKET = new URL("api/chat/ws", location.href.replace(/^http/, "ws"));

class Page {
  constructor() {
    this.toasts = new Toasts();
    this.announcer = new Announcer();
    this.view = new ChannelView();
    this.library = new Library();
    this.notices = new Map(); // generation -> its interim frame, until text comes
    this.stopping = new Set();
    this.grown = new Set(); // generations whose text changed since the last drawing
    this.place = `draft:${uuid()}`;
    this.drawing = 0;
    this.identity = new Identity({ onStranger: () => this.startOver() });
    this.connection = new Connection({
      url: SOCKET.href,
      identity: this.identity,
      view: this.view,
      onState: () => this.#stateChanged(),
      onFrame: (frame) => this.#take(frame),
    });
    this.outbox = new Outbox({
      connection: this.connection,
      entries: this.library.outbox,
      onChange: () => this.#changed(),
      onAccepted: (entry) => this.#accepted(entry),
      onRefused: (entry, error) => entry.kind === "regenerate" && this.#refusedAgain(entry, error),
    });
    const rest = new Rest(this.identity);
    const onChange = () => this.#changed();
    const { library, toasts } = this;
    this.loader = new Loader({ rest, library, onChange, onFailure: (message) => toasts.error(message) });
    this.assessments = new Assessments({
      rest,
      toasts,
      place: () => this.place,
      isIdle: () => !this.screen.composer.text && !library.isSending(this.place),
      onOpen: (conversation) => this.#open(conversation),
      onChange,
    });
    this.status = new ConnectionStatus({ connection: this.connection, onSignIn: () => this.#signInAgain() });
    this.#build();
    this.kept = new Keeper(new Stored(() => sessionStorage, "atma.demo.page"), () => this.#snapshot());
  }

  #build() {
    const { view, library, connection, notices, stopping, assessments } = this;
    this.screen = new Screen({
      known: { view, library, connection, notices, stopping, assessments },
      actions: {
        open: () => this.#openDraft(),
        moreConversations: () => this.loader.moreConversations(),
        send: (text) => this.say(text),
        stop: () => this.#stop(),
        typed: () => this.kept.touch(),
        again: (target) => this.outbox.again({ target, place: this.place }),
        pick: (after, sibling) => this.#pick(after, sibling),
        suggest: (text) => this.say(text),
        retry: (key) => this.outbox.retry(key),
        discard: (key) => this.outbox.discard(key),
        earlier: () => this.loader.earlier(this.conversation),
        complain: (text) => this.toasts.error(text),
        announce: (text) => this.announcer.say(text),
      },
    });
    addEventListener("hashchange", () => this.#follow());
  }

  start() {
    const kept = this.kept.stored.read();
    if (kept && kept.user === this.identity.user) this.#restore(kept);
    this.#follow();
    this.connection.connect();
    this.screen.composer.focus();
  }

  /** The conversation that is open, or `null` for one that has not begun. */
  get conversation() {
    return this.place.startsWith("draft:") ? null : this.place;
  }

  /** Say something in the place that is open. */
  say(text) {
    const content = sendable(text);
    if (!content.trim()) return;
    this.screen.thread.sticking = true;
    this.outbox.say({ content, place: this.place, conversation: this.conversation, parent: this.#pickedParent() });
  }

  /** Forget this user altogether; the next one begins with an empty page. */
  startOver() {
    this.kept.forget();
    history.replaceState(null, "", location.pathname);
    location.reload();
  }

  // --- what survives a reload -----------------------------------------------------------------

  #snapshot() {
    const outbox = [...this.library.outbox.values()];
    const { place, view, assessments, screen, identity } = this;
    const [typed, journey, channel] = [screen.composer.text, assessments.snapshot(), view.snapshot()];
    return { user: identity.user, place, outbox, typed, journey, channel };
  }

  #restore({ place, outbox, typed, journey, channel }) {
    if (channel.position) this.view.restore(channel);
    for (const state of this.view.running.values()) this.library.take({ ...state, type: "generation.state" });
    if (place.startsWith("draft:")) this.place = place;
    this.screen.composer.text = typed;
    this.assessments.restore(journey);
    this.outbox.resume(outbox);
    if (channel.position) this.loader.conversations();
  }

  // --- what comes in --------------------------------------------------------------------------

  #take(frame) {
    const { type, generation } = frame;
    if (type === "delta") {
      if (!frame.kind) this.notices.delete(generation);
      this.grown.add(generation);
      this.#draw();
    } else if (type === "interim") {
      this.notices.set(generation, frame);
      this.grown.add(generation);
      if (this.#isOpen(generation)) this.announcer.say(frame.text);
      this.#draw();
    } else {
      this.#takeFact(frame);
      this.#changed();
    }
    this.kept.touch();
  }

  #takeFact(frame) {
    const { type, generation } = frame;
    if (type === "message.created") {
      const entry = this.library.outbox.get(frame.client_message_id);
      if (entry) this.#settle(entry.place, frame.conversation);
    }
    if (type === "generation.switched" || type === "generation.finished") this.notices.delete(generation);
    if (type === "generation.finished") {
      this.stopping.delete(generation);
      this.loader.listed(frame.conversation);
    }
    this.library.take(frame);
    if (type === "conversation.deleted" && frame.conversation.id === this.place) this.#openDraft();
    this.assessments.heard(frame);
    if (this.view.needsRefetch) {
      this.view.needsRefetch = false;
      this.library.doubt();
      this.loader.everything(this.conversation);
    }
    if (type === "synced") this.loader.retry();
    this.#load();
  }

  /** See that what is open is here. Before the first welcome nothing would say what happened since. */
  #load() {
    if (this.view.position !== null) this.loader.open(this.conversation);
  }

  #accepted(entry) {
    const { kind, key, place, conversation, message, generation, duplicate } = entry;
    if (kind === "send") {
      this.#settle(place, conversation);
      const here = this.library.thread(conversation).messages.has(message);
      if (here) this.library.outbox.delete(key);
      else if (duplicate) this.loader.again(conversation);
    } else if (this.library.answers.has(generation) || this.view.ended.has(generation) || duplicate) {
      this.library.outbox.delete(key);
    }
  }

  #refusedAgain(entry, error) {
    this.library.outbox.delete(entry.key);
    this.toasts.error(error.message);
  }

  /** A draft has become a conversation. */
  #settle(place, conversation) {
    for (const entry of this.library.outbox.values()) {
      if (entry.place === place) Object.assign(entry, { place: conversation, conversation });
    }
    if (this.place !== place || place === conversation) return;
    this.place = conversation;
    this.screen.thread.place = conversation;
    history.replaceState(null, "", `#${conversation}`);
  }

  // --- what the user does ---------------------------------------------------------------------

  /** Open what the address names. */
  #follow() {
    const id = decodeURIComponent(location.hash.slice(1));
    if (/^[0-9a-f-]{36}$/.test(id)) this.place = id;
    else if (this.conversation) this.place = `draft:${uuid()}`;
    this.#load();
    this.#changed();
  }

  #open(conversation) {
    history.pushState(null, "", `#${conversation}`);
    this.#follow();
  }

  #openDraft() {
    history.pushState(null, "", location.pathname);
    this.place = `draft:${uuid()}`;
    this.#changed();
    this.screen.composer.focus();
  }

  #pick(after, sibling) {
    this.library.thread(this.conversation).choices.set(after, sibling);
    this.#changed();
  }

  /** Where the reader picked an older answer, what is said next follows that one. */
  #pickedParent() {
    if (!this.conversation || this.library.thread(this.conversation).choices.size === 0) return null;
    const last = this.library.branch(this.conversation, this.#running()).at(-1);
    return last && !last.message.running ? last.message.id : null;
  }

  async #stop() {
    const [running] = this.#running();
    if (!running) return;
    this.stopping.add(running.generation);
    this.#changed();
    try {
      await this.connection.command({ type: "generation.stop", generation: running.generation });
    } catch (error) {
      this.stopping.delete(running.generation);
      this.toasts.error(error.message);
      this.#changed();
    }
  }

  #signInAgain() {
    this.identity.forget();
    this.startOver();
  }

  // --- drawing --------------------------------------------------------------------------------

  /** The answers being written in the place that is open. */
  #running() {
    return runningIn(this.view, this.place);
  }

  #isOpen(generation) {
    return this.view.running.get(generation)?.conversation === this.place;
  }

  #stateChanged() {
    this.status?.show();
    if (this.connection.state !== this.shownState) this.#changed();
    this.shownState = this.connection.state;
  }

  #changed() {
    this.whole = true;
    this.kept?.touch();
    this.#draw();
  }

  /** Once per frame, however much came in. */
  #draw() {
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      if (this.whole) this.screen.drawAll(this.place);
      else this.screen.drawGrown(this.place, this.grown);
      this.whole = false;
      this.grown.clear();
    });
  }
}

const page = new Page();
page.start();
