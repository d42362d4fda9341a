// What the cases share: clients, entities of their own, and the report.
//
// A case is a function that is registered under the id of its row, and throws if something is not as it
// should be. Each result is one JSON object per line on standard output.

import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { ServiceBusAdministrationClient, ServiceBusClient } from "@azure/service-bus";

export const CONNECTION_STRING = process.env.CONNECTION_STRING;
export const IS_EMULATOR = process.env.IS_EMULATOR === "1";
// Longer than any step should take, so that a fault fails a case instead of hanging it.
export const PATIENCE_MS = 20_000;
const CASES_AT_A_TIME = 8;
const CASE_MS_MAX = 60_000;

const CASES = new Map();
// Cases that change the whole namespace, so that no other may run beside them.
const ALONE = new Set();

export class NotApplicable extends Error {}

export function define(name, run, { isAlone = false } = {}) {
  CASES.set(name, run);
  if (isAlone) ALONE.add(name);
}

export function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

export function checkEqual(found, expected, what) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what} is ${show(found)}, expected ${show(expected)}`);
  }
}

const show = (value) =>
  JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}` : v)) ?? String(value);

/** Awaits a failure, whose code or text must match. */
export async function expectError(pattern, call) {
  let result;
  try {
    result = await call();
  } catch (error) {
    // A call that was tried again tells of each try.
    const text = [error, ...(error.errors ?? [])].map((e) => `${e.code ?? ""} ${e.name} ${e.message}`);
    if (!pattern.test(text.join("\n"))) throw error;
    return error;
  }
  throw new Error(`expected ${pattern}, got ${show(result)}`);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const inFuture = (ms) => new Date(Date.now() + ms);

export async function eventually(holds, what) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(what);
    await sleep(50);
  }
}

/** Clients for one case, and the entities it makes; all of it goes away at the end. */
export class Bench {
  constructor() {
    const retryOptions = { maxRetries: 1, retryDelayInMs: 100, timeoutInMs: PATIENCE_MS };
    this.client = new ServiceBusClient(CONNECTION_STRING, { retryOptions });
    this.admin = new ServiceBusAdministrationClient(CONNECTION_STRING, { retryOptions: { maxRetries: 0 } });
    this.queues = [];
    this.topics = [];
    this.open = [];
  }

  async close() {
    const quietly = (promise) => promise.catch(() => {});
    for (const thing of this.open.reverse()) await quietly(Promise.resolve(thing.close?.()));
    await quietly(this.client.close());
    for (const name of this.queues) await quietly(this.admin.deleteQueue(name));
    for (const name of this.topics) await quietly(this.admin.deleteTopic(name));
  }

  async queue(options = {}, name = `q-${randomUUID().slice(0, 12)}`) {
    await this.admin.createQueue(name, options);
    this.queues.push(name);
    return name;
  }

  async topic(subscriptions = [], options = {}) {
    const name = `t-${randomUUID().slice(0, 12)}`;
    await this.admin.createTopic(name, options);
    this.topics.push(name);
    for (const subscription of subscriptions) await this.admin.createSubscription(name, subscription);
    return name;
  }

  keep(thing) {
    this.open.push(thing);
    return thing;
  }

  sender(name) {
    return this.keep(this.client.createSender(name));
  }

  receiver(name, options = {}) {
    return this.keep(this.client.createReceiver(name, { maxAutoLockRenewalDurationInMs: 0, ...options }));
  }

  subscriber(topic, name, options = {}) {
    const all = { maxAutoLockRenewalDurationInMs: 0, ...options };
    return this.keep(this.client.createReceiver(topic, name, all));
  }

  taker(name) {
    return this.receiver(name, { receiveMode: "receiveAndDelete" });
  }

  async session(name, id, options = {}) {
    const all = { maxAutoLockRenewalDurationInMs: 0, ...options };
    const accepted =
      id === undefined
        ? this.client.acceptNextSession(name, all)
        : this.client.acceptSession(name, id, all);
    return this.keep(await accepted);
  }
}

/** Exactly this many messages. */
export async function receive(receiver, count = 1) {
  const received = [];
  while (received.length < count) {
    const messages = await receiver.receiveMessages(count - received.length, {
      maxWaitTimeInMs: PATIENCE_MS,
    });
    if (messages.length === 0) throw new Error(`${received.length} of ${count} messages arrived`);
    received.push(...messages);
  }
  return received;
}

export async function nothing(receiver) {
  const messages = await receiver.receiveMessages(1, { maxWaitTimeInMs: 1_000 });
  checkEqual(messages.map((message) => message.body), [], "what was received");
}

export const bodies = (messages) => messages.map((message) => message.body);

/** Asks the emulator's control API. */
export async function control(method, path, document) {
  if (!IS_EMULATOR) throw new NotApplicable("only the emulator does this on demand");
  const body = document === undefined ? undefined : JSON.stringify(document);
  const response = await fetch(`${process.env.CONTROL_URL}/$emulator/${path}`, { method, body });
  if (!response.ok) throw new Error(`${method} ${path}: ${await response.text()}`);
  return response.json();
}

async function runOne(name) {
  const run = CASES.get(name);
  const started = Date.now();
  const result = { case: name, result: "pass" };
  if (run === undefined) {
    result.result = "none";
  } else {
    let bench;
    let timer;
    try {
      bench = new Bench();
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("it takes too long")), CASE_MS_MAX);
      });
      await Promise.race([run(bench), late]);
    } catch (error) {
      const isNone = error instanceof NotApplicable;
      result.result = isNone ? "none" : "fail";
      result.detail = isNone ? error.message : `${error.code ?? error.name}: ${error.message}`.slice(0, 2_000);
      if (!isNone) console.error(name, error);
    } finally {
      clearTimeout(timer);
      await bench?.close();
    }
  }
  result.seconds = (Date.now() - started) / 1_000;
  console.log(JSON.stringify(result));
  return result.result !== "fail";
}

export async function main(names) {
  const chosen = names.length > 0 ? names : [...CASES.keys()];
  const together = chosen.filter((name) => !ALONE.has(name));
  let hasPassed = true;
  const worker = async () => {
    for (let name = together.shift(); name !== undefined; name = together.shift()) {
      hasPassed = (await runOne(name)) && hasPassed;
    }
  };
  await Promise.all(Array.from({ length: CASES_AT_A_TIME }, worker));
  for (const name of chosen.filter((one) => ALONE.has(one))) {
    hasPassed = (await runOne(name)) && hasPassed;
  }
  process.exit(hasPassed ? 0 : 1);
}
