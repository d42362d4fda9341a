// The other picture: everyone in a ring, and messages on their way between them, at one moment.

const ring = document.getElementById("ring");

/** Where everyone is: the first kind in a ring, the others beside it. */
function ringPlaces(width, height) {
  const firstKind = trace.lanes.length > 0 ? trace.lanes[0].kind : "";
  const inside = trace.lanes.map((lane, place) => ({ lane, place })).filter(({ lane }) => lane.kind === firstKind);
  const beside = trace.lanes.map((lane, place) => ({ lane, place })).filter(({ lane }) => lane.kind !== firstKind);
  const margin = geometry.isNarrow ? 44 : 66;
  const room = beside.length > 0 ? margin * 2.1 : 0;
  const center = { x: (width - room) / 2, y: height / 2 };
  const [rx, ry] = [Math.max(60, (width - room) / 2 - margin), Math.max(60, height / 2 - margin)];
  const places = [];
  inside.forEach(({ place }, index) => {
    const angle = (2 * Math.PI * index) / inside.length - Math.PI / 2;
    places[place] = { x: center.x + Math.min(rx, ry * 1.5) * Math.cos(angle), y: center.y + ry * Math.sin(angle) };
  });
  beside.forEach(({ place }, index) => {
    places[place] = { x: width - margin, y: (height * (index + 1)) / (beside.length + 1) };
  });
  return places;
}

function drawRing(now, states, isForward) {
  const [width, height] = [diagram.clientWidth, diagram.clientHeight];
  ring.setAttribute("width", width);
  ring.setAttribute("height", height);
  const places = ringPlaces(width, height);
  const drawn = document.createDocumentFragment();
  const links = element(drawn, "g", {});
  const nodes = element(drawn, "g", {});
  const movers = element(drawn, "g", {});
  for (const flight of flights) {
    if (flight.sentAt > now || (flight.end !== null && flight.end < now)) continue;
    drawRingMessage(links, movers, flight, places, now, isForward);
  }
  trace.lanes.forEach((lane, place) => drawRingNode(nodes, lane, states[place], places[place], now, place));
  ring.replaceChildren(drawn);
}

function drawRingNode(parent, lane, state, { x, y }, now, place) {
  const step = trace.steps[now - 1];
  const radius = geometry.isNarrow ? 30 : 42;
  const group = element(parent, "g", { transform: `translate(${x} ${y})`, class: state.is_up ? "ring-node" : "ring-node is-down" });
  const isActive = step !== undefined && step.lane === place;
  if (isActive) {
    element(group, "circle", { r: radius + 8, class: now === brokenAt ? "halo is-broken" : "halo" });
  }
  element(group, "circle", { r: radius, class: "ring-face", stroke: state.role ? roleColor(state.role) : "var(--line)" });
  const line = (text, dy, className, fill) => element(group, "text", { y: dy, class: className, fill: fill ?? "var(--text)" }, shorten(text, 15));
  line(lane.name, state.role ? -11 : 4, "ring-name");
  if (state.role) line(state.role, 5, "ring-role");
  if (state.term !== undefined) line(`term ${state.term}`, 20, "ring-term", termColor(state.term));
  const { log } = state;
  if (log && log.entries.length > 0) drawRingLog(group, log, radius);
}

/** The end of a log, below its owner. */
function drawRingLog(parent, log, radius) {
  const most = 8;
  const first = Math.max(0, log.entries.length - most);
  const shown = log.entries.slice(first);
  const width = 9;
  shown.forEach((entry, index) => {
    const isCommitted = log.start + first + index <= log.committed;
    element(parent, "rect", {
      x: (index - shown.length / 2) * (width + 2), y: radius + 5, width, height: 9, rx: 2,
      fill: isCommitted ? entryColor(entry) : "transparent", stroke: entryColor(entry), "stroke-width": 1.3,
    });
  });
}

function drawRingMessage(parent, movers, flight, places, now, isForward) {
  const { message, sentAt, end, isLost } = flight;
  const [from, to] = [places[message.from], places[message.to]];
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy) || 1;
  const radius = geometry.isNarrow ? 30 : 42;
  // Both ways between two have a line of their own.
  const [nx, ny] = [(-dy / length) * 7, (dx / length) * 7];
  const at = (share) => {
    const distance = radius + 10 + (length - 2 * radius - 24) * share;
    return { x: from.x + (dx / length) * distance + nx, y: from.y + (dy / length) * distance + ny };
  };
  const isEnding = end === now;
  const color = termColor(message.term);
  const age = end === null ? 0.5 : (now - sentAt + 1) / (end - sentAt + 1);
  const share = isEnding ? (isLost ? 0.62 : 1) : 0.12 + 0.7 * Math.min(1, Math.max(0, age - 0.1));
  const isTwin = message.twin_of !== undefined;
  const isAbout = isEnding || sentAt === now;
  const tip = at(share);
  const start = at(0);
  element(parent, "line", {
    class: ["arrow", isTwin && "is-twin", isAbout && "is-about", !isAbout && "is-faint"].filter(Boolean).join(" "),
    x1: start.x, y1: start.y, x2: tip.x, y2: tip.y, stroke: color,
  });
  if (isEnding) drawTip(parent, tip, dx / length, dy / length, color, isLost, "tip is-about");
  const dot = element(movers, "circle", { class: "flying", r: isAbout ? 7 : 4.5, cx: tip.x, cy: tip.y, fill: color });
  element(dot, "title", {}, `${trace.lanes[message.from].name} → ${trace.lanes[message.to].name} ${message.label}`);
  if (isEnding || (sentAt === now && flights.filter((other) => other.sentAt === now).length < 3)) {
    const middle = at(isEnding ? 0.5 : Math.max(0.3, share));
    const label = element(movers, "text", { class: "said", x: middle.x, y: middle.y - 9, fill: color, "text-anchor": "middle" });
    label.textContent = shorten(geometry.isNarrow ? splitLabel(message.label)[0] : message.label, 36);
  }
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (isAbout && isForward && !isCalm && dot.animate) {
    const origin = isEnding ? at(Math.max(0.1, share - 0.7)) : start;
    const moved = `translate(${origin.x - tip.x}px, ${origin.y - tip.y}px)`;
    const duration = Math.min(600, 550 / Number(document.getElementById("speed").value));
    dot.animate([{ transform: moved }, { transform: "none" }], { duration, easing: "ease-in-out" });
  }
}
