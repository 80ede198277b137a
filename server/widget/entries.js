// From what is known to what is shown: the entries of one conversation, from top to bottom, as plain data.

const CAUSES = {
  connect_timeout: "did not answer",
  first_token_timeout: "took too long to begin",
  stall_timeout: "stopped in the middle",
  upstream_status: "was not available",
  upstream_error: "failed",
  upstream_truncated: "broke off",
  malformed: "sent something unreadable",
  empty_answer: "said nothing",
  rate_limited: "was busy",
};

/** A model's name as people say it: without its maker and its tariff. */
export function modelName(model) {
  return (model ?? "").replace(/^[^/]*\//, "").replace(/:free$/, "");
}

/** A sentence about a change of model. */
export function switchNote({ from, to, cause }) {
  if (cause === "node_lost" || cause === "node_drained") return "Another server went on with this answer.";
  const why = CAUSES[cause] ?? "failed";
  if (from === to) return `${modelName(from)} ${why} and was asked again.`;
  return `${modelName(from)} ${why}; ${modelName(to)} went on.`;
}

/**
 * The entries of a place (a conversation's id, or a draft's). `held` has what an answer needs while it
 * grows: `texts`, `reasoning` and `notices`, by generation. `complete`: nothing is on its way any more.
 */
export function entriesOf({ library, place, conversation, running, held, complete }) {
  const branch = conversation ? library.branch(conversation, running) : [];
  const entries = branch.map(({ message, siblings }, index) => ({
    ...entryOf(message, siblings, library, held),
    after: branch[index - 1]?.message.id ?? "",
  }));
  const asked = [...library.outbox.values()].filter((each) => each.kind === "regenerate" && each.place === place);
  const unsent = library.unsent(place);
  const last = entries.at(-1);
  if (last?.kind === "answer" && !last.live && unsent.length === 0) {
    // a welcome answers nothing: there is no question to answer again
    last.again = asked.length === 0 && last.message.parent_message_id !== null;
    last.suggestions = last.message.metadata?.suggested_questions ?? [];
    last.text = withoutOffered(last.text, last.suggestions);
  }
  if (last?.kind === "question" && unsent.length === 0 && complete && !library.awaited.has(last.key)) {
    const failure = library.failures.get(last.message.id);
    entries.push({
      kind: "unanswered",
      key: `unanswered-${last.message.id}`,
      question: last.message.id,
      reason: failure?.message ?? "This message has no answer yet.",
      busy: asked.length > 0,
    });
  }
  return [...entries, ...unsent.map(unsentEntry)];
}

function entryOf(message, siblings, library, held) {
  const { id: key, sender_type: sender } = message;
  if (sender === "user") return { kind: "question", key, message, text: shownText(message), state: "sent" };
  if (sender === "system") return { kind: "notice", key, text: shownText(message) };
  const { running } = message;
  const marks = library.marks.get(key) ?? {};
  return {
    kind: "answer",
    key,
    message,
    live: Boolean(running),
    ...growth(running?.generation, held),
    ...(running ? {} : { text: shownText(message) }),
    model: running ? running.model : message.metadata?.model,
    status: running ? "running" : (message.metadata?.status ?? "completed"),
    error: marks.error?.message ?? null,
    switches: marks.switches ?? [],
    place: siblings.findIndex(({ id }) => id === key),
    siblings: siblings.map(({ id }) => id),
    insights: running ? [] : insightsOf(message),
    again: false,
    suggestions: [],
  };
}

/** A text without the lines of a list that are offered below it to be asked by a press. */
function withoutOffered(text, questions) {
  if (questions.length === 0) return text;
  const offered = new Set(questions);
  const lines = text.split("\n").filter((line) => !offered.has(line.replace(/^\s*(?:[-*+]|\d+[.)])\s+/, "").trim()));
  return lines.join("\n").trimEnd();
}

/** What was noticed in somebody's results, as far as the text does not say it in the same words. */
function insightsOf({ metadata, content }) {
  return (metadata?.insights ?? []).filter((each) => !content?.includes(each));
}

/** The answers being written in a place. */
export function runningIn(view, place) {
  return [...view.running.values()].filter(({ conversation }) => conversation === place);
}

/** What changes of an answer while it grows. */
export function growth(generation, { texts, reasoning, notices }) {
  return {
    text: texts.get(generation)?.text ?? "",
    reasoning: reasoning.get(generation)?.text ?? "",
    notice: notices.get(generation)?.text ?? null,
  };
}

function unsentEntry({ key, content, state, reason }) {
  return { kind: "question", key, message: null, text: content, state, reason };
}

function shownText({ content, content_type: type }) {
  if (type === "text") return content ?? "";
  return type === "image" ? "(an image)" : "(a file)";
}
