// The list of conversations: a column on a desktop, a drawer on a phone.

import { arrange, byId, element, setText } from "./dom.js";

const DAY_MS = 86_400_000;
const NARROW = matchMedia("(max-width: 760px)");

export class Sidebar {
  constructor({ onNew, onMore }) {
    this.panel = byId("sidebar");
    this.list = byId("conversations");
    this.main = byId("main");
    this.opener = byId("open-sidebar");
    this.groups = new Map(); // label -> { node, heading, list }
    this.links = new Map(); // conversation -> link
    this.more = byId("more-conversations");
    this.more.addEventListener("click", onMore);
    byId("new-conversation").addEventListener("click", () => {
      this.toggle(false);
      onNew();
    });
    this.opener.addEventListener("click", () => this.toggle(true));
    for (const id of ["close-sidebar", "scrim"]) byId(id).addEventListener("click", () => this.toggle(false));
    addEventListener("keydown", ({ key }) => key === "Escape" && this.isOpen && this.toggle(false));
    NARROW.addEventListener("change", () => this.toggle(false));
    this.toggle(false);
  }

  get isOpen() {
    return document.body.classList.contains("sidebar-open");
  }

  toggle(open) {
    const was = this.isOpen;
    document.body.classList.toggle("sidebar-open", open);
    this.opener.setAttribute("aria-expanded", String(open));
    this.panel.inert = NARROW.matches && !open;
    this.main.inert = NARROW.matches && open;
    if (open) byId("close-sidebar").focus();
    else if (was && NARROW.matches) this.opener.focus();
  }

  /** `busy`: the ids of conversations in which an answer is being written. */
  show(conversations, { open, busy, listed, hasMore }) {
    const groups = new Map();
    for (const each of conversations) {
      const label = whenOf(each.active_at);
      groups.set(label, [...(groups.get(label) ?? []), this.#item(each, open, busy)]);
    }
    const nodes = [...groups].map(([label, items]) => this.#group(label, items));
    if (listed && nodes.length === 0) nodes.push(element("p", { class: "none" }, ["Nothing here yet."]));
    arrange(this.list, nodes);
    this.more.hidden = !hasMore;
  }

  #item({ id, title }, open, busy) {
    let item = this.links.get(id);
    if (!item) {
      const link = element("a", { href: `#${id}`, click: () => this.toggle(false) }, [element("span", { dir: "auto" })]);
      item = element("li", {}, [link]);
      this.links.set(id, item);
    }
    const link = item.firstChild;
    setText(link.firstChild, title);
    link.title = title;
    if (id === open) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    link.classList.toggle("busy", busy.has(id));
    return item;
  }

  #group(label, items) {
    let group = this.groups.get(label);
    if (!group) {
      const list = element("ul", { "aria-label": label });
      group = { list, node: element("section", {}, [element("h2", {}, [label]), list]) };
      this.groups.set(label, group);
    }
    arrange(group.list, items);
    return group.node;
  }
}

function whenOf(time) {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight.getTime() - Date.parse(time)) / DAY_MS);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days <= 7 ? "Last 7 days" : "Earlier";
}
