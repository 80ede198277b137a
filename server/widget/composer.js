// Where one writes: a field that grows, and one button that sends, or stops what is being answered.

import { byId, setText } from "./dom.js";
import { countPoints } from "./points.js";

const TALLEST_PX = 200;
const WARN_FROM = 0.85;

export class Composer {
  /** `onSend(text)`, `onStop()`, `onType()`. */
  constructor({ onSend, onStop, onType }) {
    this.form = byId("composer");
    this.field = byId("message");
    this.send = byId("send");
    this.stop = byId("stop");
    this.count = byId("count");
    this.onSend = onSend;
    this.most = 4000;
    this.busy = false;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.stop.addEventListener("click", onStop);
    this.field.addEventListener("input", () => {
      this.#fit();
      onType();
    });
    this.field.addEventListener("keydown", (event) => {
      // an Enter that ends a composition (Japanese, Chinese …) is not one that sends
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
  }

  get text() {
    return this.field.value;
  }

  set text(value) {
    this.field.value = value;
    this.#fit();
  }

  focus() {
    // on a phone the keyboard would cover what one came to read
    if (matchMedia("(pointer: fine)").matches) this.field.focus();
  }

  /** `answering`: there is something to stop; `stopping`: that was asked; `busy`: nothing can be sent now. */
  show({ answering, stopping, busy, most }) {
    const focused = document.activeElement === this.send || document.activeElement === this.stop;
    this.send.hidden = answering;
    this.stop.hidden = !answering;
    this.stop.disabled = stopping;
    this.stop.setAttribute("aria-label", stopping ? "Stopping" : "Stop answering");
    this.busy = busy;
    this.most = most;
    this.#fit();
    if (focused && !this.form.contains(document.activeElement)) this.field.focus();
  }

  #submit() {
    if (this.send.disabled || this.send.hidden) return;
    const text = this.field.value;
    // the button is about to be disabled, and would take the focus with it
    if (document.activeElement === this.send) this.focus();
    this.text = "";
    this.onSend(text);
  }

  #fit() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight, TALLEST_PX)}px`;
    const points = countPoints(this.field.value.trim());
    const over = points > this.most;
    this.send.disabled = points === 0 || over || this.busy;
    this.count.hidden = points < this.most * WARN_FROM;
    this.count.classList.toggle("over", over);
    setText(this.count, `${points} / ${this.most}`);
  }
}
