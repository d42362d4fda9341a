"use strict";
// The trace, and what it says about every step. Nothing here touches the page.

const trace = JSON.parse(document.getElementById("trace").textContent);
const stepCount = trace.steps.length;
const isNeeded = new Set(trace.matters || []);
const brokenAt = trace.violation ? stepCount : -1;

/** Every message with the steps of its sending and of its end; `end` is null if it is never taken out. */
const flights = [];
const flightOf = new Map();
for (const message of trace.sent || []) addFlight(message, 0);
for (const step of trace.steps) {
  for (const message of step.sent || []) addFlight(message, step.number);
  const carried = step.carried;
  if (carried && carried.fate !== "doubled") {
    const flight = flightOf.get(carried.message);
    flight.end = step.number;
    flight.isLost = carried.fate === "lost";
  }
}

function addFlight(message, sentAt) {
  const flight = { message, sentAt, end: null, isLost: false };
  flights.push(flight);
  flightOf.set(message.id, flight);
}

/** The steps at which each lane changes, the start first. */
const changesOf = trace.lanes.map((lane) => [{ step: 0, state: lane.start }]);
for (const step of trace.steps) {
  for (const change of step.changes || []) {
    changesOf[change.lane].push({ step: step.number, state: change.state });
  }
}

/** How a lane is after a step: looked up, without regard to what is shown. */
function stateAt(lane, step) {
  const changes = changesOf[lane];
  let [low, high] = [0, changes.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (changes[middle].step <= step) low = middle;
    else high = middle - 1;
  }
  return changes[low].state;
}

/** All lanes after a step, kept from step to step as a player goes forward and back. */
class Cursor {
  constructor() {
    this.step = 0;
    this.states = trace.lanes.map((lane) => lane.start);
    this.undo = [];
  }
  forward() {
    const step = trace.steps[this.step];
    const before = [];
    for (const change of step.changes || []) {
      before.push([change.lane, this.states[change.lane]]);
      this.states[change.lane] = change.state;
    }
    this.undo.push(before);
    this.step += 1;
  }
  back() {
    for (const [lane, state] of this.undo.pop().reverse()) this.states[lane] = state;
    this.step -= 1;
  }
  goTo(step) {
    while (this.step < step) this.forward();
    while (this.step > step) this.back();
  }
}

const roles = [...(trace.roles || [])];
for (const state of changesOf.flat().map((change) => change.state)) {
  if (state.role && !roles.includes(state.role)) roles.push(state.role);
}

function roleColor(role) {
  const place = roles.indexOf(role);
  return place < 0 ? "var(--line)" : `var(--r${place % 8})`;
}

function termColor(term) {
  return term === undefined || term === null ? "var(--t0)" : `var(--t${term === 0 ? 0 : 1 + (term - 1) % 7})`;
}

/** `7@2` is entry 7 of term 2, so entries of one term have one colour. */
function entryColor(entry) {
  const term = entry.split("@")[1];
  return termColor(term === undefined ? null : Number.parseInt(term, 10) || 0);
}

/** `VoteRequest last=1@1` as its name and the rest. */
function splitLabel(label) {
  const end = label.indexOf(" ");
  return end < 0 ? [label, ""] : [label.slice(0, end), label.slice(end)];
}

/** Everything written about each step, in lower case, to be searched. */
const textOf = trace.steps.map((step) => {
  const said = (step.sent || []).map((message) => message.label);
  return [step.name, ...(step.notes || []), ...said].join("\n").toLowerCase();
});
if (brokenAt > 0) {
  textOf[brokenAt - 1] += `\n${trace.violation.property}: ${trace.violation.message}`.toLowerCase();
}
