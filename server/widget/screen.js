// The page drawn from what is known: which part shows what. It decides nothing.

import { Composer } from "./composer.js";
import { byId, setText } from "./dom.js";
import { entriesOf, growth, runningIn } from "./entries.js";
import { Sidebar } from "./sidebar.js";
import { StepsView } from "./steps.js";
import { ThreadView } from "./thread.js";

const MOST_POINTS = 4000; // until the server has said
const INVITING = ["What would you like to find out?", "Ask about careers, strengths, studies or your assessment."];
const WAITING = ["Your assessment is on its way", "The adviser reads the results as soon as they are there."];
const FAILED = ["That did not work", "Nothing is lost: it can be done again."];

export class Screen {
  /** `known`: `view`, `library`, `connection`, `notices`, `stopping`, `assessments`. `actions`: what the user can do. */
  constructor({ known, actions }) {
    Object.assign(this, known);
    this.sidebar = new Sidebar({ onNew: actions.open, onMore: actions.moreConversations });
    this.composer = new Composer({ onSend: actions.send, onStop: actions.stop, onType: actions.typed });
    this.thread = new ThreadView(actions);
    const { assessments } = known;
    this.steps = new StepsView({ onHelp: () => assessments.help(), onDismiss: () => assessments.dismiss() });
    byId("finish-assessment").addEventListener("click", () => assessments.finish());
    for (const suggestion of document.querySelectorAll("[data-suggestion]")) {
      suggestion.addEventListener("click", () => actions.suggest(suggestion.dataset.suggestion));
    }
  }

  /** Draw the texts that have grown, and nothing else. */
  drawGrown(place, grown) {
    for (const { generation, message } of runningIn(this.view, place)) {
      if (grown.has(generation)) this.thread.grow({ key: message, ...growth(generation, this.#held) });
    }
  }

  drawAll(place) {
    const conversation = place.startsWith("draft:") ? null : place;
    const running = runningIn(this.view, place);
    const thread = conversation && this.library.thread(conversation);
    const entries = this.#entries(place, conversation, running);
    this.#drawTitle(conversation);
    this.#drawJourney(place, conversation, entries);
    byId("welcome").hidden = conversation !== null || entries.length > 0;
    byId("loading").hidden = !thread || thread.loaded || entries.length > 0;
    this.sidebar.show(this.library.listing(), {
      open: conversation,
      busy: new Set([...this.view.running.values()].map((each) => each.conversation)),
      listed: this.library.listed,
      hasMore: this.library.hasMore,
    });
    this.composer.show({
      answering: running.length > 0,
      stopping: running.some(({ generation }) => this.stopping.has(generation)),
      busy: running.length > 0 || this.library.isSending(place),
      most: (this.connection.limits?.max_message_length ?? MOST_POINTS) || Infinity, // 0 is no limit
    });
    this.thread.show(place, entries, { earlier: thread?.earlier ?? false });
  }

  get #held() {
    return { texts: this.view.texts, reasoning: this.view.reasoning, notices: this.notices };
  }

  #entries(place, conversation, running) {
    const { library } = this;
    // before both, what looks unanswered may only not have arrived
    const complete = this.connection.state === "synced" && conversation && library.thread(conversation).loaded;
    return entriesOf({ library, place, conversation, running, held: this.#held, complete });
  }

  /** An assessment's way: in the middle of an empty page, above the messages of its conversation. */
  #drawJourney(place, conversation, entries) {
    const talking = entries.some(({ kind }) => kind === "question");
    const journey = talking ? null : this.assessments.shownIn(place);
    const home = byId(conversation ? "journey-above" : "journey-within");
    this.steps.show(journey, { home, late: this.assessments.late, open: conversation });
    byId("invitation").hidden = journey !== null;
    byId("finish-assessment").disabled = this.assessments.asking;
    const [title, words] = journey?.failed ? FAILED : journey ? WAITING : INVITING;
    setText(byId("welcome-title"), title);
    setText(byId("welcome-words"), words);
  }

  #drawTitle(conversation) {
    const unnamed = conversation ? "Conversation" : "New conversation";
    const title = this.library.conversations.get(conversation)?.title ?? unnamed;
    setText(byId("title"), title);
    document.title = conversation ? `${title} · ATMA` : "ATMA career adviser";
  }
}
