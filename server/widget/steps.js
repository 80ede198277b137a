// The way of an assessment, drawn: four steps, a bar, a sentence.

import { byId, setText } from "./dom.js";

export class StepsView {
  /** `onHelp()`, `onDismiss()`. */
  constructor({ onHelp, onDismiss }) {
    this.node = byId("journey");
    this.bar = byId("journey-progress");
    this.percent = byId("journey-percent");
    this.words = byId("journey-words");
    this.help = byId("journey-help");
    this.close = byId("journey-close");
    this.marks = new Map([...this.node.querySelectorAll("[data-stage]")].map((node) => [node.dataset.stage, node]));
    this.help.addEventListener("click", onHelp);
    this.close.addEventListener("click", onDismiss);
  }

  /** Show a journey, or none, inside `home`. `late`: nothing was heard of it for long. */
  show(journey, { home, late, open }) {
    this.node.hidden = journey === null;
    if (journey === null) return;
    if (this.node.parentElement !== home) home.append(this.node);
    const { progress, words, failed, conversation, underway } = journey;
    this.node.dataset.state = failed ? "failed" : underway ? "underway" : "done";
    this.bar.value = progress;
    setText(this.percent, failed ? "" : `${progress} %`);
    setText(this.words, words || "Sending the answers…");
    for (const { stage, state } of journey.steps()) this.#mark(stage, state);
    const help = helpFor({ failed, late, elsewhere: conversation !== null && conversation !== open });
    this.help.hidden = help === null;
    if (help) setText(this.help, help);
    this.close.hidden = underway && !late;
  }

  #mark(stage, state) {
    const node = this.marks.get(stage);
    node.dataset.state = state;
    if (state === "now") node.setAttribute("aria-current", "step");
    else node.removeAttribute("aria-current");
  }
}

function helpFor({ failed, late, elsewhere }) {
  if (failed) return "Try again";
  if (elsewhere) return "Open the conversation";
  return late ? "It takes long: ask for the adviser" : null;
}
