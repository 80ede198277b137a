// Markdown as DOM nodes, built one by one: no string ever becomes markup here, whatever a model writes.
//
// `MarkdownView` shows a text while it grows. Only the blocks that can still change are parsed and built
// again, and what is built is laid over what is there, so that a selection or a scrolled table survives.

import { parseBlocks } from "./blocks.js";
import { element } from "./dom.js";
import { parseInlines } from "./inlines.js";

const LINK = { target: "_blank", rel: "noopener noreferrer nofollow" };

export class MarkdownView {
  constructor(root) {
    this.root = root;
    this.text = "";
    this.starts = []; // where each block begins in the text
    this.live = false;
  }

  /** How many blocks will not change any more, if the text only grows. */
  get settled() {
    return this.live ? Math.max(0, this.starts.length - 2) : this.starts.length;
  }

  /** Show a text; `live` while more of it is to come. */
  update(text, { live = false } = {}) {
    if (text === this.text && live === this.live && this.root.firstChild) return;
    // the last block may grow, and the one before it may turn out to be the same block
    let kept = Math.max(0, this.starts.length - 2);
    let from = this.starts[kept] ?? 0;
    // where something was taken away, what it decided is open again
    if (!text.startsWith(this.text)) kept = from = 0;
    const blocks = parseBlocks(text.slice(from), { live });
    const fresh = blocks.map(blockNode);
    if (live && blocks.length === 0) fresh.push(caretLine());
    lay(this.root, fresh, kept);
    this.starts.length = kept;
    for (const { start } of blocks) this.starts.push(from + start);
    this.text = text;
    this.live = live;
  }
}

// --- nodes ------------------------------------------------------------------------------------

function caret() {
  return element("span", { class: "caret", "aria-hidden": "true" });
}

function caretLine() {
  return element("p", {}, [caret()]);
}

function blockNode(block) {
  switch (block.type) {
    case "heading":
      // the page has headings of its own above these
      return element(`h${Math.min(block.level + 2, 6)}`, { dir: "auto", "data-level": block.level }, inlineNodes(block));
    case "rule":
      return element("hr");
    case "quote":
      return element("blockquote", { dir: "auto" }, inside(block));
    case "list":
      return listNode(block);
    case "code":
      return codeNode(block);
    case "table":
      return tableNode(block);
    default:
      return element("p", { dir: "auto" }, inlineNodes(block));
  }
}

function inside({ blocks, live }) {
  const nodes = blocks.map(blockNode);
  return live && nodes.length === 0 ? [caret()] : nodes;
}

function listNode({ ordered, number, loose, items }) {
  const start = ordered && number !== 1 ? number : null;
  return element(ordered ? "ol" : "ul", { class: loose ? "loose" : null, start, dir: "auto" }, items.map(itemNode));
}

function itemNode(item) {
  const task = item.checked !== null;
  const box = task
    ? [element("input", { type: "checkbox", disabled: true, checked: item.checked, "aria-label": item.checked ? "done" : "to do" })]
    : [];
  return element("li", { class: task ? "task" : null }, [...box, ...inside(item)]);
}

function codeNode({ language, text, live }) {
  const name = element("span", {}, [language]);
  const copy = element("button", { type: "button", class: "copy-code" }, ["Copy"]);
  const code = element("code", {}, live ? [text, caret()] : [text]);
  const label = language ? `Code, ${language}` : "Code";
  return element("figure", { class: "code" }, [
    element("figcaption", {}, [name, copy]),
    element("pre", { tabindex: "0", role: "group", "aria-label": label, dir: "ltr" }, [code]),
  ]);
}

function tableNode({ head, aligns, rows, live }) {
  const row = (name, { cells, given }, last) => {
    const growing = live && last ? Math.min(given, cells.length) - 1 : -1;
    const nodes = cells.map((text, column) => {
      const attributes = { dir: "auto", scope: name === "th" ? "col" : null, class: aligns[column] };
      return element(name, attributes, inlineNodes({ text, live: column === growing }));
    });
    return element("tr", {}, nodes);
  };
  const body = rows.map((each, index) => row("td", each, index === rows.length - 1));
  const table = element("table", {}, [
    element("thead", {}, [row("th", { cells: head, given: head.length }, rows.length === 0)]),
    element("tbody", {}, body),
  ]);
  return element("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, [table]);
}

function inlineNodes({ text, live = false }) {
  const nodes = parseInlines(text, { live }).map(inlineNode);
  return live ? [...nodes, caret()] : nodes;
}

function inlineNode(part) {
  switch (part.type) {
    case "text":
      return document.createTextNode(part.text);
    case "break":
      return element("br");
    case "code":
      return element("code", {}, [part.text]);
    case "link":
      return linkNode(part);
    default:
      return element(part.type, {}, part.children.map(inlineNode));
  }
}

function linkNode({ href, image, children }) {
  const label = children.map(inlineNode);
  if (href === null) return element("span", { class: image ? "image" : "label" }, label);
  return element("a", { href, title: new URL(href).host, class: image ? "image" : null, ...LINK }, label);
}

// --- laying over ------------------------------------------------------------------------------

/** Make the children of `parent` from `from` on look like `fresh`, changing as little as possible. */
function lay(parent, fresh, from = 0) {
  let old = parent.childNodes[from] ?? null;
  for (const node of fresh) {
    const next = old?.nextSibling ?? null;
    if (old === null) parent.append(node);
    else if (!same(old, node)) old.replaceWith(node);
    else if (old.nodeType === Node.TEXT_NODE) retext(old, node.data);
    else {
      copyAttributes(old, node);
      lay(old, [...node.childNodes]);
    }
    old = next;
  }
  while (old !== null) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
}

function same(old, node) {
  return old.nodeName === node.nodeName && old.nodeType === node.nodeType;
}

function retext(node, text) {
  if (node.data === text) return;
  // appending keeps a selection where it is
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function copyAttributes(old, node) {
  for (const { name, value } of node.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!node.hasAttribute(name)) old.removeAttribute(name);
  }
}
