// The space-time diagram: a lane for everyone who takes part, time goes down, messages are arrows.
// Only what is in sight is drawn, so a run may be long.

const ROW = 46;
const TOP = 26;
const svgSpace = "http://www.w3.org/2000/svg";
const diagram = document.getElementById("diagram");
const picture = document.getElementById("picture");
const names = document.getElementById("names");

/** The steps that have a row, in order; step 0 is the start. */
let rows = [];
let geometry = { gutter: 0, lane: 0, width: 0 };

function setRows(onlyNeeded) {
  rows = [0];
  for (const step of trace.steps) {
    if (!onlyNeeded || isNeeded.has(step.number)) rows.push(step.number);
  }
}

/** The row of a step, or of the last one before it that has a row. */
function rowOf(step) {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle] <= step) low = middle;
    else high = middle - 1;
  }
  return low;
}

const isShown = (step) => rows[rowOf(step)] === step;

/** Where a step happens among the rows: one that has no row happens between two of them. */
function momentOf(step) {
  const row = rowOf(step);
  return rows[row] === step ? row : row + 0.5;
}

const yOf = (moment) => TOP + moment * ROW;
const xOf = (lane) => geometry.gutter + geometry.lane * (lane + 0.5);

function element(parent, name, attributes, text) {
  const made = document.createElementNS(svgSpace, name);
  for (const key in attributes) {
    if (attributes[key] !== null && attributes[key] !== undefined) made.setAttribute(key, attributes[key]);
  }
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function measure() {
  const isNarrow = window.innerWidth <= 720;
  const gutter = isNarrow ? 84 : 172;
  const room = (diagram.clientWidth - gutter) / Math.max(1, trace.lanes.length);
  const lane = Math.max(isNarrow ? 56 : 84, Math.min(190, room));
  geometry = { gutter, lane, isNarrow, width: Math.max(diagram.clientWidth, gutter + lane * trace.lanes.length) };
  // Before anything is drawn, so that there is something to scroll.
  picture.setAttribute("width", geometry.width);
  picture.setAttribute("height", yOf(rows.length - 1) + ROW);
}

function drawNames(states) {
  names.style.width = `${geometry.width}px`;
  names.replaceChildren(...trace.lanes.map((lane, place) => {
    const box = document.createElement("div");
    const state = states[place];
    box.className = state.is_up ? "name" : "name is-down";
    box.style.left = `${xOf(place)}px`;
    box.style.maxWidth = `${geometry.lane - 4}px`;
    const name = document.createElement("span");
    name.textContent = lane.name;
    box.append(name);
    if (state.role) box.append(pill(state, geometry.lane < 90));
    return box;
  }));
}

function pill(state, isShort) {
  const made = document.createElement("span");
  made.className = "pill";
  made.style.setProperty("--color", state.is_up ? roleColor(state.role) : "var(--r5)");
  if (geometry.lane < 120) made.style.fontSize = "10px";
  const role = isShort ? state.role.slice(0, 4) : state.role;
  made.textContent = state.term === undefined ? role : `${role} ${state.term}`;
  return made;
}

function drawDiagram(now, matches) {
  const margin = 3;
  const first = Math.max(0, Math.floor((diagram.scrollTop - TOP) / ROW) - margin);
  const last = Math.min(rows.length - 1, Math.ceil((diagram.scrollTop + diagram.clientHeight) / ROW) + margin);
  const drawn = document.createDocumentFragment();
  const layer = (name) => element(drawn, "g", { class: name });
  const [bands, lives, arrows, marks] = ["bands", "lives", "arrows", "marks"].map(layer);
  const nowRow = rowOf(now);
  for (let row = first; row <= last; row += 1) drawBand(bands, row, nowRow, matches);
  trace.lanes.forEach((_, lane) => drawLife(lives, lane, first, last, nowRow));
  for (const flight of flights) drawFlight(arrows, flight, first, last, now, nowRow);
  for (let row = Math.max(1, first); row <= last; row += 1) drawMark(marks, row, nowRow);
  for (let lane = 0; lane < trace.lanes.length; lane += 1) drawBadges(marks, lane, first, last, nowRow);
  picture.replaceChildren(drawn);
}

function drawBand(parent, row, nowRow, matches) {
  const step = rows[row];
  const isNow = row === nowRow;
  const isBroken = step === brokenAt;
  const y = yOf(row) - ROW / 2;
  const classes = ["band", matches.has(step) && "is-match", isNow && "is-now", isBroken && "is-broken"];
  const group = element(parent, "g", { class: row > nowRow ? "future" : null });
  const band = element(parent, "rect", {
    class: classes.filter(Boolean).join(" "), x: 0, y, width: geometry.width, height: ROW, "data-row": step,
  });
  parent.insertBefore(band, group);
  if (isNow) element(parent, "rect", { class: isBroken ? "now-edge is-broken" : "now-edge", x: 0, y, width: 4, height: ROW });
  const middle = yOf(row) + 4;
  element(group, "text", { class: "number", x: geometry.isNarrow ? 24 : 34, y: middle }, String(step));
  if (isNeeded.has(step) && isNeeded.size < stepCount) {
    element(group, "circle", { class: "needed-mark", cx: geometry.isNarrow ? 31 : 43, cy: middle - 4, r: 3 });
  }
  const text = element(group, "text", { class: isNow ? "verb is-now-text" : "verb", x: geometry.isNarrow ? 38 : 52, y: middle, "pointer-events": "none" });
  if (step === 0) {
    text.textContent = "start";
    return;
  }
  const { name } = trace.steps[step - 1];
  const [verb, rest] = splitLabel(name);
  element(text, "tspan", {}, shorten(verb, geometry.isNarrow ? 9 : 14));
  if (geometry.isNarrow) return;
  element(text, "tspan", { class: "who" }, ` ${shorten(rest.trim().replace(/^(\S+ [→⇥] \S+) .*$/, "$1"), 24 - verb.length)}`);
}

function shorten(text, length) {
  const letters = [...text];
  return letters.length <= length ? text : `${letters.slice(0, Math.max(1, length - 1)).join("")}…`;
}

function drawLife(parent, lane, first, last, nowRow) {
  const changes = changesOf[lane];
  const x = xOf(lane);
  changes.forEach(({ step, state }, place) => {
    const from = place === 0 ? 0 : momentOf(step);
    const to = place + 1 < changes.length ? momentOf(changes[place + 1].step) : rows.length - 0.5;
    if (to <= from || to < first || from > last) return;
    const [high, low] = [Math.max(from, first - 1), Math.min(to, last + 1)];
    const classes = ["life", !state.is_up && "is-down", !state.role && "is-plain"].filter(Boolean);
    const line = (start, end, extra) => {
      if (end <= start) return;
      element(parent, "line", {
        class: [...classes, extra].join(" "), x1: x, x2: x, y1: yOf(start), y2: yOf(end), stroke: roleColor(state.role),
      });
    };
    line(high, Math.min(low, nowRow), "");
    line(Math.max(high, nowRow), low, "future");
  });
}

/** Where a role or a term begins that the lane did not have before. */
function drawBadges(parent, lane, first, last, nowRow) {
  const changes = changesOf[lane];
  changes.forEach(({ step, state }, place) => {
    if (place === 0 || !state.role) return;
    const row = momentOf(step);
    if (row < first || row > last) return;
    const isLastOfRow = place + 1 === changes.length || momentOf(changes[place + 1].step) > row;
    const before = stateAt(lane, Number.isInteger(row) ? step - 1 : rows[Math.floor(row)]);
    if (!isLastOfRow || (before.role === state.role && before.term === state.term)) return;
    const term = state.term === undefined ? "" : `${state.term}`;
    const text = before.role === state.role || geometry.lane < 80 ? `term ${term}` : `${state.role} ${term}`.trim();
    const label = geometry.lane < 80 ? shorten(before.role === state.role ? `t${term}` : `${state.role.slice(0, 4)} ${term}`, 9) : shorten(text, 20);
    const width = [...label].length * 6.2 + 14;
    const group = element(parent, "g", { class: row > nowRow ? "badge future" : "badge", "pointer-events": "none" });
    const color = state.is_up ? roleColor(state.role) : "var(--r5)";
    element(group, "rect", { x: xOf(lane) - width / 2, y: yOf(row) + (Number.isInteger(row) ? 9 : -8), width, height: 16, fill: color, stroke: "var(--panel)", "stroke-width": 1.5 });
    element(group, "text", { x: xOf(lane), y: yOf(row) + (Number.isInteger(row) ? 20.5 : 3.5) }, label);
  });
}

/** The ends of a message's line; a twin leaves the line of its original where it was made. */
function lineOf(flight) {
  const { message, sentAt, end } = flight;
  const to = { x: xOf(message.to), y: end === null ? null : yOf(rowOf(end)) };
  let from = { x: xOf(message.from), y: yOf(momentOf(sentAt)) };
  const original = flightOf.get(message.twin_of);
  if (original) {
    const line = lineOf(original);
    const y = yOf(momentOf(sentAt));
    const share = Math.min(0.86, Math.max(0.14, (y - line.from.y) / Math.max(1, line.to.y - line.from.y)));
    from = { x: line.from.x + (line.to.x - line.from.x) * share, y: line.from.y + (line.to.y - line.from.y) * share };
  }
  if (to.y === null) to.y = from.y + ROW * 1.4;
  return { from, to };
}

function drawFlight(parent, flight, first, last, now, nowRow) {
  const { message, sentAt, end, isLost } = flight;
  const start = momentOf(sentAt);
  const stop = end === null ? start + 1 : momentOf(end);
  if (stop < first || start > last) return;
  // With rows left out, a message is shown if what became of it has a row.
  if (rows.length <= stepCount && (end === null ? !isShown(sentAt) || sentAt === 0 : !isShown(end))) return;
  if (end === null && rows.length <= stepCount && isNeeded.size < stepCount) return;
  const { from, to } = lineOf(flight);
  const isAbout = now > 0 && (sentAt === now || end === now);
  const color = termColor(message.term);
  const group = element(parent, "g", { "data-message": message.id });
  element(group, "title", {}, `${trace.lanes[message.from].name} → ${trace.lanes[message.to].name} ${message.label}`
    + `\nsent by step ${sentAt}, ${end === null ? "in flight at the end" : isLost ? `lost by step ${end}` : `delivered by step ${end}`}`);
  const isTwin = message.twin_of !== undefined;
  const classes = (extra) => ["arrow", isTwin && "is-twin", isAbout && "is-about", isLost && "is-lost", extra].filter(Boolean).join(" ");
  if (message.from === message.to) {
    const bulge = from.x + Math.min(60, geometry.lane * 0.6);
    const bottom = end === null ? from.y + 16 : to.y;
    const path = `M${from.x + 5} ${from.y}C${bulge} ${from.y} ${bulge} ${bottom} ${to.x + 7} ${bottom}`;
    element(group, "path", { class: classes(start > nowRow && "future"), d: path, stroke: color });
    return;
  }
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const at = (distance) => ({ x: from.x + ux * distance, y: from.y + uy * distance });
  const line = (a, b, extra) => element(group, "line", { class: classes(extra), x1: a.x, y1: a.y, x2: b.x, y2: b.y, stroke: color });
  const begin = at(isTwin ? 0 : 6);
  if (end === null) {
    const tip = at(Math.min(length * 0.55, 58));
    const extra = start > nowRow ? "is-open future" : "is-open";
    line(begin, tip, extra);
    element(group, "circle", { class: start > nowRow ? "open-end future" : "open-end", cx: tip.x, cy: tip.y, r: 3.2, stroke: color });
    return;
  }
  const tip = at(length - (isLost ? Math.min(30, length * 0.3) : 7));
  if (start <= nowRow && nowRow < stop) {
    // It is in flight now: as far as it has come, and the rest of its way.
    const share = Math.max(0.12, (nowRow - start + 0.5) / (stop - start + 0.5));
    const place = at(length * Math.min(0.9, share));
    line(begin, place, "");
    line(place, tip, "future");
    element(group, "circle", { class: "flying", cx: place.x, cy: place.y, r: 5, fill: color });
  } else {
    line(begin, tip, start > nowRow ? "future" : "");
  }
  const fade = stop > nowRow ? " future" : "";
  drawTip(group, tip, ux, uy, color, isLost, (isAbout ? "tip is-about" : "tip") + fade);
  drawSaid(group, flight, to, dx, color, fade);
}

function drawTip(parent, tip, ux, uy, color, isLost, classes) {
  const [size, wide] = [8, 4];
  const [bx, by] = [tip.x - ux * size, tip.y - uy * size];
  const head = `M${tip.x} ${tip.y}L${bx - uy * wide} ${by + ux * wide}L${bx + uy * wide} ${by - ux * wide}Z`;
  element(parent, "path", { class: classes, d: head, fill: color });
  if (isLost) {
    // It ends in ⇥, before whoever should have had it.
    const [cx, cy] = [tip.x + ux * 2, tip.y + uy * 2];
    element(parent, "line", {
      class: classes, x1: cx - uy * 7, y1: cy + ux * 7, x2: cx + uy * 7, y2: cy - ux * 7, stroke: "var(--broken)", "stroke-width": 3,
    });
  }
}

/** What is said, beside the receiver: each row has one arrival, so these do not meet. */
function drawSaid(parent, flight, to, dx, color, fade) {
  const [name, rest] = splitLabel(flight.message.label);
  const side = dx > 0 ? -1 : 1;
  const text = element(parent, "text", {
    class: `said${fade}`, x: to.x + side * (flight.isLost ? 36 : 15), y: to.y - 8, fill: color, "text-anchor": dx > 0 ? "end" : "start", "pointer-events": "none",
  });
  // As long as there is room before the gutter, or the end of the picture.
  const room = (dx > 0 ? to.x - geometry.gutter : geometry.width - to.x) - (flight.isLost ? 40 : 20);
  const letters = Math.floor(room / 6.4);
  element(text, "tspan", {}, shorten(name, Math.max(4, Math.min(geometry.isNarrow ? 12 : 26, letters))));
  const isRoomy = geometry.lane * Math.abs(flight.message.to - flight.message.from) > 130;
  const left = Math.min(22, letters - name.length);
  if (rest && isRoomy && !geometry.isNarrow && left > 4) element(text, "tspan", { class: "rest" }, shorten(rest, left));
}

const GLYPHS = new Map(Object.entries({
  timeout: "M0 -3.5V0H3", crash: "M-4 -4L4 4M-4 4L4 -4", restart: "M3.5 -2.5A4.3 4.3 0 1 0 4.3 0M3.9 -5V-2.2H1.1",
  client: "M-3 0H3M0 -3V3", save: "M-2.8 -1L0 2L3.6 -3", deliver: "",
  pause: "M-2 -3V3M2 -3V3", resume: "M-1.8 -3L3 0L-1.8 3Z", retry: "M3.5 -2.5A4.3 4.3 0 1 0 4.3 0",
}));

/** What the step does to its lane, or to a message on its way. */
function drawMark(parent, row, nowRow) {
  const step = trace.steps[rows[row] - 1];
  const fate = step.carried && step.carried.fate;
  const classes = row > nowRow ? "future" : null;
  if (fate === "doubled") {
    const twin = (step.sent || [])[0];
    if (!twin) return;
    const { from } = lineOf(flightOf.get(twin.id));
    const group = element(parent, "g", { class: classes, transform: `translate(${from.x} ${from.y})`, "pointer-events": "none" });
    element(group, "circle", { r: 9, fill: "var(--panel)", stroke: termColor(twin.term), "stroke-width": 1.5 });
    element(group, "text", { y: 3.5, "text-anchor": "middle", "font-size": 10, "font-weight": 700, fill: "var(--text)" }, "×2");
    return;
  }
  if (step.lane === undefined || fate === "lost") return;
  const isBroken = rows[row] === brokenAt;
  const group = element(parent, "g", { class: classes, transform: `translate(${xOf(step.lane)} ${yOf(row)})`, "pointer-events": "none" });
  const glyph = GLYPHS.get(splitLabel(step.name)[0]) ?? GLYPHS.get(step.class);
  const isDeliver = step.class === "deliver";
  const color = step.class === "crash" ? "var(--broken)" : "var(--text)";
  element(group, "circle", { class: "dot", r: isDeliver ? 5.5 : 9, fill: isDeliver ? color : "var(--panel)" });
  if (!isDeliver) {
    element(group, "circle", { r: 8, fill: "none", stroke: color, "stroke-width": 1.8 });
    if (glyph) element(group, "path", { class: "glyph", d: glyph, stroke: color });
    else element(group, "circle", { r: 2.6, fill: color });
  }
  if (isBroken) element(group, "circle", { class: "ring", r: 14 });
}
