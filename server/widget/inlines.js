// Markdown inside a block: emphasis, code, links. Text in, plain nodes out; the page makes DOM of them.
//
// What is not Markdown is text, HTML included. Links lead to http and https, images become links to them.

import { depthOf, emphasize } from "./emphasis.js";

const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}|\p{S}/u;
const SPACE = /\s/u;
const ENTITY = /&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(amp|lt|gt|quot|apos|nbsp|copy|hellip|mdash|ndash));/iy;
const BREAK = /<br\s*\/?>/iy;
const AUTOLINK = /<(https?:\/\/[^\s<>]{1,2000})>/iy;
const BARE_LINK = /https?:\/\/[^\s<>[\]`|"]{1,2000}/iy;
const LINK_END =
  /\(\s{0,9}(?:<([^<>\n]{0,2000})>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.){0,500}\)){0,2000}))(?:\s{1,9}(?:"[^"]{0,500}"|'[^']{0,500}'))?\s{0,9}\)/y;
const TRAILING = /(?:[.,:;!?'"*_~]|&[a-z]+;)+$/i;
const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", hellip: "…", mdash: "—", ndash: "–" };

/** An address one may follow, as the browser reads it, or `null`. */
export function safeHref(address) {
  try {
    const { protocol, href } = new URL(address);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}

/**
 * The nodes of a text. `live`: the text is still growing, so what is open at its end is shown as if it were
 * closed there, and an unfinished link as its label: markup does not flicker while it is being written.
 */
export function parseInlines(text, { live = false } = {}) {
  const scanner = new Scanner(text, live);
  scanner.run();
  return emphasize(scanner.parts, live);
}

class Scanner {
  constructor(text, live) {
    this.text = text;
    this.live = live;
    this.at = 0;
    this.parts = [];
    this.brackets = [];
    this.unclosed = new Set(); // lengths of backtick runs that nothing closes
  }

  run() {
    while (this.at < this.text.length) {
      const character = this.text[this.at];
      if (!this.#special(character)) {
        this.#say(character);
        this.at += 1;
      }
    }
  }

  /** Take what begins here, if it is more than a character. */
  #special(character) {
    switch (character) {
      case "\\":
        return this.#escape();
      case "`":
        return this.#code();
      case "*":
      case "_":
      case "~":
        return this.#run(character);
      case "[":
        return this.#open(false, 1);
      case "!":
        return this.text[this.at + 1] === "[" && this.#open(true, 2);
      case "]":
        return this.#close();
      case "<":
        return this.#angle();
      case "&":
        return this.#entity();
      case "\n":
        return this.#lineEnd();
      case "h":
      case "H":
        return this.#bareLink();
      default:
        return false;
    }
  }

  #say(text) {
    const last = this.parts.at(-1);
    if (last?.type === "text" && !last.fixed) last.text += text;
    else this.parts.push({ type: "text", text });
  }

  #match(pattern, at = this.at) {
    pattern.lastIndex = at;
    return pattern.exec(this.text);
  }

  #escape() {
    const next = this.text[this.at + 1];
    if (next === "\n") this.#breakLine();
    else if (next !== undefined && /[!-/:-@[-`{-~]/.test(next)) this.#say(next);
    else return false;
    this.at += 2;
    return true;
  }

  #code() {
    const fence = this.#match(/`+/y)[0];
    const start = this.at + fence.length;
    let end = this.unclosed.has(fence.length) ? -1 : this.#closingTicks(fence.length, start);
    let next = end + fence.length;
    if (end < 0) {
      this.unclosed.add(fence.length);
      if (!this.live) {
        this.#say(fence);
        this.at = start;
        return true;
      }
      end = next = this.text.length;
    }
    const code = this.text.slice(start, end).replaceAll("\n", " ");
    const padded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
    if (code) this.parts.push({ type: "code", text: padded ? code.slice(1, -1) : code });
    this.at = next;
    return true;
  }

  #closingTicks(length, from) {
    for (const { 0: ticks, index } of this.text.slice(from).matchAll(/`+/g)) {
      if (ticks.length === length) return from + index;
    }
    return -1;
  }

  #run(character) {
    const end = this.#match(new RegExp(`\\${character}+`, "y"))[0].length + this.at;
    const before = /[^]$/u.exec(this.text.slice(Math.max(0, this.at - 2), this.at))?.[0] ?? " ";
    const after = end < this.text.length ? String.fromCodePoint(this.text.codePointAt(end)) : " ";
    const [spaceBefore, spaceAfter] = [SPACE.test(before), SPACE.test(after)];
    const [markBefore, markAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const left = !spaceAfter && (!markAfter || spaceBefore || markBefore);
    const right = !spaceBefore && (!markBefore || spaceAfter || markAfter);
    const word = character === "_";
    const count = end - this.at;
    // at the end of a growing text nobody knows what follows
    const unknown = this.live && end === this.text.length && (spaceBefore || markBefore);
    this.parts.push({
      type: "run",
      character,
      count,
      length: count,
      canOpen: (character !== "~" || count === 2) && ((left && (!word || !right || markBefore)) || unknown),
      canClose: (character !== "~" || count === 2) && right && (!word || !left || markAfter),
    });
    this.at = end;
    return true;
  }

  #open(image, width) {
    this.brackets.push({ index: this.parts.length, image, active: true });
    this.parts.push({ type: "text", text: image ? "![" : "[", fixed: true });
    this.at += width;
    return true;
  }

  #close() {
    const bracket = this.brackets.pop();
    if (!bracket?.active || this.text[this.at + 1] !== "(") return false;
    const found = this.#match(LINK_END, this.at + 1);
    const unfinished = !found && this.live && !/[)\n]/.test(this.text.slice(this.at));
    if (!found && !unfinished) return false;
    const label = emphasize(this.parts.splice(bracket.index).slice(1), false).flatMap(unlinked);
    const address = found ? (found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, "$1") : "";
    this.#link(label, safeHref(address), bracket.image);
    // no links in links
    if (!bracket.image) for (const outer of this.brackets) outer.active &&= outer.image;
    this.at = found ? this.at + 1 + found[0].length : this.text.length;
    return true;
  }

  #link(children, href, image) {
    const shown = children.length || href === null ? children : [{ type: "text", text: href }];
    this.parts.push({ type: "link", href, image, children: shown, depth: depthOf(shown) });
  }

  #angle() {
    const line = this.#match(BREAK);
    if (line) {
      this.#breakLine();
      this.at += line[0].length;
      return true;
    }
    const link = this.#match(AUTOLINK);
    const href = link && safeHref(link[1]);
    if (!href) return false;
    this.#link([{ type: "text", text: link[1] }], href, false);
    this.at += link[0].length;
    return true;
  }

  #bareLink() {
    if (/[\p{L}\p{N}_]$/u.test(this.text.slice(Math.max(0, this.at - 2), this.at))) return false;
    const found = this.#match(BARE_LINK);
    if (!found) return false;
    let address = found[0].replace(TRAILING, "");
    while (address.endsWith(")") && count(address, ")") > count(address, "(")) {
      address = address.slice(0, -1).replace(TRAILING, "");
    }
    const href = safeHref(address);
    if (!href) return false;
    this.#link([{ type: "text", text: address }], href, false);
    this.at += address.length;
    return true;
  }

  #entity() {
    const found = this.#match(ENTITY);
    if (!found) return false;
    const [whole, decimal, hexadecimal, name] = found;
    if (name) {
      this.#say(NAMED[name.toLowerCase()]);
    } else {
      const point = decimal ? Number(decimal) : Number.parseInt(hexadecimal, 16);
      const usable = point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point < 0xe000);
      this.#say(usable ? String.fromCodePoint(point) : "\ufffd");
    }
    this.at += whole.length;
    return true;
  }

  #lineEnd() {
    const last = this.parts.at(-1);
    const spaces = last?.type === "text" ? last.text.length - last.text.trimEnd().length : 0;
    if (spaces) last.text = last.text.slice(0, -spaces);
    if (spaces >= 2) this.#breakLine();
    else this.#say("\n");
    this.at += 1;
    return true;
  }

  #breakLine() {
    this.parts.push({ type: "break" });
  }
}

function unlinked(part) {
  if (part.type === "link") return part.children.flatMap(unlinked);
  return [part.children ? { ...part, children: part.children.flatMap(unlinked) } : part];
}

function count(text, character) {
  return text.split(character).length - 1;
}
