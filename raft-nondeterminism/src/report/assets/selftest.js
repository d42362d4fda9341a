// `#selftest`: the player tries itself, and writes what came of it to the page's root element.

const errors = [];
window.onerror = (message, _, line) => {
  errors.push(`${message} (line ${line})`);
  document.documentElement.dataset.selftest = `failed: ${errors[0]}`;
};

function selfTest() {
  const claims = (claim, isTrue) => {
    if (!isTrue) errors.push(claim);
  };
  const expectStep = (step) => {
    claims(`step ${step} is shown`, player.now === step && $("place").textContent === `${step} / ${stepCount}`);
    trace.lanes.forEach((lane, place) => {
      claims(`${lane.name} is right after step ${step}`, cursor.states[place] === recomputed(place, step));
    });
    claims(`step ${step} has its row`, picture.querySelector(".band.is-now")?.dataset.row === String(step));
    claims(`step ${step} shows every lane`, inspector.lanes.querySelectorAll(".lane").length === trace.lanes.length);
    const flying = flights.filter((flight) => flight.sentAt <= step && !(flight.end <= step && flight.end !== null));
    claims(`step ${step} counts its messages`, inspector["flying-count"].textContent === String(flying.length));
  };
  player.isTesting = true;
  $("first").onclick();
  expectStep(0);
  for (let step = 1; step <= stepCount; step += 1) {
    $("forward").onclick();
    expectStep(step);
  }
  $("forward").onclick();
  expectStep(stepCount);
  if (brokenAt > 0) claims("the broken property is told", inspector.now.textContent.includes(trace.violation.property));
  for (let step = stepCount - 1; step >= 0; step -= 1) {
    press("ArrowLeft");
    expectStep(step);
  }
  press("End");
  expectStep(stepCount);
  for (const share of [0.5, 0.1, 0.9]) {
    const step = Math.floor(stepCount * share);
    $("slider").value = String(step);
    $("slider").oninput();
    expectStep(step);
  }
  if (isNeeded.size > 0) {
    setOnlyNeeded(true);
    claims("only what matters has a row", rows.length === isNeeded.size + 1);
    press("Home");
    for (const step of [...isNeeded].sort((a, b) => a - b)) {
      press("ArrowRight");
      expectStep(step);
    }
    setOnlyNeeded(false);
  }
  press("v");
  for (let step = 0; step <= stepCount; step += Math.max(1, Math.floor(stepCount / 50))) {
    goTo(step);
    const faces = ring.querySelectorAll(".ring-node").length;
    claims(`the ring shows everyone after step ${step}`, player.isRing && faces === trace.lanes.length);
  }
  press("v");
  if (stepCount > 0) {
    search(trace.steps[0].name);
    claims("a search finds the first step", player.matches.has(1));
    goTo(0);
    nextMatch(1);
    expectStep(1);
    search("\u0000 nobody says this");
    claims("a search finds nothing that is not there", player.matches.size === 0);
    search("");
  }
  goTo(stepCount);
  player.isTesting = false;
  document.documentElement.dataset.arrows = String(picture.querySelectorAll("[data-message]").length);
  document.documentElement.dataset.selftest = errors.length === 0 ? "ok" : `failed: ${errors[0]} (and ${errors.length - 1} more)`;
}

/** How a lane is after a step, from nothing but the steps. */
function recomputed(lane, step) {
  let { start: state } = trace.lanes[lane];
  for (const { changes } of trace.steps.slice(0, step)) {
    for (const change of changes || []) if (change.lane === lane) state = change.state;
  }
  return state;
}

function press(key) {
  document.onkeydown({ key, target: document.body, preventDefault() {} });
}
