// How the connection is, in a few words, and what the user can do where it ended for good.

import { byId, setText } from "./dom.js";

const SLOW_MS = 1_500;
const STOPS = {
  1009: { text: "The server refused a message that was too long.", action: "Reconnect" },
  4002: { text: "The server could not read what this page sent.", action: "Reconnect" },
  4003: { text: "You are signed out.", action: "Sign in" },
  4005: { text: "Your access was revoked.", action: "Sign in" },
  4006: { text: "This page is out of date.", action: "Reload" },
};
const ENDED = { text: "The server ended the connection.", action: "Reconnect" };

export class ConnectionStatus {
  constructor({ connection, onSignIn }) {
    this.connection = connection;
    this.onSignIn = onSignIn;
    this.node = byId("connection");
    this.words = byId("connection-words");
    this.banner = byId("banner");
    this.button = byId("banner-action");
    this.button.addEventListener("click", () => this.#act());
    addEventListener("offline", () => this.show());
    addEventListener("online", () => this.show());
  }

  show() {
    const { state, code } = this.connection;
    this.node.dataset.state = state;
    setText(this.words, this.#sentence(state));
    this.banner.hidden = state !== "stopped";
    if (state !== "stopped") return;
    const { text, action } = STOPS[code] ?? ENDED;
    setText(byId("banner-text"), text);
    setText(this.button, action);
  }

  #sentence(state) {
    if (state === "synced") return "Connected";
    if (state === "stopped") return "Disconnected";
    if (!navigator.onLine) return "You are offline";
    const seconds = Math.ceil((this.connection.retryAt - Date.now()) / 1000);
    // short breaks are over before anybody has read their countdown
    if (state === "waiting" && seconds * 1000 > SLOW_MS) return `Reconnecting in ${seconds} s`;
    return "Connecting…";
  }

  #act() {
    const { code } = this.connection;
    if (code === 4003 || code === 4005) this.onSignIn();
    else if (code === 4006) location.reload();
    else this.connection.retry();
  }
}
