// What is known after a step: the event and its effects, every lane, the logs side by side, and what is
// in flight. Text goes to the page as text only.

const inspector = Object.fromEntries(
  ["now", "lanes", "logs", "logs-title", "flying", "flying-count", "legend"].map((id) => [id, document.getElementById(id)]),
);

function node(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function drawLegend() {
  const used = new Set(changesOf.flat().map((change) => change.state.role));
  inspector.legend.replaceChildren(...roles.filter((role) => used.has(role)).map((role) => {
    const made = node("span", "pill", role);
    made.style.setProperty("--color", roleColor(role));
    return made;
  }));
}

function drawInspector(now, states) {
  drawNow(now);
  const before = trace.lanes.map((_, lane) => (now === 0 ? states[lane] : stateAt(lane, now - 1)));
  drawLanes(states, before);
  drawLogs(states, before);
  drawFlying(now);
}

function drawNow(now) {
  const step = trace.steps[now - 1];
  const isBroken = now === brokenAt;
  inspector.now.className = isBroken ? "card is-broken" : "card";
  const head = node("div", "head", `Step ${now} of ${stepCount}`);
  const parts = [head];
  if (step) {
    head.append(node("span", "class", step.class));
    if (isNeeded.has(now)) head.append(node("span", "needed", "● needed"));
    parts.push(node("p", "event", step.name));
  } else {
    parts.push(node("p", "event", "before the first step"));
  }
  const notes = step ? step.notes || [] : trace.notes || [];
  if (notes.length > 0) {
    parts.push(node("ul", "", ...notes.map((note) => node("li", note.includes("⇨") ? "role-change" : "", note))));
  }
  if (isBroken) {
    parts.push(node("div", "broken", node("b", "", trace.violation.property), ` ${trace.violation.message}`));
  }
  inspector.now.replaceChildren(...parts);
}

/** A value, with the one it had before if that was another. */
function value(name, now, was) {
  if (now === was) return node(name, "", now);
  return node(name, "changed", was ? node("span", "was", was) : null, now);
}

/** All lanes of one kind as a table: what they have in common are columns, so that they compare at a glance. */
function drawLanes(states, before) {
  const tables = [];
  for (const kind of new Set(trace.lanes.map((lane) => lane.kind))) {
    const members = trace.lanes.map((lane, place) => ({ lane, place })).filter(({ lane }) => lane.kind === kind);
    const keys = [];
    for (const { place } of members) {
      for (const { key, value: text } of states[place].details || []) {
        if (text.length <= SHORT && !keys.includes(key)) keys.push(key);
      }
    }
    const hasRoles = members.some(({ place }) => states[place].role);
    if (!hasRoles && keys.length === 0) {
      tables.push(plainTable(members, states, before));
      continue;
    }
    const titles = [kind, ...(hasRoles ? ["role", "term"] : []), ...keys].map((title) => node("th", "", title));
    const bodies = members.flatMap((member) => laneRows(member, states[member.place], before[member.place], keys, hasRoles));
    tables.push(node("table", "card lanes", node("thead", "", node("tr", "", ...titles)), node("tbody", "", ...bodies)));
  }
  inspector.lanes.replaceChildren(...tables);
}

/** Lanes of which there is but a line to say. */
function plainTable(members, states, before) {
  return node("table", "card lanes is-plain", node("tbody", "", ...members.map(({ lane, place }) => {
    const [state, old] = [states[place], before[place]];
    const text = state.is_up ? state.summary ?? "" : `down ${state.summary ?? ""}`;
    const row = node("tr", "lane", node("th", "", lane.name), node("td", state.summary === old.summary ? "" : "changed", text || lane.kind));
    if (state.summary !== old.summary) row.lastChild.title = `was ${old.summary ?? "nothing"}`;
    return row;
  })));
}

/** A value that is longer has a line of its own. */
const SHORT = 12;

function laneRows({ lane }, state, before, keys, hasRoles) {
  const row = node("tr", `lane${state === before ? "" : " is-changed"}${state.is_up ? "" : " is-down"}`);
  row.style.setProperty("--color", roleColor(state.role));
  row.append(node("th", "", lane.name));
  if (hasRoles) {
    const role = node("span", "pill", state.role);
    role.style.setProperty("--color", state.is_up ? roleColor(state.role) : "var(--r5)");
    const isNewRole = state.role !== before.role;
    row.append(node("td", isNewRole ? "changed" : "", role));
    if (isNewRole) row.lastChild.title = `was ${before.role}`;
    const term = node("td", state.term === before.term ? "term-cell" : "term-cell changed", state.term === undefined ? "" : String(state.term));
    term.style.setProperty("--color", termColor(state.term));
    row.append(term);
  }
  const now = new Map((state.details || []).map((detail) => [detail.key, detail.value]));
  const old = new Map((before.details || []).map((detail) => [detail.key, detail.value]));
  for (const key of keys) {
    const text = now.get(key);
    const isShort = text === undefined || text.length <= SHORT;
    const cell = node("td", text === old.get(key) ? "" : "changed", isShort ? text ?? "" : "…");
    if (text !== old.get(key)) cell.title = `was ${old.get(key) ?? "nothing"}`;
    row.append(cell);
  }
  const long = (state.details || []).filter((detail) => detail.value.length > SHORT);
  // A log has a table of its own.
  if (state.summary && !state.log) long.unshift({ key: "", value: state.summary });
  const more = long.map(({ key, value: text }) => {
    const was = key ? old.get(key) : before.summary;
    const cell = node("td", "", key ? node("span", "key", key) : null, value("span", text, was));
    cell.colSpan = keys.length + 3;
    return node("tr", "more", cell);
  });
  for (const line of more) line.style.setProperty("--color", roleColor(state.role));
  return [row, ...more];
}

function drawLogs(states, before) {
  const withLog = trace.lanes.map((_, lane) => lane).filter((lane) => states[lane].log);
  const isEmpty = withLog.every((lane) => states[lane].log.entries.length === 0 && states[lane].log.start <= 1);
  inspector["logs-title"].hidden = inspector.logs.hidden = isEmpty;
  if (isEmpty) return inspector.logs.replaceChildren();
  const endOf = (log) => log.start + log.entries.length - 1;
  const start = Math.min(...withLog.map((lane) => Math.max(1, states[lane].log.start - 1)));
  const end = Math.max(...withLog.map((lane) => endOf(states[lane].log)));
  const places = Array.from({ length: Math.max(0, end - start + 1) }, (_, offset) => start + offset);
  // An entry is odd if another lane has another one at its place.
  const kinds = new Map(places.map((place) => [place, new Set(withLog.map((lane) => entryAt(states[lane].log, place)).filter(Boolean))]));
  const header = node("tr", "", node("th", ""), ...places.map((place) => node("th", "", String(place))));
  const rowsOfLogs = withLog.map((lane) => {
    const { log } = states[lane];
    const cells = places.map((place) => {
      const entry = entryAt(log, place);
      if (entry === null) return node("td", place < log.start ? "gone" : "", place < log.start ? "⋯" : "");
      const isCommitted = place <= log.committed;
      const old = before[lane].log;
      const isNew = !old || entryAt(old, place) !== entry || (place <= old.committed) !== isCommitted;
      const classes = ["entry", isCommitted && "is-committed", isNew && "is-new", kinds.get(place).size > 1 && "is-odd"];
      const cell = node("td", classes.filter(Boolean).join(" "), entry);
      cell.style.setProperty("--color", entryColor(entry));
      return cell;
    });
    return node("tr", "", node("th", "", trace.lanes[lane].name), ...cells);
  });
  inspector.logs.replaceChildren(node("table", "", node("thead", "", header), node("tbody", "", ...rowsOfLogs)));
}

function entryAt(log, place) {
  const entry = log.entries[place - log.start];
  return entry === undefined ? null : entry;
}

function drawFlying(now) {
  const flying = flights.filter((flight) => flight.sentAt <= now && (flight.end === null || flight.end > now));
  inspector["flying-count"].textContent = String(flying.length);
  const lines = flying.slice(0, 200).map(({ message, end }) => {
    const [from, to] = [trace.lanes[message.from].name, trace.lanes[message.to].name];
    const made = node("div", "", `${from} → ${to} ${message.label}`);
    made.style.color = termColor(message.term);
    if (message.twin_of !== undefined) made.append(" (twin)");
    made.title = end === null ? "in flight to the end" : `until step ${end}`;
    return made;
  });
  inspector.flying.replaceChildren(...(lines.length > 0 ? lines : [node("div", "empty", "nothing")]));
}
