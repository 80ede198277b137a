// The user's assessment: finished on demand, followed by its notifications, opened when its adviser speaks.

import { Journey } from "./journey.js";
import { Failed } from "./rest.js";

const LATE_MS = 20_000;

export class Assessments {
  /**
   * `place()` is what is open, `isIdle()` whether nothing was written there; `onOpen(conversation)`,
   * `onChange()`, and `toasts` for what happens elsewhere.
   */
  constructor({ rest, toasts, place, isIdle, onOpen, onChange }) {
    Object.assign(this, { rest, toasts, place, isIdle, onOpen, onChange });
    this.journey = null;
    this.asking = false;
    this.late = false;
  }

  /** The journey to show in a place: in the one it was begun in, and in its conversation. */
  shownIn(place) {
    const { journey } = this;
    if (!journey) return null;
    const draft = place.startsWith("draft:") && (journey.place === null || journey.place === place);
    return draft || journey.conversation === place ? journey : null;
  }

  /** Finish an assessment: who is new here has no results yet. */
  async finish() {
    const place = this.place();
    if (this.asking) return;
    if (this.journey?.underway) {
      // one at a time: the one there is goes on here
      this.journey.place = place;
      this.#openWhereItBegan();
      return;
    }
    this.asking = true;
    this.onChange();
    try {
      const { assessment_id: assessment } = await this.rest.finishAssessment(languageOfReader());
      // the first notification may have been faster than this answer
      if (this.journey?.assessment === assessment) this.journey.place = place;
      else this.journey = new Journey({ assessment, place });
      this.#openWhereItBegan();
    } catch (error) {
      this.toasts.error(error.message);
    } finally {
      this.asking = false;
      this.onChange();
    }
  }

  /** Any event of the channel. */
  heard({ type, notification, conversation, message }) {
    if (type === "notification") this.#notified(notification);
    else if (type === "conversation.created") this.#begun(conversation);
    else if (type === "conversation.deleted" && conversation.id === this.journey?.conversation) this.dismiss();
    else if (type === "message.created" && message.sender_type === "user") this.#talkedIn(conversation);
  }

  #notified(notification) {
    if (Journey.begins(notification) && !this.journey?.underway && !this.#isOld(notification)) {
      this.journey = new Journey({ assessment: notification.assessmentId });
    }
    const mine = Journey.knows(notification) && this.journey?.take(notification);
    if (mine) this.#moved();
    if (!mine || this.shownIn(this.place()) === null) this.#tell(notification);
  }

  /** While an assessment is on its way, a conversation about one is its own. */
  #begun({ id, context_type: type }) {
    if (type !== "assessment" || !this.journey?.underway || this.journey.conversation) return;
    this.journey.conversation = id;
    this.#openWhereItBegan();
  }

  /** Who has begun to talk about the results has seen that they are there. */
  #talkedIn(conversation) {
    if (conversation === this.journey?.conversation && !this.journey.underway) this.dismiss();
  }

  /** Ask for the conversation by hand, where it is late; or for another assessment, where one failed. */
  async help() {
    const { journey } = this;
    if (journey.failed) {
      this.journey = null;
      await this.finish();
    } else if (journey.conversation) {
      this.onOpen(journey.conversation);
    } else {
      await this.#initialize(journey);
    }
  }

  /** It was seen, and is not to be shown any more. */
  dismiss() {
    this.journey = null;
    this.#wait();
    this.onChange();
  }

  /** What survives a reload. */
  snapshot() {
    return this.journey?.plain() ?? null;
  }

  restore(kept) {
    if (kept) this.journey = new Journey(kept);
    this.#wait();
  }

  #moved() {
    this.#wait();
    if (this.journey.stage === "chatbot_ready" && !this.journey.conversation) this.#find(this.journey);
  }

  /** What is told of an assessment that is over, and known to be. */
  #isOld({ assessmentId }) {
    return this.journey?.assessment === assessmentId && !this.journey.failed;
  }

  /** Which conversation is it? Asked where its beginning was not heard of. */
  async #find(journey) {
    try {
      const { conversation } = await this.rest.assessmentConversation(journey.assessment);
      if (conversation && !journey.conversation) {
        journey.conversation = conversation.id;
        this.#openWhereItBegan();
      }
    } catch (error) {
      this.toasts.error(error.message);
    }
    this.onChange();
  }

  async #initialize(journey) {
    this.late = false;
    this.onChange();
    try {
      await this.rest.initialize(journey.assessment);
      await this.#find(journey);
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      this.toasts.error(error.message);
      this.#wait();
    }
  }

  /** Who asked for it here, and is still waiting here, is taken to it. */
  #openWhereItBegan() {
    const { journey } = this;
    if (journey.conversation && journey.place === this.place() && this.isIdle()) this.onOpen(journey.conversation);
    this.onChange();
  }

  /** After a while without news there is a way to help. */
  #wait() {
    clearTimeout(this.timer);
    this.late = false;
    if (!this.journey?.underway || this.journey.conversation) return;
    this.timer = setTimeout(() => {
      this.late = true;
      this.onChange();
    }, LATE_MS);
  }

  #tell({ title, message, progress, assessmentId, stage }) {
    const open = { label: "Open", act: () => this.#openOf(assessmentId) };
    const action = stage === "chatbot_ready" ? open : null;
    this.toasts.tell(message, { title, percent: progress, key: assessmentId, action });
  }

  /** Open an assessment's conversation, known here or not. */
  async #openOf(assessment) {
    const known = this.journey?.assessment === assessment ? this.journey.conversation : null;
    try {
      const id = known ?? (await this.rest.assessmentConversation(assessment)).conversation?.id;
      if (id) this.onOpen(id);
      else this.toasts.error("This conversation is not there.");
    } catch (error) {
      this.toasts.error(error.message);
    }
  }
}

/** Results are written in the reader's language: Indonesian, or English for everybody else. */
function languageOfReader() {
  return navigator.language.toLowerCase().startsWith("id") ? "id" : "en";
}
