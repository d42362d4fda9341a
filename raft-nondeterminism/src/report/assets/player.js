// The player: which step is shown, and every way to go to another one.

const $ = (id) => document.getElementById(id);
const cursor = new Cursor();
const player = { now: 0, timer: null, matches: new Set(), onlyNeeded: false, isRing: false, isTesting: false };

function show() {
  const { now } = player;
  const isForward = now > cursor.step;
  cursor.goTo(now);
  if (player.isRing) {
    drawRing(now, cursor.states, isForward);
  } else {
    drawNames(cursor.states);
    drawDiagram(now, player.matches);
  }
  drawInspector(now, cursor.states);
  const row = rowOf(now);
  $("slider").value = String(row);
  $("slider").setAttribute("aria-valuetext", `step ${now} of ${stepCount}`);
  $("place").textContent = `${now} / ${stepCount}`;
  $("first").disabled = $("back").disabled = row === 0;
  $("last").disabled = $("forward").disabled = row === rows.length - 1;
  document.documentElement.dataset.step = String(now);
  drawStrip();
}

function goTo(step) {
  player.now = rows[rowOf(Math.max(0, Math.min(stepCount, step)))];
  keepInSight(yOf(rowOf(player.now)));
  show();
  if (!player.timer && !player.isTesting) rememberPlace();
}

function goToRow(row) {
  goTo(rows[Math.max(0, Math.min(rows.length - 1, row))]);
}

const forward = () => goToRow(rowOf(player.now) + 1);
const back = () => goToRow(rowOf(player.now) - 1);

function keepInSight(y) {
  if (player.isRing) return;
  const { scrollTop, clientHeight } = diagram;
  const head = names.offsetHeight;
  const top = y - scrollTop;
  if (top < ROW || top > clientHeight - head - ROW * 1.5) {
    diagram.scrollTop = y - (clientHeight - head) * 0.6;
  }
}

/** The step goes into the address, so that a link shows it. A page from a file may not be allowed to. */
function rememberPlace() {
  const parts = [`step=${player.now}`];
  if (player.onlyNeeded) parts.push("matters");
  if (player.isRing) parts.push("ring");
  try {
    history.replaceState(null, "", `#${parts.join("&")}`);
  } catch (_) {
    return;
  }
}

function play() {
  if (player.timer) return pause();
  if (rowOf(player.now) === rows.length - 1) goToRow(0);
  diagram.classList.add("is-smooth");
  document.body.classList.add("is-playing");
  $("play").setAttribute("aria-label", "Pause");
  const tick = () => {
    forward();
    if (rowOf(player.now) === rows.length - 1) return pause();
    player.timer = setTimeout(tick, 900 / Number($("speed").value));
  };
  player.timer = setTimeout(tick, 60);
}

function pause() {
  clearTimeout(player.timer);
  player.timer = null;
  diagram.classList.remove("is-smooth");
  document.body.classList.remove("is-playing");
  $("play").setAttribute("aria-label", "Play");
  if (!player.isTesting) rememberPlace();
}

function setOnlyNeeded(onlyNeeded) {
  player.onlyNeeded = onlyNeeded && isNeeded.size > 0;
  $("only").checked = player.onlyNeeded;
  setRows(player.onlyNeeded);
  $("slider").max = String(rows.length - 1);
  measure();
  goTo(player.now);
}

function setRing(isRing) {
  player.isRing = isRing;
  diagram.classList.toggle("is-ring", isRing);
  $("view-time").setAttribute("aria-pressed", String(!isRing));
  $("view-ring").setAttribute("aria-pressed", String(isRing));
  measure();
  goTo(player.now);
}

function search(text) {
  const words = text.trim().toLowerCase();
  player.matches = new Set();
  if (words) {
    textOf.forEach((written, place) => {
      if (written.includes(words)) player.matches.add(place + 1);
    });
  }
  tellMatches();
  show();
}

function tellMatches() {
  const shown = [...player.matches].filter(isShown);
  const place = shown.indexOf(player.now) + 1;
  const isAsked = $("search").value.trim() !== "";
  $("found").textContent = isAsked ? `${place || "–"}/${shown.length}` : "";
}

function nextMatch(direction) {
  const shown = [...player.matches].filter(isShown);
  if (shown.length === 0) return;
  const next = direction > 0 ? shown.find((step) => step > player.now) : shown.findLast((step) => step < player.now);
  goTo(next ?? (direction > 0 ? shown[0] : shown[shown.length - 1]));
  tellMatches();
}

/** The whole run on one line: what matters, what is found, and where it breaks. */
function drawStrip() {
  const strip = $("strip");
  const width = strip.clientWidth;
  if (width === 0) return;
  const scale = window.devicePixelRatio || 1;
  if (strip.width !== Math.round(width * scale)) strip.width = Math.round(width * scale);
  strip.height = Math.round(18 * scale);
  const context = strip.getContext("2d");
  context.scale(scale, scale);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colors = { line: color("--line"), text: color("--dim"), needed: color("--needed"), broken: color("--broken"), accent: color("--accent"), crash: color("--broken") };
  context.clearRect(0, 0, width, 18);
  const [left, room] = [8, width - 16];
  const xAt = (row) => left + (rows.length < 2 ? 0 : (room * row) / (rows.length - 1));
  const bar = Math.max(1, Math.min(4, room / rows.length - 1));
  rows.forEach((step, row) => {
    if (step === 0) return;
    const isBroken = step === brokenAt;
    const isMatch = player.matches.has(step);
    const isPlain = !isBroken && !isMatch && !(isNeeded.has(step) && isNeeded.size < stepCount);
    const { class: kind } = trace.steps[step - 1];
    const height = isBroken ? 16 : isPlain ? (kind === "deliver" ? 5 : 8) : 12;
    context.fillStyle = isBroken ? colors.broken : isMatch ? colors.accent : isPlain ? (kind === "crash" ? colors.crash : colors.text) : colors.needed;
    context.globalAlpha = isPlain ? 0.55 : 1;
    context.fillRect(xAt(row) - bar / 2, 18 - height, bar, height);
  });
  context.globalAlpha = 1;
}

function listen() {
  $("first").onclick = () => goToRow(0);
  $("last").onclick = () => goToRow(rows.length - 1);
  $("back").onclick = back;
  $("forward").onclick = forward;
  $("play").onclick = play;
  $("slider").oninput = () => goToRow(Number($("slider").value));
  $("only").onchange = () => setOnlyNeeded($("only").checked);
  $("view-time").onclick = () => setRing(false);
  $("view-ring").onclick = () => setRing(true);
  $("search").oninput = () => search($("search").value);
  $("next-match").onclick = () => nextMatch(1);
  $("previous-match").onclick = () => nextMatch(-1);
  const verdict = $("verdict");
  if (verdict && brokenAt > 0) verdict.onclick = () => goTo(brokenAt);
  picture.onclick = (event) => {
    const band = event.target.closest("[data-row]");
    if (band) return goTo(Number(band.dataset.row));
    const message = event.target.closest("[data-message]");
    if (message) {
      const flight = flightOf.get(Number(message.dataset.message));
      goTo(flight.end ?? flight.sentAt);
    }
  };
  let isWaiting = false;
  diagram.onscroll = () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      if (!player.isRing) drawDiagram(player.now, player.matches);
    });
  };
  window.onresize = () => {
    measure();
    show();
  };
  window.onhashchange = () => readAddress();
  document.onkeydown = handleKey;
}

function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target === $("search");
  if (isTyping) {
    if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") $("search").blur();
    else return;
    event.preventDefault();
    return;
  }
  const keys = {
    ArrowRight: forward, ArrowDown: forward, ArrowLeft: back, ArrowUp: back,
    Home: () => goToRow(0), End: () => goToRow(rows.length - 1), " ": play,
    "/": () => $("search").focus(), m: () => setOnlyNeeded(!player.onlyNeeded), v: () => setRing(!player.isRing),
    n: () => nextMatch(1), N: () => nextMatch(-1),
  };
  const action = keys[event.key];
  if (!action || (event.key === " " && event.target.tagName === "BUTTON") || event.target.tagName === "SELECT") return;
  event.preventDefault();
  action();
}

/** `#step=7&matters&ring&search=crash`: where to begin. */
function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (wanted.has("matters") !== player.onlyNeeded) setOnlyNeeded(wanted.has("matters"));
  if (wanted.has("ring") !== player.isRing) setRing(wanted.has("ring"));
  if (wanted.has("search")) {
    $("search").value = wanted.get("search");
    search($("search").value);
  }
  const step = Number.parseInt(wanted.get("step") ?? "", 10);
  goTo(Number.isNaN(step) ? (brokenAt > 0 ? brokenAt : 0) : step);
  return wanted;
}

function start() {
  const label = $("only-label");
  label.classList.toggle("is-off", isNeeded.size === 0 || isNeeded.size === stepCount);
  $("only-count").textContent = `${isNeeded.size} of ${stepCount}`;
  setRows(false);
  $("slider").max = String(rows.length - 1);
  drawLegend();
  measure();
  listen();
  const wanted = readAddress();
  document.documentElement.dataset.steps = String(stepCount);
  document.documentElement.dataset.lanes = String(trace.lanes.length);
  if (wanted.has("selftest")) selfTest();
}

start();
