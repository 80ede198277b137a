// A conversation's messages as a reader follows them: answers given again are siblings, one is shown.

/** Whether `a` came before `b`: ids are UUIDv7, whose order is the order of time. */
export function byId(a, b) {
  if (a.id === b.id) return 0;
  return a.id < b.id ? -1 : 1;
}

/**
 * The branch to show, oldest first: `[{ message, siblings }]`, `siblings` being all that stand in its place.
 *
 * At a fork the branch with the newest message is followed, unless `choices` (parent's id -> child's id)
 * picks another. A message whose parent is not here follows the one before it.
 */
export function branchOf(messages, choices) {
  const sorted = [...messages].sort(byId);
  const here = new Set(sorted.map(({ id }) => id));
  const children = new Map(); // parent's id, or "" -> messages
  const parents = new Map();
  let before = "";
  for (const message of sorted) {
    const { id, parent_message_id: given } = message;
    const parent = given && given < id && here.has(given) ? given : before;
    parents.set(id, parent);
    children.set(parent, [...(children.get(parent) ?? []), message]);
    before = id;
  }
  const newest = new Map(); // id -> the newest id below it
  for (const { id } of sorted.reverse()) {
    const below = newest.get(id) ?? id;
    newest.set(id, below);
    const parent = parents.get(id);
    if (!((newest.get(parent) ?? "") > below)) newest.set(parent, below);
  }
  const branch = [];
  for (let siblings = children.get(""); siblings; ) {
    const chosen = choices.get(branch.at(-1)?.message.id ?? "");
    const message =
      siblings.find(({ id }) => id === chosen) ??
      siblings.reduce((best, each) => (newest.get(each.id) > newest.get(best.id) ? each : best));
    branch.push({ message, siblings });
    siblings = children.get(message.id);
  }
  return branch;
}
