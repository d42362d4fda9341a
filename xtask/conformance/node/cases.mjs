// The rows of the conformance table, as the official JavaScript client does them.
//
//     CONNECTION_STRING=... node cases.mjs [CASE...]

import { createHmac } from "node:crypto";
import { ServiceBusClient } from "@azure/service-bus";
import WebSocket from "ws";
import {
  CONNECTION_STRING,
  IS_EMULATOR,
  NotApplicable,
  bodies,
  check,
  checkEqual,
  control,
  define,
  eventually,
  expectError,
  inFuture,
  main,
  nothing,
  receive,
  sleep,
} from "./harness.mjs";

const DEAD = { subQueueType: "deadLetter" };
const texts = (...list) => list.map((body) => ({ body }));

// --- sending and receiving ---

define("receive-and-delete", async (bench) => {
  const name = await bench.queue();
  const applicationProperties = { term: 7, kind: "request", ok: true, rate: 0.5 };
  await bench.sender(name).sendMessages({
    body: "body",
    messageId: "m-1",
    correlationId: "c-1",
    subject: "vote",
    to: "server-1",
    replyTo: "client-1",
    contentType: "text/plain",
    applicationProperties,
  });
  const receiver = bench.taker(name);
  const [got] = await receive(receiver);
  checkEqual({ ...got.applicationProperties }, applicationProperties, "properties");
  const { body, messageId, correlationId, subject, to, replyTo, contentType } = got;
  checkEqual(
    [body, messageId, correlationId, subject, to, replyTo, contentType],
    ["body", "m-1", "c-1", "vote", "server-1", "client-1", "text/plain"],
    "fields",
  );
  check(got.sequenceNumber.toNumber() >= 1 && got.enqueuedTimeUtc instanceof Date, "number, time");
  await nothing(receiver);
});

define("peek-lock", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages(texts("a", "b"));
  const receiver = bench.receiver(name);
  const got = await receive(receiver, 2);
  checkEqual(bodies(got), ["a", "b"], "bodies");
  check(got[0].lockedUntilUtc > inFuture(20_000), "locked for a while");
  for (const message of got) await receiver.completeMessage(message);
  await expectError(/settled/, () => receiver.completeMessage(got[0]));
  await nothing(receiver);
});

define("batches", async (bench) => {
  const name = await bench.queue();
  const sender = bench.sender(name);
  const batch = await sender.createMessageBatch();
  for (let number = 0; number < 100; number++) check(batch.tryAddMessage({ body: number }), "it fits");
  await sender.sendMessages(batch);
  await sender.sendMessages(Array.from({ length: 20 }, (_, i) => ({ body: 100 + i })));
  const got = await receive(bench.taker(name), 120);
  checkEqual(bodies(got), Array.from({ length: 120 }, (_, i) => i), "order");
  const small = await sender.createMessageBatch({ maxSizeInBytes: 500 });
  check(!small.tryAddMessage({ body: "x".repeat(600) }), "it does not fit");
});

define("large-messages", async (bench) => {
  const name = await bench.queue();
  const sender = bench.sender(name);
  const payload = Buffer.alloc(204_800, "abc");
  await sender.sendMessages({ body: payload });
  const [got] = await receive(bench.receiver(name));
  check(payload.equals(got.body), "204,800 bytes arrive as they were sent");
  await expectError(/MessageSizeExceeded|size/, () =>
    sender.sendMessages({ body: Buffer.alloc(300 * 1024) }),
  );
  await sender.sendMessages({ body: "after" });
});

define("body-types", async (bench) => {
  const name = await bench.queue();
  const sender = bench.sender(name);
  await sender.sendMessages({ bodyType: "value", body: { a: [1, 2] } });
  await sender.sendMessages({ bodyType: "sequence", body: [["x", 1]] });
  await sender.sendMessages({ bodyType: "data", body: Buffer.from("raw") });
  const [value, sequence, data] = await receive(bench.taker(name), 3);
  checkEqual(JSON.stringify(value.body), '{"a":[1,2]}', "value");
  checkEqual(sequence._rawAmqpMessage.bodyType, "sequence", "sequence");
  checkEqual(JSON.stringify(sequence.body.flat()), '["x",1]', "sequence");
  checkEqual(data.body.toString(), "raw", "data");
});

define("drain", async (bench) => {
  const name = await bench.queue();
  const receiver = bench.taker(name);
  await nothing(receiver);
  await bench.sender(name).sendMessages(texts("a", "b", "c"));
  checkEqual(bodies(await receive(receiver, 3)), ["a", "b", "c"], "bodies");
});

define("competing-receivers", async (bench) => {
  const name = await bench.queue();
  const both = [bench.taker(name), bench.taker(name)];
  await bench.sender(name).sendMessages(Array.from({ length: 40 }, (_, body) => ({ body })));
  const got = [];
  while (got.length < 40) {
    const parts = await Promise.all(
      both.map((receiver) => receiver.receiveMessages(5, { maxWaitTimeInMs: 2_000 })),
    );
    check(parts.flat().length > 0, `${got.length} of 40 arrived`);
    got.push(...parts.flat());
  }
  const sorted = bodies(got).sort((a, b) => a - b);
  checkEqual(sorted, Array.from({ length: 40 }, (_, i) => i), "each once");
});

define("prefetch", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages(Array.from({ length: 50 }, (_, body) => ({ body })));
  const receiver = bench.receiver(name);
  const seen = [];
  await new Promise((resolve, reject) => {
    receiver.subscribe(
      {
        processMessage: async (message) => {
          seen.push(message.body);
          if (seen.length === 50) resolve();
        },
        processError: async ({ error }) => reject(error),
      },
      { maxConcurrentCalls: 1 },
    );
  });
  checkEqual(seen, Array.from({ length: 50 }, (_, i) => i), "order");
});

// --- settlement ---

define("abandon", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages(texts("a", "b"));
  const receiver = bench.receiver(name);
  const [first] = await receive(receiver);
  checkEqual(first.deliveryCount, 0, "delivery count");
  await receiver.abandonMessage(first);
  const [again] = await receive(receiver);
  checkEqual([again.body, again.deliveryCount], ["a", 1], "it comes again, in its place");
});

define("abandon-properties", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages({ body: "a", applicationProperties: { kept: 1, tries: 0 } });
  const receiver = bench.receiver(name);
  const [first] = await receive(receiver);
  await receiver.abandonMessage(first, { tries: 1, why: "busy" });
  const [again] = await receive(receiver);
  checkEqual({ ...again.applicationProperties }, { kept: 1, tries: 1, why: "busy" }, "properties");
  checkEqual(again.body, "a", "body");
});

define("lock-renewal", async (bench) => {
  const name = await bench.queue({ lockDuration: "PT5S" });
  await bench.sender(name).sendMessages({ body: "a" });
  const receiver = bench.receiver(name);
  const [message] = await receive(receiver);
  const before = message.lockedUntilUtc;
  await sleep(3_000);
  check((await receiver.renewMessageLock(message)) > before, "it is renewed");
  await sleep(3_000);
  await receiver.completeMessage(message);
  await nothing(receiver);
});

define("lock-expiry", async (bench) => {
  const name = await bench.queue({ lockDuration: "PT5S" });
  await bench.sender(name).sendMessages({ body: "a" });
  const receiver = bench.receiver(name);
  const [message] = await receive(receiver);
  await sleep(6_000);
  await expectError(/MessageLockLost/, () => receiver.renewMessageLock(message));
  await expectError(/MessageLockLost/, () => receiver.completeMessage(message));
  const [again] = await receive(receiver);
  checkEqual([again.body, again.deliveryCount], ["a", 1], "it comes again");
});

define("auto-lock-renewal", async (bench) => {
  const name = await bench.queue({ lockDuration: "PT5S" });
  await bench.sender(name).sendMessages({ body: "a" });
  const receiver = bench.receiver(name, { maxAutoLockRenewalDurationInMs: 60_000 });
  const [message] = await receive(receiver);
  await sleep(8_000);
  await receiver.completeMessage(message);
  await nothing(receiver);
});

define("defer", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages(texts("a", "b"));
  const receiver = bench.receiver(name);
  const [first, second] = await receive(receiver, 2);
  await receiver.deferMessage(first);
  await receiver.completeMessage(second);
  await nothing(receiver);
  const [deferred] = await receiver.receiveDeferredMessages(first.sequenceNumber);
  checkEqual(deferred.body, "a", "body");
  await receiver.completeMessage(deferred);
  await expectError(/MessageNotFound/, () => receiver.receiveDeferredMessages(first.sequenceNumber));
});

define("dead-letter", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages({ body: "a", applicationProperties: { kind: "x" } });
  const receiver = bench.receiver(name);
  const [message] = await receive(receiver);
  await receiver.deadLetterMessage(message, {
    deadLetterReason: "tired",
    deadLetterErrorDescription: "of waiting",
  });
  await nothing(receiver);
  const [dead] = await receive(bench.receiver(name, DEAD));
  checkEqual([dead.deadLetterReason, dead.deadLetterErrorDescription], ["tired", "of waiting"], "why");
  checkEqual(dead.deadLetterSource, name, "source");
  checkEqual([dead.applicationProperties.kind, dead.body], ["x", "a"], "the rest");
});

define("max-delivery-count", async (bench) => {
  const name = await bench.queue({ maxDeliveryCount: 2 });
  await bench.sender(name).sendMessages({ body: "a" });
  const receiver = bench.receiver(name);
  for (let i = 0; i < 2; i++) {
    const [message] = await receive(receiver);
    await receiver.abandonMessage(message);
  }
  await nothing(receiver);
  const [dead] = await receive(bench.receiver(name, DEAD));
  checkEqual(dead.deadLetterReason, "MaxDeliveryCountExceeded", "reason");
});

// --- time ---

define("time-to-live", async (bench) => {
  const name = await bench.queue();
  const sender = bench.sender(name);
  await sender.sendMessages({ body: "a", timeToLive: 1_000 });
  await sender.sendMessages({ body: "b", timeToLive: 600_000 });
  await sleep(1_500);
  const [message] = await receive(bench.receiver(name));
  checkEqual([message.body, message.timeToLive], ["b", 600_000], "what is left");
});

define("expiry-dead-letters", async (bench) => {
  const options = { deadLetteringOnMessageExpiration: true, defaultMessageTimeToLive: "PT1S" };
  const name = await bench.queue(options);
  await bench.sender(name).sendMessages({ body: "a" });
  const [dead] = await receive(bench.receiver(name, DEAD));
  checkEqual(dead.deadLetterReason, "TTLExpiredException", "reason");
});

define("schedule", async (bench) => {
  const name = await bench.queue();
  const [sender, receiver] = [bench.sender(name), bench.taker(name)];
  const at = inFuture(3_000);
  const [kept] = await sender.scheduleMessages({ body: "kept" }, at);
  const numbers = await sender.scheduleMessages(texts("x", "y"), at);
  check(new Set([kept, ...numbers].map(String)).size === 3, "different numbers");
  await sender.cancelScheduledMessages(numbers);
  await nothing(receiver);
  const [got] = await receive(receiver);
  checkEqual(got.body, "kept", "body");
  await nothing(receiver);
  await expectError(/MessageNotFound/, () => sender.cancelScheduledMessages(numbers));
});

define("scheduled-by-property", async (bench) => {
  const name = await bench.topic(["s"]);
  const scheduledEnqueueTimeUtc = inFuture(2_000);
  await bench.sender(name).sendMessages({ body: "a", scheduledEnqueueTimeUtc });
  const receiver = bench.subscriber(name, "s");
  await nothing(receiver);
  checkEqual(bodies(await receive(receiver)), ["a"], "body");
});

define("duplicate-detection", async (bench) => {
  const name = await bench.queue({
    requiresDuplicateDetection: true,
    duplicateDetectionHistoryTimeWindow: "PT60S",
  });
  const sender = bench.sender(name);
  for (const [body, messageId] of [["a", "1"], ["again", "1"], ["b", "2"], ["again", "2"]]) {
    await sender.sendMessages({ body, messageId });
  }
  const receiver = bench.taker(name);
  checkEqual(bodies(await receive(receiver, 2)), ["a", "b"], "bodies");
  await nothing(receiver);
});

// --- sessions ---

define("session-named", async (bench) => {
  const name = await bench.queue({ requiresSession: true });
  await bench.sender(name).sendMessages(
    ["x0", "y0", "x1", "y1"].map((body) => ({ body, sessionId: body[0] })),
  );
  const receiver = await bench.session(name, "y");
  const got = await receive(receiver, 2);
  checkEqual(bodies(got), ["y0", "y1"], "its messages, in order");
  await expectError(/SessionCannotBeLocked/, () => bench.session(name, "y"));
  for (const message of got) await receiver.completeMessage(message);
  await receiver.close();
  await nothing(await bench.session(name, "y"));
});

define("session-next", async (bench) => {
  const name = await bench.queue({ requiresSession: true });
  await bench.sender(name).sendMessages(["x", "y"].map((body) => ({ body, sessionId: body })));
  const taken = [];
  for (let i = 0; i < 2; i++) {
    const receiver = await bench.session(name);
    const [message] = await receive(receiver);
    checkEqual(message.body, receiver.sessionId, "session");
    taken.push(receiver.sessionId);
  }
  checkEqual(taken.sort(), ["x", "y"], "each session once");
  const impatient = new ServiceBusClient(CONNECTION_STRING, {
    retryOptions: { maxRetries: 0, timeoutInMs: 2_000 },
  });
  bench.keep(impatient);
  await expectError(/Timeout|SessionCannotBeLocked/, () => impatient.acceptNextSession(name));
});

define("session-lock", async (bench) => {
  const name = await bench.queue({ requiresSession: true, lockDuration: "PT5S" });
  await bench.sender(name).sendMessages({ body: "a", sessionId: "x" });
  const receiver = await bench.session(name, "x");
  const [message] = await receive(receiver);
  const before = receiver.sessionLockedUntilUtc;
  await sleep(3_000);
  check((await receiver.renewSessionLock()) > before, "it is renewed");
  await sleep(3_000);
  await receiver.completeMessage(message);
  await sleep(6_000);
  await expectError(/SessionLockLost|closed/, () => receiver.renewSessionLock());
});

define("session-state", async (bench) => {
  const name = await bench.queue({ requiresSession: true });
  await bench.sender(name).sendMessages({ body: "a", sessionId: "x" });
  const first = await bench.session(name, "x");
  checkEqual(await first.getSessionState(), null, "state");
  await first.setSessionState("half way");
  await first.close();
  const second = await bench.session(name, "x");
  checkEqual(await second.getSessionState(), "half way", "state");
});

define("session-required", async (bench) => {
  const name = await bench.queue({ requiresSession: true });
  await expectError(/./, () => bench.sender(name).sendMessages({ body: "a" }));
  await expectError(/InvalidOperation|session/i, () => receive(bench.receiver(name)));
  const plain = await bench.queue();
  await expectError(/InvalidOperation|session/i, () => bench.session(plain, "x"));
});

define("session-defer", async (bench) => {
  const name = await bench.queue({ requiresSession: true });
  await bench.sender(name).sendMessages({ body: "a", sessionId: "x" });
  const receiver = await bench.session(name, "x");
  const [message] = await receive(receiver);
  await receiver.deferMessage(message);
  const [deferred] = await receiver.receiveDeferredMessages(message.sequenceNumber);
  checkEqual(deferred.body, "a", "body");
  await receiver.completeMessage(deferred);
});

// --- topics and rules ---

define("topic-fan-out", async (bench) => {
  const name = await bench.topic(["one", "two"]);
  await bench.sender(name).sendMessages(texts("a", "b"));
  for (const subscription of ["one", "two"]) {
    checkEqual(bodies(await receive(bench.subscriber(name, subscription), 2)), ["a", "b"], subscription);
  }
});

/** A topic whose one subscription has this rule and no other. */
async function subscribed(bench, filter, action) {
  const name = await bench.topic(["s"]);
  await bench.admin.deleteRule(name, "s", "$Default");
  if (action === undefined) await bench.admin.createRule(name, "s", "mine", filter);
  else await bench.admin.createRule(name, "s", "mine", filter, action);
  return name;
}

const taking = { receiveMode: "receiveAndDelete" };

define("correlation-filter", async (bench) => {
  const name = await subscribed(bench, {
    to: "me",
    subject: "vote",
    applicationProperties: { term: 7, kind: "request" },
  });
  const sender = bench.sender(name);
  for (const [body, to, term] of [["a", "me", 7], ["b", "you", 7], ["c", "me", 8], ["d", "me", 7]]) {
    const applicationProperties = { term, kind: "request" };
    await sender.sendMessages({ body, to, subject: "vote", applicationProperties });
  }
  const receiver = bench.subscriber(name, "s", taking);
  checkEqual(bodies(await receive(receiver, 2)), ["a", "d"], "what passes");
  await nothing(receiver);
});

define("sql-filter", async (bench) => {
  const sqlExpression =
    "sys.Label LIKE 'v%' AND (term IN (7, 8) OR NOT EXISTS(term)) AND rate * 2 >= 1";
  const name = await subscribed(bench, { sqlExpression });
  const sender = bench.sender(name);
  for (const [body, subject, applicationProperties] of [
    ["a", "vote", { term: 7, rate: 0.5 }],
    ["b", "note", { term: 7, rate: 0.5 }],
    ["c", "vote", { term: 9, rate: 0.5 }],
    ["d", "vote", { rate: 3 }],
    ["e", "vote", { term: 8 }],
  ]) {
    await sender.sendMessages({ body, subject, applicationProperties });
  }
  const receiver = bench.subscriber(name, "s", taking);
  checkEqual(bodies(await receive(receiver, 2)), ["a", "d"], "what passes");
  await nothing(receiver);
});

define("sql-action", async (bench) => {
  const action = { sqlExpression: "SET sys.Label = 'seen'; SET term = term + 1; REMOVE kind" };
  const name = await subscribed(bench, { sqlExpression: "term > 0" }, action);
  const applicationProperties = { term: 7, kind: "x", other: "y" };
  await bench.sender(name).sendMessages({ body: "a", applicationProperties });
  const [got] = await receive(bench.subscriber(name, "s"));
  checkEqual([got.subject, got.applicationProperties.term], ["seen", 8], "what the action set");
  check(!("kind" in got.applicationProperties), "what the action removed");
  checkEqual([got.applicationProperties.other, got.body], ["y", "a"], "the rest");
});

define("rules-over-amqp", async (bench) => {
  const name = await bench.topic(["s"]);
  const manager = bench.keep(bench.client.createRuleManager(name, "s"));
  await manager.deleteRule("$Default");
  await manager.createRule("sql", { sqlExpression: "term = 7" }, { sqlExpression: "SET seen = 1" });
  await manager.createRule("mine", { to: "me", applicationProperties: { kind: "x" } });
  const rules = [];
  for await (const rule of manager.listRules()) rules.push(rule);
  rules.sort((a, b) => a.name.localeCompare(b.name));
  checkEqual(rules.map((rule) => rule.name), ["mine", "sql"], "rules");
  checkEqual([rules[0].filter.to, rules[0].filter.applicationProperties.kind], ["me", "x"], "filter");
  const sql = [rules[1].filter.sqlExpression, rules[1].action.sqlExpression];
  checkEqual(sql, ["term = 7", "SET seen = 1"], "SQL");
  await bench.sender(name).sendMessages([
    { body: "a", applicationProperties: { term: 7 } },
    { body: "b" },
    { body: "c", to: "me", applicationProperties: { kind: "x" } },
  ]);
  checkEqual(bodies(await receive(bench.subscriber(name, "s", taking), 2)), ["a", "c"], "what passes");
});

define("auto-forward", async (bench) => {
  const target = await bench.queue();
  const name = await bench.topic();
  await bench.admin.createSubscription(name, "s", { forwardTo: target });
  await bench.sender(name).sendMessages({ body: "a" });
  checkEqual(bodies(await receive(bench.receiver(target))), ["a"], "body");
  await expectError(/./, () => receive(bench.subscriber(name, "s")));
});

define("forward-dead-letters", async (bench) => {
  const target = await bench.queue();
  const name = await bench.queue({ forwardDeadLetteredMessagesTo: target });
  await bench.sender(name).sendMessages({ body: "a" });
  const receiver = bench.receiver(name);
  const [message] = await receive(receiver);
  await receiver.deadLetterMessage(message, { deadLetterReason: "tired" });
  const [got] = await receive(bench.receiver(target));
  checkEqual(got.applicationProperties.DeadLetterReason, "tired", "reason");
});

// --- peek ---

define("peek", async (bench) => {
  const name = await bench.queue();
  const [sender, receiver] = [bench.sender(name), bench.receiver(name)];
  await sender.sendMessages(texts("a", "b", "c"));
  const [first] = await receive(receiver);
  await receiver.deferMessage(first);
  await sender.scheduleMessages({ body: "later" }, inFuture(600_000));
  const found = await receiver.peekMessages(10);
  const states = found.map((message) => [message.body, message.state]);
  const expected = [["a", "deferred"], ["b", "active"], ["c", "active"], ["later", "scheduled"]];
  checkEqual(states, expected, "what is there");
  const fromSequenceNumber = found[1].sequenceNumber;
  checkEqual(bodies(await receiver.peekMessages(1, { fromSequenceNumber })), ["b"], "from a number on");
  checkEqual(await bench.receiver(await bench.queue()).peekMessages(1), [], "an empty queue");
});

define("peek-session", async (bench) => {
  const name = await bench.queue({ requiresSession: true });
  await bench.sender(name).sendMessages(["x", "y"].map((body) => ({ body, sessionId: body })));
  const receiver = await bench.session(name, "y");
  checkEqual(bodies(await receiver.peekMessages(10)), ["y"], "of its session only");
});

// --- errors ---

define("unknown-entity", async (bench) => {
  const sender = bench.keep(bench.client.createSender("no-such-queue"));
  await expectError(/MessagingEntityNotFound/, () => sender.sendMessages({ body: "a" }));
  await expectError(/MessagingEntityNotFound/, () => receive(bench.receiver("no-such-queue")));
  const name = await bench.topic();
  await expectError(/MessagingEntityNotFound/, () => receive(bench.subscriber(name, "none")));
});

define("disabled-entity", async (bench) => {
  const name = await bench.queue();
  await bench.sender(name).sendMessages({ body: "a" });
  const queue = await bench.admin.getQueue(name);
  queue.status = "SendDisabled";
  await bench.admin.updateQueue(queue);
  const fresh = bench.keep(new ServiceBusClient(CONNECTION_STRING, { retryOptions: { maxRetries: 0 } }));
  await expectError(/MessagingEntityDisabled/, () => fresh.createSender(name).sendMessages({ body: "b" }));
  checkEqual(bodies(await receive(bench.receiver(name))), ["a"], "receiving goes on");
});

async function refusedWhile(bench, faults, pattern) {
  const name = await bench.queue();
  const sender = bench.sender(name);
  await sender.sendMessages({ body: "a" });
  await control("PUT", "faults", faults);
  try {
    await expectError(pattern, () => sender.sendMessages({ body: "b" }));
  } finally {
    await control("DELETE", "faults");
  }
  await sender.sendMessages({ body: "c" });
}

define("entity-full", (bench) => refusedWhile(bench, { full: true }, /QuotaExceeded/), { isAlone: true });
define("throttling", (bench) => refusedWhile(bench, { busy: true }, /ServiceBusy/), { isAlone: true });

function replaced(replacements) {
  const parts = CONNECTION_STRING.split(";").filter((part) => part !== "");
  return parts
    .map((part) => {
      const name = part.slice(0, part.indexOf("="));
      return `${name}=${replacements[name] ?? part.slice(name.length + 1)}`;
    })
    .join(";");
}

const once = { retryOptions: { maxRetries: 0, timeoutInMs: 5_000 } };

define("wrong-key", async (bench) => {
  const name = await bench.queue();
  const client = bench.keep(new ServiceBusClient(replaced({ SharedAccessKey: "d3Jvbmc=" }), once));
  await expectError(/Unauthorized|InvalidSignature|401/, () =>
    client.createSender(name).sendMessages({ body: "a" }),
  );
});

define("rights", async (bench) => {
  if (!IS_EMULATOR) throw new NotApplicable("it wants keys that are made beforehand");
  const name = await bench.queue();
  const limited = replaced({ SharedAccessKeyName: "listen", SharedAccessKey: "LISTEN_KEY" });
  const client = bench.keep(new ServiceBusClient(limited, once));
  await expectError(/Unauthorized/, () => client.createSender(name).sendMessages({ body: "a" }));
  await bench.sender(name).sendMessages({ body: "b" });
  checkEqual(bodies(await receive(client.createReceiver(name))), ["b"], "listening is allowed");
});

define("entity-key", async (bench) => {
  if (!IS_EMULATOR) throw new NotApplicable("it wants keys that are made beforehand");
  const own = await bench.queue({}, "own-queue");
  const other = await bench.queue();
  const limited = replaced({ SharedAccessKeyName: "own", SharedAccessKey: "OWN_KEY" });
  const client = bench.keep(new ServiceBusClient(limited, once));
  await client.createSender(own).sendMessages({ body: "a" });
  await expectError(/Unauthorized/, () => receive(client.createReceiver(own)));
  await expectError(/Unauthorized|InvalidSignature|401/, () =>
    client.createSender(other).sendMessages({ body: "b" }),
  );
});

/** A token of the emulator's own key. */
function sasToken(resource, secondsLeft) {
  const until = Math.floor(Date.now() / 1000) + secondsLeft;
  const sr = encodeURIComponent(resource);
  const mac = createHmac("sha256", "SAS_KEY_VALUE").update(`${sr}\n${until}`).digest("base64");
  const sig = encodeURIComponent(mac);
  return `SharedAccessSignature sr=${sr}&sig=${sig}&se=${until}&skn=RootManageSharedAccessKey`;
}

define("expired-token", async (bench) => {
  if (!IS_EMULATOR) throw new NotApplicable("it wants to know the key");
  const name = await bench.queue();
  const parts = CONNECTION_STRING.split(";").filter((p) => p && !p.startsWith("SharedAccess"));
  const client = (secondsLeft) => {
    const token = sasToken("sb://localhost", secondsLeft);
    const text = [...parts, `SharedAccessSignature=${token}`].join(";");
    return bench.keep(new ServiceBusClient(text, once));
  };
  await client(60).createSender(name).sendMessages({ body: "a" });
  await expectError(/Unauthorized|ExpiredToken|401/, () =>
    client(-1).createSender(name).sendMessages({ body: "b" }),
  );
});

// --- connections ---

const alone = { isAlone: true };

async function comesBack(bench, request) {
  const name = await bench.queue();
  const sender = bench.sender(name);
  await sender.sendMessages({ body: "a" });
  await control("POST", request);
  await eventually(
    () => sender.sendMessages({ body: "b" }).then(() => true, () => false),
    "the client comes back",
  );
  checkEqual(bodies(await receive(bench.taker(name), 2)), ["a", "b"], "bodies");
}

define("idle-detach", (bench) => comesBack(bench, "detach-links"), alone);
define("token-expiry", (bench) => comesBack(bench, "expire-tokens"), alone);
define("broker-blip", (bench) => comesBack(bench, "drop-connections"), alone);

define("websockets", async (bench) => {
  const name = await bench.queue();
  const webSocketOptions = { webSocket: WebSocket };
  const client = bench.keep(new ServiceBusClient(CONNECTION_STRING, { ...once, webSocketOptions }));
  await client.createSender(name).sendMessages(texts("a", "x".repeat(100_000)));
  const sizes = bodies(await receive(client.createReceiver(name), 2)).map((body) => body.length);
  checkEqual(sizes, [1, 100_000], "sizes");
});

define("tls", async (bench) => {
  if (!IS_EMULATOR) throw new NotApplicable("a namespace speaks nothing else");
  const name = await bench.queue();
  const encrypted = CONNECTION_STRING.replace(/UseDevelopmentEmulator=true;?/, "");
  const { port } = new URL(process.env.TLS_ENDPOINT);
  const client = bench.keep(
    new ServiceBusClient(encrypted, { ...once, customEndpointAddress: `sb://localhost:${port}` }),
  );
  await client.createSender(name).sendMessages({ body: "a" });
  checkEqual(bodies(await receive(client.createReceiver(name))), ["a"], "body");
});

// --- administration ---

const all = async (iterator) => {
  const items = [];
  for await (const item of iterator) items.push(item);
  return items;
};

define("admin-queues", async (bench) => {
  const name = await bench.queue({
    lockDuration: "PT30S",
    maxDeliveryCount: 3,
    requiresSession: true,
    deadLetteringOnMessageExpiration: true,
    defaultMessageTimeToLive: "PT1H",
    autoDeleteOnIdle: "PT10M",
    userMetadata: "for a test",
  });
  const queue = await bench.admin.getQueue(name);
  const found = [queue.maxDeliveryCount, queue.requiresSession, queue.userMetadata];
  checkEqual(found, [3, true, "for a test"], "options");
  queue.maxDeliveryCount = 5;
  await bench.admin.updateQueue(queue);
  checkEqual((await bench.admin.getQueue(name)).maxDeliveryCount, 5, "after an update");
  check((await all(bench.admin.listQueues())).some((one) => one.name === name), "it is listed");
  await expectError(/MessageEntityAlreadyExists|409|exists/, () => bench.admin.createQueue(name));
  await bench.admin.deleteQueue(name);
  checkEqual(await bench.admin.queueExists(name), false, "it exists");
});

define("admin-topics", async (bench) => {
  const name = await bench.topic([], { requiresDuplicateDetection: true });
  const topic = await bench.admin.getTopic(name);
  checkEqual(topic.requiresDuplicateDetection, true, "duplicate detection");
  topic.userMetadata = "changed";
  await bench.admin.updateTopic(topic);
  checkEqual((await bench.admin.getTopic(name)).userMetadata, "changed", "after an update");
  await bench.admin.createSubscription(name, "s", { maxDeliveryCount: 4 });
  checkEqual((await bench.admin.getSubscription(name, "s")).maxDeliveryCount, 4, "options");
  const names = (await all(bench.admin.listSubscriptions(name))).map((one) => one.subscriptionName);
  checkEqual(names, ["s"], "subscriptions");
  await bench.admin.deleteSubscription(name, "s");
  checkEqual(await bench.admin.subscriptionExists(name, "s"), false, "it exists");
  await bench.admin.deleteTopic(name);
  checkEqual(await bench.admin.topicExists(name), false, "it exists");
});

define("admin-rules", async (bench) => {
  const name = await bench.topic(["s"]);
  const correlation = { to: "a & b", applicationProperties: { term: 7, kind: "x" } };
  await bench.admin.createRule(name, "s", "correlation", correlation);
  await bench.admin.createRule(name, "s", "sql", { sqlExpression: "term < 3" }, { sqlExpression: "SET a = 1" });
  const names = (await all(bench.admin.listRules(name, "s"))).map((rule) => rule.name).sort();
  checkEqual(names, ["$Default", "correlation", "sql"], "rules");
  const { filter } = await bench.admin.getRule(name, "s", "correlation");
  checkEqual([filter.to, filter.applicationProperties.kind], ["a & b", "x"], "filter");
  const rule = await bench.admin.getRule(name, "s", "sql");
  checkEqual([rule.filter.sqlExpression, rule.action.sqlExpression], ["term < 3", "SET a = 1"], "SQL");
  rule.filter = { sqlExpression: "term > 3" };
  await bench.admin.updateRule(name, "s", rule);
  checkEqual((await bench.admin.getRule(name, "s", "sql")).filter.sqlExpression, "term > 3", "updated");
  await expectError(/./, () => bench.admin.createRule(name, "s", "bad", { sqlExpression: "term <" }));
  await bench.admin.deleteRule(name, "s", "sql");
  checkEqual(await bench.admin.ruleExists(name, "s", "sql"), false, "it exists");
});

define("admin-counts", async (bench) => {
  const name = await bench.queue();
  const [sender, receiver] = [bench.sender(name), bench.receiver(name)];
  await sender.sendMessages(texts("a", "b", "c"));
  await sender.scheduleMessages({ body: "later" }, inFuture(600_000));
  const [message] = await receive(receiver);
  await receiver.deadLetterMessage(message);
  let found;
  await eventually(async () => {
    found = await bench.admin.getQueueRuntimeProperties(name);
    return (
      found.activeMessageCount === 2 &&
      found.deadLetterMessageCount === 1 &&
      found.scheduledMessageCount === 1 &&
      found.totalMessageCount === 4
    );
  }, `the counts of ${name} are as they should be`);
});

define("admin-namespace", async (bench) => {
  const info = await bench.admin.getNamespaceProperties();
  check(info.name && info.messagingSku, "name and tier");
});

await main(process.argv.slice(2));
