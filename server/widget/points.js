// Texts as the wire counts them: in Unicode code points. JavaScript counts UTF-16 units.

function isHigh(unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLow(unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

/** How many code points a string holds. */
export function countPoints(text) {
  let points = 0;
  for (let unit = 0; unit < text.length; unit += 1, points += 1) {
    if (isHigh(text.charCodeAt(unit)) && isLow(text.charCodeAt(unit + 1))) unit += 1;
  }
  return points;
}

/** The string's first `points` code points. */
export function firstPoints(text, points) {
  let unit = 0;
  for (let left = points; left > 0 && unit < text.length; left -= 1) {
    unit += isHigh(text.charCodeAt(unit)) && isLow(text.charCodeAt(unit + 1)) ? 2 : 1;
  }
  return text.slice(0, unit);
}

/** What may be sent: the wire refuses NUL and lone surrogates, which a paste can bring. */
export function sendable(text) {
  return text
    .replaceAll("\0", "")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
}
