// Which delimiters belong together: `*`, `_` and `~~` between nodes become emphasis around them.
//
// A run of delimiters is a part like others until here: `{ type: "run", character, count, canOpen, canClose }`.

const DEEPEST = 24;
const OPENERS_LOOKED_AT = 200;
const CLOSED_FOR_THE_READER = 6;

/** Pair the runs of delimiters, as CommonMark does; the rest of them are text. */
export function emphasize(parts, live) {
  const out = [];
  const openers = []; // indices into `out`
  for (const part of parts) {
    if (part.type !== "run") {
      out.push(part);
      continue;
    }
    while (part.canClose && part.count > 0) {
      const found = openerFor(part, out, openers);
      if (found < 0) break;
      const index = openers[found];
      wrap(out, index, Math.min(2, part.count, out[index].count), part);
      openers.length = out[index]?.type === "run" ? found + 1 : found;
    }
    if (part.count > 0 && part.canOpen) openers.push(out.length);
    if (part.count > 0) out.push(part);
  }
  if (live) closeForTheReader(out, openers);
  return merged(out.map(literal));
}

function openerFor(closer, out, openers) {
  const lowest = Math.max(0, openers.length - OPENERS_LOOKED_AT);
  for (let place = openers.length - 1; place >= lowest; place -= 1) {
    const opener = out[openers[place]];
    const threes = (opener.canClose || closer.canOpen) && (opener.length + closer.length) % 3 === 0;
    const allowed = !threes || (opener.length % 3 === 0 && closer.length % 3 === 0);
    if (opener.character === closer.character && allowed) return place;
  }
  return -1;
}

/** Put what follows an opener into emphasis, using `width` of its delimiters and of the closer's. */
function wrap(out, index, width, closer) {
  const opener = out[index];
  const children = merged(out.splice(index + 1).map(literal));
  opener.count -= width;
  if (closer) closer.count -= width;
  if (opener.count === 0) out.pop();
  const depth = depthOf(children);
  if (depth >= DEEPEST || children.length === 0) {
    out.push(...children);
    return;
  }
  const type = opener.character === "~" ? "del" : width === 2 ? "strong" : "em";
  out.push({ type, children, depth });
}

function closeForTheReader(out, openers) {
  for (const index of openers.slice(-CLOSED_FOR_THE_READER).reverse()) {
    while (out[index]?.type === "run" && out[index].count > 0) wrap(out, index, Math.min(2, out[index].count));
  }
}

function literal(part) {
  return part.type === "run" ? { type: "text", text: part.character.repeat(part.count) } : part;
}

function merged(parts) {
  const out = [];
  for (const part of parts) {
    const last = out.at(-1);
    if (part.type === "text" && last?.type === "text") out[out.length - 1] = { type: "text", text: last.text + part.text };
    else out.push(part.type === "text" ? { type: "text", text: part.text } : part);
  }
  return out;
}

/** How deep nodes are nested. */
export function depthOf(children) {
  return 1 + Math.max(0, ...children.map(({ depth = 0 }) => depth));
}
