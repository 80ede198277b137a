// One answer: its text, growing or whole, and what is to be said and done below it.

import { button, copyText, element, icon, setText } from "./dom.js";
import { modelName, switchNote } from "./entries.js";
import { MarkdownView } from "./markdown.js";

const ENDS = {
  cancelled: "Stopped",
  failed: "Ended early",
  interrupted: "Interrupted",
};

/** `actions`: `again(message)`, `pick(after, sibling)`, `suggest(text)`, `complain(text)`. */
export class AnswerView {
  constructor(actions) {
    this.actions = actions;
    this.body = element("div", { class: "markdown" });
    this.markdown = new MarkdownView(this.body);
    this.thoughts = element("p");
    this.thinking = element("details", { class: "thinking", hidden: true }, [
      element("summary", {}, ["Thinking"]),
      this.thoughts,
    ]);
    this.waiting = element("p", { class: "waiting", hidden: true }, [dots(), element("span")]);
    this.notes = element("ul", { class: "notes", hidden: true });
    this.footer = element("footer");
    this.insights = element("ul", { class: "insights", "aria-label": "At a glance", hidden: true });
    this.suggestions = element("div", { class: "chips", hidden: true });
    const { thinking, body, waiting, insights, notes, footer, suggestions } = this;
    const parts = [thinking, body, waiting, insights, notes, footer, suggestions];
    this.node = element("article", { class: "answer", "aria-label": "Answer" }, [
      element("div", { class: "avatar" }, [icon("mark")]),
      element("div", { class: "content" }, parts),
    ]);
  }

  /** Show an entry. */
  update(entry) {
    this.entry = entry;
    this.grow(entry);
    this.node.classList.toggle("live", entry.live);
    this.node.setAttribute("aria-busy", String(entry.live));
    const notes = entry.switches.map(switchNote);
    if (entry.error) notes.push(entry.error);
    this.notes.hidden = notes.length === 0;
    this.notes.replaceChildren(...notes.map((note) => element("li", {}, [note])));
    this.#refoot(entry);
    this.insights.hidden = entry.insights.length === 0;
    this.insights.replaceChildren(...entry.insights.map((text) => element("li", { dir: "auto" }, [text])));
    this.suggestions.hidden = entry.suggestions.length === 0;
    this.suggestions.replaceChildren(...entry.suggestions.map((text) => this.#chip(text)));
  }

  /** Show only what changes while the answer grows. */
  grow({ text, reasoning, notice }) {
    const { live } = this.entry;
    this.entry.text = text;
    this.markdown.update(text, { live: live && text !== "" });
    this.body.hidden = text === "";
    this.thinking.hidden = !live || reasoning === "";
    if (!this.thinking.hidden) setText(this.thoughts, reasoning);
    this.waiting.hidden = !live || (text !== "" && notice === null);
    setText(this.waiting.lastChild, notice ?? "");
  }

  /** Build the footer anew only where it says something else, and keep the focus in it. */
  #refoot(entry) {
    const { live, model, status, again, siblings, place } = entry;
    const said = JSON.stringify([live, model, status, again, siblings, place]);
    if (said === this.said) return;
    this.said = said;
    const label = this.footer.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    this.footer.replaceChildren(...this.#footer(entry));
    if (label) this.footer.querySelector(`[aria-label="${label}"]:enabled, button:enabled`)?.focus();
  }

  #footer({ live, model, status, again, message, siblings, place, after }) {
    const parts = [];
    if (siblings.length > 1) parts.push(this.#pager(siblings, place, after));
    if (!live) {
      parts.push(button("copy", "Copy answer", (event) => this.#copy(event.currentTarget)));
      if (again) parts.push(button("again", "Regenerate answer", () => this.actions.again(message.id)));
    }
    if (ENDS[status]) parts.push(element("span", { class: "ending" }, [ENDS[status]]));
    if (model) parts.push(element("span", { class: "model", title: model }, [modelName(model)]));
    return parts;
  }

  #pager(siblings, place, after) {
    const step = (by) => () => this.actions.pick(after, siblings[place + by]);
    const back = button("left", "Previous answer", step(-1));
    const on = button("right", "Next answer", step(1));
    back.disabled = place === 0;
    on.disabled = place === siblings.length - 1;
    return element("span", { class: "pager" }, [back, `${place + 1} / ${siblings.length}`, on]);
  }

  #chip(text) {
    return element("button", { type: "button", class: "chip", click: () => this.actions.suggest(text) }, [text]);
  }

  async #copy(control) {
    try {
      await copyText(this.entry.message?.content ?? this.entry.text);
      showDone(control);
    } catch (error) {
      this.actions.complain(error.message);
    }
  }
}

/** A button that has just done its work says so for a moment. */
export function showDone(control) {
  control.classList.add("done");
  setTimeout(() => control.classList.remove("done"), 1600);
}

function dots() {
  return element("span", { class: "dots", "aria-hidden": "true" }, [element("i"), element("i"), element("i")]);
}
