// The messages of the place that is open, and the scrolling that keeps the newest in sight.

import { AnswerView, showDone } from "./answer.js";
import { arrange, button, byId, copyText, element, setText } from "./dom.js";

const NEAR_PX = 60;

/**
 * `actions`: those of `AnswerView`, and `retry(key)`, `discard(key)`, `earlier()`, `announce(text)`.
 */
export class ThreadView {
  constructor(actions) {
    this.actions = actions;
    this.scroller = byId("scroller");
    this.list = byId("thread");
    this.latest = byId("latest");
    this.views = new Map(); // key -> view
    this.place = null;
    this.sticking = true;
    this.announced = new Map(); // key -> how many of its blocks were read out
    this.earlier = button("up", "", () => actions.earlier(), { text: "Earlier messages", className: "earlier" });
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.latest.addEventListener("click", () => this.toEnd());
    this.list.addEventListener("click", (event) => this.#clicked(event));
    new ResizeObserver(() => this.sticking && this.toEnd()).observe(this.scroller);
  }

  /** Show these entries; `earlier`: there are more before them. */
  show(place, entries, { earlier }) {
    const moved = this.place !== place;
    if (moved) {
      this.views.clear();
      this.announced.clear();
      this.sticking = true;
    }
    this.place = place;
    const height = this.scroller.scrollHeight;
    const first = this.first;
    const views = entries.map((entry) => this.#view(entry));
    arrange(this.list, [...(earlier ? [this.earlier] : []), ...views.map(({ node }) => node)]);
    const kept = new Set(entries.map(({ key }) => key));
    for (const key of this.views.keys()) if (!kept.has(key)) this.views.delete(key);
    this.first = entries[0]?.key;
    // what comes in above pushes nothing away
    if (!moved && !this.sticking && first !== this.first) this.scroller.scrollTop += this.scroller.scrollHeight - height;
    this.settle();
    for (const entry of entries) if (entry.kind === "answer") this.#announce(entry, moved);
  }

  /** An answer that is shown has grown. */
  grow(entry) {
    const view = this.views.get(entry.key);
    if (!view?.entry) return;
    view.grow(entry);
    this.#announce(view.entry, false);
    this.settle();
  }

  /** After a change: stay at the end if the reader was there. */
  settle() {
    if (this.sticking) this.toEnd();
    else this.#scrolled();
  }

  toEnd() {
    this.sticking = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.latest.hidden = true;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.sticking = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.latest.hidden = this.sticking;
  }

  #view(entry) {
    let view = this.views.get(entry.key);
    if (!view || view.kind !== entry.kind) {
      view = entry.kind === "answer" ? new AnswerView(this.actions) : new PlainView(this.actions);
      view.kind = entry.kind;
      this.views.set(entry.key, view);
    }
    view.update(entry);
    return view;
  }

  /** Read an answer out block by block, as each is complete: token by token nobody could follow. */
  #announce({ key, live, text }, silently) {
    const { markdown } = this.views.get(key);
    const done = live && text !== "" ? markdown.settled : markdown.starts.length;
    const from = this.announced.get(key) ?? (live ? 0 : done);
    this.announced.set(key, done);
    if (silently) return;
    for (const block of [...markdown.root.children].slice(from, done)) this.actions.announce(block.textContent);
  }

  async #clicked(event) {
    const control = event.target.closest(".copy-code");
    if (!control) return;
    try {
      await copyText(control.closest("figure").querySelector("code").textContent);
      showDone(control);
    } catch (error) {
      this.actions.complain(error.message);
    }
  }
}

/** A question, or a line between messages. */
class PlainView {
  constructor(actions) {
    this.actions = actions;
    this.text = element("div", { class: "text", dir: "auto" });
    this.below = element("div", { class: "below" });
    this.node = element("article", {}, [this.text, this.below]);
  }

  update(entry) {
    this.node.className = entry.kind;
    this.node.setAttribute("aria-label", entry.kind === "question" ? "You" : "Note");
    this.node.dataset.state = entry.state ?? "";
    setText(this.text, entry.text ?? entry.reason);
    this.below.replaceChildren(...this.#below(entry));
  }

  #below({ kind, key, state, reason, question, busy }) {
    if (kind === "unanswered") {
      const again = button("again", "", () => this.actions.again(question), { text: "Try again" });
      again.disabled = busy;
      return [again];
    }
    if (state === "sending") return [element("span", {}, ["Sending…"])];
    if (state !== "failed") return [];
    return [
      element("span", { class: "reason" }, [`Not sent. ${reason}`]),
      button("again", "", () => this.actions.retry(key), { text: "Try again" }),
      button("close", "", () => this.actions.discard(key), { text: "Discard" }),
    ];
  }
}
