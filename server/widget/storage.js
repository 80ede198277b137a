// What is kept in the browser. Where it keeps nothing (blocked, full), the page works without.

/** A named value, kept as JSON in a `Storage`. */
export class Stored {
  constructor(storage, key) {
    this.storage = storage;
    this.key = key;
  }

  read() {
    try {
      return JSON.parse(this.storage().getItem(this.key));
    } catch {
      return null;
    }
  }

  write(value) {
    try {
      this.storage().setItem(this.key, JSON.stringify(value));
    } catch {
      // without it a reload begins afresh, which is the best that can be had
    }
  }

  clear() {
    try {
      this.storage().removeItem(this.key);
    } catch {
      // there was nothing, then
    }
  }
}

const WRITE_EVERY_MS = 300;

/** Writes `read()` a little after `touch()`, and at once when the page goes away. */
export class Keeper {
  constructor(stored, read) {
    this.stored = stored;
    this.read = read;
    this.timer = null;
    this.forgotten = false;
    addEventListener("pagehide", () => this.flush());
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  touch() {
    this.timer ??= setTimeout(() => this.flush(), WRITE_EVERY_MS);
  }

  flush() {
    clearTimeout(this.timer);
    this.timer = null;
    if (!this.forgotten) this.stored.write(this.read());
  }

  /** Clear it and keep nothing from here on. */
  forget() {
    this.forgotten = true;
    this.stored.clear();
  }
}
