// Markdown's blocks: lines in, plain nodes out. Headings, paragraphs, lists, quotes, fences, tables, rules.
//
// What models write is read kindly: lists may be nested by two spaces and code is only what is fenced.
// `text` over `---` is a paragraph and a rule, never a heading, since lists begin like that while they grow.

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})[ \t]*([^\s`]*)/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(.*)|$)/;
const DELIMITERS = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$/;
const TASK = /^\[([ xX])\][ \t]+/;
const DEEPEST = 12;

/**
 * The blocks of a text, each with `start`, the place in the text where its first line begins.
 *
 * `live`: the text is still growing; its last block has `live`, as has what is last inside it.
 */
export function parseBlocks(text, { live = false } = {}) {
  const lines = [];
  let at = 0;
  for (const raw of text.split("\n")) {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    lines.push({ text: untabbed(line), raw: line, start: at });
    at += raw.length + 1;
  }
  const blocks = parse(lines, 0, live);
  if (live) markLive(blocks);
  return blocks;
}

function parse(lines, depth, live) {
  const blocks = [];
  let at = 0;
  let blank = false;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      blank = blocks.length > 0;
      at += 1;
      continue;
    }
    const block = readBlock(lines, at, depth, live);
    block.start = lines[at].start;
    block.blankBefore = blank;
    blocks.push(block);
    blank = false;
    at = block.next;
  }
  return blocks;
}

function readBlock(lines, at, depth, live) {
  const { text } = lines[at];
  const fence = FENCE.exec(text);
  if (fence) return readFence(lines, at, fence);
  const heading = HEADING.exec(text);
  if (heading) {
    return { type: "heading", level: heading[1].length, text: titleOf(heading[2] ?? ""), next: at + 1 };
  }
  if (RULE.test(text)) return { type: "rule", next: at + 1 };
  if (depth < DEEPEST && QUOTE.test(text)) return readQuote(lines, at, depth, live);
  if (depth < DEEPEST && ITEM.test(text)) return readList(lines, at, depth, live);
  if (isTable(lines, at, live)) return readTable(lines, at);
  return readParagraph(lines, at, live);
}

/** A heading's text without the marks some put behind it. */
function titleOf(text) {
  const trimmed = text.trim();
  const bare = trimmed.replace(/#+$/, "");
  return bare === "" || /[ \t]$/.test(bare) ? bare.trim() : trimmed;
}

/** Whether a line ends the paragraph before it. */
function interrupts(lines, at, live) {
  const { text } = lines[at];
  if (isBlank(lines[at]) || FENCE.test(text) || HEADING.test(text) || RULE.test(text) || QUOTE.test(text)) return true;
  const item = ITEM.exec(text);
  if (item?.[4]) return !/^\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1;
  return isTable(lines, at, live);
}

function readParagraph(lines, at, live) {
  let next = at + 1;
  while (next < lines.length && !interrupts(lines, next, live)) next += 1;
  const text = lines.slice(at, next).map((line) => line.text.trimStart());
  return { type: "paragraph", text: text.join("\n").trimEnd(), next };
}

function readFence(lines, at, [opening, fence, language]) {
  const indent = opening.search(/\S/);
  const closing = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}[ \\t]*$`);
  const code = [];
  let next = at + 1;
  while (next < lines.length && !closing.test(lines[next].text)) {
    const { text, raw } = lines[next];
    const line = untabbed(raw) === text ? raw : text; // code keeps its tabs
    code.push(line.slice(Math.min(indent, indentOf(line))));
    next += 1;
  }
  const open = next >= lines.length;
  return { type: "code", language, text: code.join("\n"), open, next: open ? next : next + 1 };
}

function readQuote(lines, at, depth, live) {
  const inner = [];
  let next = at;
  let lazy = false; // whether the last line may go on without its mark
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (QUOTE.test(line.text)) {
      const text = line.text.replace(QUOTE, "");
      inner.push({ ...line, text });
      lazy = isProse(text);
    } else if (lazy && !interrupts(lines, next, live)) {
      inner.push(line);
    } else {
      break;
    }
  }
  return { type: "quote", blocks: parse(inner, depth + 1, live && next === lines.length), next };
}

function isProse(text) {
  return text.trim() !== "" && !FENCE.test(text) && !HEADING.test(text) && !RULE.test(text) && !text.startsWith("|");
}

// --- lists ------------------------------------------------------------------------------------

function readList(lines, at, depth, live) {
  const [, , marker] = ITEM.exec(lines[at].text);
  const kind = kindOf(marker);
  const items = [];
  let loose = false;
  let next = at;
  let blank = false;
  while (next < lines.length) {
    if (isBlank(lines[next])) {
      blank = true;
      next += 1;
      continue;
    }
    const found = ITEM.exec(lines[next].text);
    if (!found || kindOf(found[2]) !== kind || RULE.test(lines[next].text)) break;
    loose ||= blank && items.length > 0;
    const { inner, end } = readItem(lines, next, found, live);
    items.push(itemOf(inner, depth, live && end === lines.length));
    next = end;
    blank = isBlank(lines[end - 1]);
  }
  loose ||= items.some(({ blocks }) => blocks.some(({ blankBefore }) => blankBefore));
  const start = kind === "." || kind === ")" ? Number.parseInt(marker, 10) : null;
  return { type: "list", ordered: start !== null, number: start, loose, items, next };
}

function kindOf(marker) {
  return marker.at(-1);
}

/** An item's lines without its indentation, and where the next thing begins. */
function readItem(lines, at, [, indent, marker, spaces, rest], live) {
  const padding = spaces && spaces.length <= 4 ? spaces.length : 1;
  const offset = indent.length + marker.length + padding;
  const first = (rest ?? "").padStart((rest ?? "").length + (spaces?.length ?? 1) - padding);
  const inner = [{ ...lines[at], text: first }];
  let fence = FENCE.exec(first)?.[1] ?? null;
  let prose = fence === null && isProse(first);
  let end = at + 1;
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    if (isBlank(line)) {
      inner.push({ ...line, text: "" });
      prose = false;
      continue;
    }
    const own = indentOf(line.text);
    const item = ITEM.test(line.text);
    const nested = item && own >= indent.length + 2;
    const lazy = prose && !item && !interrupts(lines, end, live);
    // code that was begun here ends here, however it is indented
    if (own < offset && fence === null && !nested && !lazy) break;
    const text = line.text.slice(Math.min(own, offset));
    inner.push({ ...line, text });
    const mark = FENCE.exec(text)?.[1] ?? null;
    if (fence === null) fence = mark;
    else if (mark && mark[0] === fence[0] && mark.length >= fence.length && text.trim() === mark) fence = null;
    prose = fence === null && isProse(text);
  }
  return { inner, end };
}

function itemOf(lines, depth, live) {
  const task = TASK.exec(lines[0].text);
  if (task) lines[0] = { ...lines[0], text: lines[0].text.slice(task[0].length) };
  return { type: "item", checked: task ? task[1] !== " " : null, blocks: parse(lines, depth + 1, live) };
}

// --- tables -----------------------------------------------------------------------------------

function isTable(lines, at, live) {
  const { text } = lines[at];
  if (!text.includes("|")) return false;
  const next = lines[at + 1]?.text;
  // while it grows, a first row alone is one already
  if (live && text.trimStart().startsWith("|") && text.indexOf("|") !== text.lastIndexOf("|")) {
    if (next === undefined) return true;
    if (at + 2 === lines.length && /^[ \t|:-]*$/.test(next)) return true;
  }
  return next !== undefined && DELIMITERS.test(next.trim()) && cellsOf(text).length === cellsOf(next).length;
}

function readTable(lines, at) {
  const head = cellsOf(lines[at].text);
  const marks = lines[at + 1] ? cellsOf(lines[at + 1].text) : [];
  const aligns = head.map((_, column) => alignOf(marks[column] ?? ""));
  const rows = [];
  let next = Math.min(at + 2, lines.length);
  while (next < lines.length && !isBlank(lines[next]) && isRow(lines[next].text)) {
    const cells = cellsOf(lines[next].text);
    rows.push({ cells: head.map((_, column) => cells[column] ?? ""), given: cells.length });
    next += 1;
  }
  return { type: "table", head, aligns, rows, next };
}

function isRow(text) {
  const marks = FENCE.test(text) || HEADING.test(text) || QUOTE.test(text);
  return !marks && (text.includes("|") || !(RULE.test(text) || ITEM.test(text)));
}

function alignOf(mark) {
  if (mark.endsWith(":")) return mark.startsWith(":") ? "center" : "end";
  return null;
}

function cellsOf(row) {
  const cells = [];
  let cell = "";
  const line = row.trim().replace(/^\|/, "");
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === "\\" && line[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (line[at] === "|") {
      cells.push(cell.trim());
      cell = "";
    } else {
      cell += line[at];
    }
  }
  return cell.trim() === "" && line.endsWith("|") ? cells : [...cells, cell.trim()];
}

// --- lines ------------------------------------------------------------------------------------

function isBlank({ text }) {
  return text.trim() === "";
}

function indentOf(text) {
  return text.length - text.trimStart().length;
}

/** Tabs at the beginning of a line are as wide as four spaces. */
function untabbed(text) {
  return text.replace(/^[ \t]+/, (indent) => indent.replaceAll("\t", "    "));
}

function markLive(blocks) {
  const last = blocks.at(-1);
  if (!last) return;
  last.live = true;
  if (last.type === "quote") markLive(last.blocks);
  if (last.type === "list") {
    last.items.at(-1).live = true;
    markLive(last.items.at(-1).blocks);
  }
}
