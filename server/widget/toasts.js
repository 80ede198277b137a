// Short messages in a corner: errors stay until they are read, others go by themselves.

import { button, byId, element } from "./dom.js";

const SHOWN_MS = 7_000;
const MOST = 3;

export class Toasts {
  constructor() {
    this.list = byId("toasts");
  }

  error(text) {
    this.#show(text, { urgent: true });
  }

  /** `title` above the text, `percent` as a bar below it; it takes the place of one with the same `key`. */
  tell(text, { title = null, percent = null, key = null, action = null } = {}) {
    this.#show(text, { title, percent, key, action });
  }

  #show(text, { urgent = false, title = null, percent = null, key = null, action = null }) {
    const parts = [element("p", {}, [text])];
    if (title) parts.unshift(element("strong", {}, [title]));
    if (percent !== null) parts.push(element("progress", { max: 100, value: percent, "aria-label": title }));
    if (action) parts.push(element("button", { type: "button", class: "act", click: action.act }, [action.label]));
    const toast = element("div", { class: urgent ? "toast error" : "toast", role: urgent ? "alert" : "status" }, [
      element("div", {}, parts),
      button("close", "Dismiss", () => toast.remove()),
    ]);
    const before = key && [...this.list.children].find((each) => each.dataset.key === key);
    if (key) toast.dataset.key = key;
    if (before) before.replaceWith(toast);
    else this.list.append(toast);
    while (this.list.children.length > MOST) this.list.firstChild.remove();
    this.#leave(toast);
  }

  /** Go after a while, but not while somebody is reading or pointing. */
  #leave(toast) {
    setTimeout(() => {
      if (toast.matches(":hover, :focus-within")) this.#leave(toast);
      else toast.remove();
    }, SHOWN_MS);
  }
}

/** Tells those who listen instead of looking; what is said together is read together. */
export class Announcer {
  constructor() {
    this.region = byId("announcer");
    this.said = [];
  }

  say(text) {
    const words = text.trim();
    if (!words) return;
    if (this.said.push(words) === 1) setTimeout(() => this.#speak(), 150);
  }

  #speak() {
    for (const words of this.said.splice(0)) this.region.append(element("p", {}, [words]));
    while (this.region.children.length > 20) this.region.firstChild.remove();
  }
}
