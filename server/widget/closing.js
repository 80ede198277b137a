// What to do when the connection has ended, and how long to wait before the next try.

const ADVICE = new Map([
  [1000, "resume"],
  [1001, "resume"],
  [1009, "stop"],
  [1011, "resume"],
  [1012, "resume"],
  [4000, "resume"],
  [4001, "resume"],
  [4002, "stop"],
  [4003, "stop"],
  [4004, "token"],
  [4005, "stop"],
  [4006, "stop"],
  [4008, "resume"],
  [4010, "wait"],
  [4011, "resume"],
]);

const FIRST_MS = 500;
const LONGEST_MS = 20_000;
const WAIT_MS = 30_000;
const WAIT_SPREAD_MS = 15_000;

/** Closes after which the same commands must not be repeated: one of them was the reason. */
export const BLAMED = new Set([1009, 4002]);

/** `resume` after a back-off, `token` (fetch one, then resume), `wait` half a minute, or `stop`. */
export function adviceFor(code) {
  return ADVICE.get(code) ?? (code >= 4500 && code <= 4999 ? "stop" : "resume");
}

/** Full-jitter back-off before try number `tries` (from 0), in ms; `random` is in [0, 1). */
export function backOff(tries, random) {
  return random * Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(tries, 16));
}

/** How long a session that was one too many stays away, in ms. */
export function waitForPlace(random) {
  return WAIT_MS + random * WAIT_SPREAD_MS;
}
