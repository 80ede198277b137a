// An assessment on its way: how far it is, as its notifications tell, and the conversation it leads to.
// No page, no clock, no server.

/** The stages in their order; `analysis_failed` ends it at any of them. */
export const STAGES = ["assessment_submitted", "analysis_started", "analysis_complete", "chatbot_ready"];

const FAILED = "analysis_failed";

export class Journey {
  /** `place` is where it was begun by this page, or `null` where it was only heard of. */
  constructor({ assessment, place = null, stage = null, progress = 0, words = "", conversation = null }) {
    Object.assign(this, { assessment, place, stage, progress, words, conversation });
  }

  /** Whether something is still to come. */
  get underway() {
    return this.stage !== "chatbot_ready" && !this.failed;
  }

  get failed() {
    return this.stage === FAILED;
  }

  /** Whether a notification is one of an assessment's stages. */
  static knows({ stage }) {
    return stage === FAILED || STAGES.includes(stage);
  }

  /** Whether more is to come after a notification. */
  static begins({ stage }) {
    return STAGES.slice(0, -1).includes(stage);
  }

  /** Take in what was told; `false` if it is of another assessment, or older than what is known. */
  take({ stage, assessmentId, progress, message }) {
    if (assessmentId !== this.assessment) return false;
    if (stage !== FAILED && STAGES.indexOf(stage) < STAGES.indexOf(this.stage)) return false;
    Object.assign(this, { stage, progress, words: message });
    return true;
  }

  /** How each stage stands: `done`, `now` or `next`. */
  steps() {
    const reached = STAGES.indexOf(this.stage);
    return STAGES.map((stage, index) => {
      if (index < reached || this.stage === STAGES.at(-1)) return { stage, state: "done" };
      return { stage, state: index === reached ? "now" : "next" };
    });
  }

  /** Plain data, for a snapshot. */
  plain() {
    const { assessment, place, stage, progress, words, conversation } = this;
    return { assessment, place, stage, progress, words, conversation };
  }
}
