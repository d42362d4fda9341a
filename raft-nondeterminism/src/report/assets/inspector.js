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
  inspector.legend.replaceChildren(...roles.map((role) => {
    const made = node("span", "pill", role);
    made.style.setProperty("--color", roleColor(role));
    return made;
  }));
}

function drawInspector(now, states) {
  drawNow(now);
  const before = trace.lanes.map((_, lane) => (now === 0 ? states[lane] : stateAt(lane, now - 1)));
  inspector.lanes.replaceChildren(...trace.lanes.map((lane, place) => laneCard(lane, states[place], before[place])));
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

function laneCard(lane, state, before) {
  const isChanged = state !== before;
  const card = node("article", `card lane${isChanged ? " is-changed" : ""}${state.is_up ? "" : " is-down"}`);
  card.style.setProperty("--color", roleColor(state.role));
  const head = node("div", "head", node("b", "", lane.name));
  if (state.role) {
    const role = node("span", "pill", state.role);
    role.style.setProperty("--color", state.is_up ? roleColor(state.role) : "var(--r5)");
    head.append(role);
    if (state.role !== before.role) head.append(node("span", "changed", node("span", "was", before.role)));
  } else {
    head.append(node("small", "summary", lane.kind));
  }
  if (!state.is_up && state.role !== "down") head.append(node("small", "summary", "down"));
  if (state.term !== undefined) {
    const term = node("span", "term", `term ${state.term}`);
    term.style.setProperty("--color", termColor(state.term));
    head.append(term);
    if (state.term !== before.term) head.append(node("span", "changed", node("span", "was", `${before.term ?? "–"}`)));
  }
  card.append(head);
  // A log has a table of its own.
  if (state.summary && !state.log) head.append(value("span", state.summary, before.summary));
  const details = state.details || [];
  if (details.length > 0) {
    const old = new Map((before.details || []).map((detail) => [detail.key, detail.value]));
    card.append(node("dl", "", ...details.map((detail) => {
      return node("div", "", node("dt", "", detail.key), value("dd", detail.value, old.get(detail.key)));
    })));
  }
  return card;
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
