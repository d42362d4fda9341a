"""The rows of the conformance table, as the official Python client does them.

    CONNECTION_STRING=... python cases.py [CASE...]
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from urllib.parse import quote

from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    AutoLockRenewer,
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
    TransportType,
)
from azure.servicebus import exceptions as errors
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.management import (
    CorrelationRuleFilter,
    ServiceBusAdministrationClient,
    SqlRuleAction,
    SqlRuleFilter,
)
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

import harness
from harness import (
    CONNECTION_STRING,
    IS_EMULATOR,
    NotApplicable,
    body,
    case,
    check,
    check_equal,
    control,
    eventually,
    expect,
    in_future,
    nothing,
    receive,
    seconds,
    send,
    text,
)

DEAD = ServiceBusSubQueue.DEAD_LETTER


# --- sending and receiving ---


@case("receive-and-delete")
def _(bench):
    name = bench.queue()
    properties = {"term": 7, "kind": "request", "ok": True, "rate": 0.5}
    message = ServiceBusMessage(
        b"body",
        message_id="m-1",
        correlation_id="c-1",
        subject="vote",
        to="server-1",
        reply_to="client-1",
        content_type="text/plain",
        application_properties=properties,
    )
    bench.sender(name).send_messages(message)
    receiver = bench.taker(name)
    [got] = receive(receiver)
    found = {text(k): text(v) for k, v in got.application_properties.items()}
    check_equal(found, properties, "properties")
    check_equal(body(got), b"body", "body")
    fields = (got.message_id, got.correlation_id, got.subject, got.to, got.reply_to, got.content_type)
    check_equal(fields, ("m-1", "c-1", "vote", "server-1", "client-1", "text/plain"), "fields")
    check(got.sequence_number >= 1 and got.enqueued_time_utc is not None, "number and time")
    nothing(receiver)


@case("peek-lock")
def _(bench):
    name = bench.queue()
    send(bench.sender(name), "a", "b")
    receiver = bench.receiver(name)
    first, second = receive(receiver, 2)
    check_equal((body(first), body(second)), (b"a", b"b"), "bodies")
    check(first.locked_until_utc > in_future(20), "locked for a while")
    receiver.complete_message(first)
    receiver.complete_message(second)
    expect(errors.MessageAlreadySettled, lambda: receiver.complete_message(first))
    nothing(receiver)


@case("batches")
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    batch = sender.create_message_batch()
    for number in range(100):
        batch.add_message(ServiceBusMessage(f"{number}"))
    sender.send_messages(batch)
    sender.send_messages([ServiceBusMessage(f"{number}") for number in range(100, 120)])
    got = receive(bench.taker(name), 120)
    check_equal([int(body(m)) for m in got], list(range(120)), "order")
    small = sender.create_message_batch(max_size_in_bytes=500)
    expect(errors.MessageSizeExceededError, lambda: small.add_message(ServiceBusMessage("x" * 600)))


@case("large-messages")
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    payload = bytes(range(256)) * 800
    sender.send_messages(ServiceBusMessage(payload))
    [got] = receive(bench.receiver(name))
    check(body(got) == payload, "204,800 bytes arrive as they were sent")
    too_large = ServiceBusMessage(b"x" * (300 * 1024))
    expect(errors.MessageSizeExceededError, lambda: sender.send_messages(too_large))
    send(sender, "after")


@case("body-types")
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    sender.send_messages(AmqpAnnotatedMessage(value_body={"a": [1, 2]}))
    sender.send_messages(AmqpAnnotatedMessage(sequence_body=[["x", 1]]))
    sender.send_messages(AmqpAnnotatedMessage(data_body=[b"one", b"two"]))
    value, sequence, data = receive(bench.taker(name), 3)
    check_equal(value.raw_amqp_message.body, {b"a": [1, 2]}, "value")
    check_equal([text(item) for part in sequence.body for item in part], ["x", 1], "sequence")
    check_equal(list(data.body), [b"one", b"two"], "data")


@case("drain")
def _(bench):
    name = bench.queue()
    receiver = bench.taker(name)
    nothing(receiver)
    send(bench.sender(name), "a", "b", "c")
    got = receiver.receive_messages(max_message_count=10, max_wait_time=harness.PATIENCE)
    while len(got) < 3:
        more = receiver.receive_messages(max_message_count=10, max_wait_time=harness.PATIENCE)
        check(more, "no message is lost between two calls")
        got += more
    check_equal([body(m) for m in got], [b"a", b"b", b"c"], "bodies")


@case("competing-receivers")
def _(bench):
    name = bench.queue()
    one, other = bench.taker(name), bench.taker(name)
    send(bench.sender(name), *[str(number) for number in range(40)])
    got = []
    while len(got) < 40:
        before = len(got)
        for receiver in (one, other):
            got += receiver.receive_messages(max_message_count=5, max_wait_time=2)
        check(len(got) > before, f"{before} of 40 arrived")
    check_equal(sorted(int(body(m)) for m in got), list(range(40)), "each once")


@case("prefetch")
def _(bench):
    name = bench.queue()
    send(bench.sender(name), *[str(number) for number in range(50)])
    receiver = bench.receiver(name, prefetch_count=20)
    seen = []
    for message in receiver:
        seen.append(int(body(message)))
        receiver.complete_message(message)
        if len(seen) == 50:
            break
    check_equal(seen, list(range(50)), "order")


# --- settlement ---


@case("abandon")
def _(bench):
    name = bench.queue()
    send(bench.sender(name), "a", "b")
    receiver = bench.receiver(name)
    [first] = receive(receiver)
    check_equal(first.delivery_count, 0, "delivery count")
    receiver.abandon_message(first)
    [again] = receive(receiver)
    check_equal((body(again), again.delivery_count), (b"a", 1), "it comes again, in its place")
    check_equal(again.sequence_number, first.sequence_number, "number")


@case("lock-renewal")
def _(bench):
    name = bench.queue(lock_duration=seconds(5))
    send(bench.sender(name), "a")
    receiver = bench.receiver(name)
    [message] = receive(receiver)
    before = message.locked_until_utc
    time.sleep(3)
    after = receiver.renew_message_lock(message)
    check(after > before, f"{after} is later than {before}")
    time.sleep(3)
    receiver.complete_message(message)
    nothing(receiver)


@case("lock-expiry")
def _(bench):
    name = bench.queue(lock_duration=seconds(5))
    send(bench.sender(name), "a")
    receiver = bench.receiver(name)
    [message] = receive(receiver)
    time.sleep(6)
    expect(errors.MessageLockLostError, lambda: receiver.renew_message_lock(message))
    expect(errors.MessageLockLostError, lambda: receiver.complete_message(message))
    [again] = receive(receiver)
    check_equal((body(again), again.delivery_count), (b"a", 1), "it comes again")


@case("auto-lock-renewal")
def _(bench):
    name = bench.queue(lock_duration=seconds(5))
    send(bench.sender(name), "a")
    renewer = bench.keep(AutoLockRenewer())
    receiver = bench.receiver(name)
    [message] = receive(receiver)
    renewer.register(receiver, message, max_lock_renewal_duration=60)
    time.sleep(8)
    receiver.complete_message(message)
    nothing(receiver)


@case("defer")
def _(bench):
    name = bench.queue()
    send(bench.sender(name), "a", "b")
    receiver = bench.receiver(name)
    first, second = receive(receiver, 2)
    receiver.defer_message(first)
    receiver.complete_message(second)
    nothing(receiver)
    [deferred] = receiver.receive_deferred_messages(first.sequence_number)
    check_equal(body(deferred), b"a", "body")
    receiver.complete_message(deferred)
    expect(
        errors.MessageNotFoundError,
        lambda: receiver.receive_deferred_messages(first.sequence_number),
    )


@case("dead-letter")
def _(bench):
    name = bench.queue()
    send(bench.sender(name), "a", application_properties={"kind": "x"})
    receiver = bench.receiver(name)
    [message] = receive(receiver)
    receiver.dead_letter_message(message, reason="tired", error_description="of waiting")
    nothing(receiver)
    [dead] = receive(bench.receiver(name, sub_queue=DEAD))
    check_equal((dead.dead_letter_reason, dead.dead_letter_error_description), ("tired", "of waiting"), "why")
    check_equal(text(dead.dead_letter_source), name, "source")
    check_equal(dead.application_properties.get(b"kind"), b"x", "its own property")
    check_equal(body(dead), b"a", "body")


@case("max-delivery-count")
def _(bench):
    name = bench.queue(max_delivery_count=2)
    send(bench.sender(name), "a")
    receiver = bench.receiver(name)
    for _ in range(2):
        [message] = receive(receiver)
        receiver.abandon_message(message)
    nothing(receiver)
    [dead] = receive(bench.receiver(name, sub_queue=DEAD))
    check_equal(dead.dead_letter_reason, "MaxDeliveryCountExceeded", "reason")


# --- time ---


@case("time-to-live")
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    sender.send_messages(ServiceBusMessage("a", time_to_live=seconds(1)))
    sender.send_messages(ServiceBusMessage("b", time_to_live=seconds(600)))
    time.sleep(1.5)
    [message] = receive(bench.receiver(name))
    check_equal(body(message), b"b", "what is left")
    check_equal(message.time_to_live, seconds(600), "time to live")


@case("expiry-dead-letters")
def _(bench):
    name = bench.queue(
        dead_lettering_on_message_expiration=True, default_message_time_to_live=seconds(1)
    )
    send(bench.sender(name), "a")
    [dead] = receive(bench.receiver(name, sub_queue=DEAD))
    check_equal(dead.dead_letter_reason, "TTLExpiredException", "reason")


@case("schedule")
def _(bench):
    name = bench.queue()
    sender, receiver = bench.sender(name), bench.taker(name)
    at = in_future(3)
    [kept] = sender.schedule_messages(ServiceBusMessage("kept"), at)
    numbers = sender.schedule_messages([ServiceBusMessage("x"), ServiceBusMessage("y")], at)
    check_equal(len({kept, *numbers}), 3, "different numbers")
    sender.cancel_scheduled_messages(numbers)
    nothing(receiver)
    [got] = receive(receiver)
    check_equal(body(got), b"kept", "body")
    check(got.enqueued_time_utc >= at.replace(microsecond=0), "not before its time")
    nothing(receiver)
    expect(errors.MessageNotFoundError, lambda: sender.cancel_scheduled_messages(numbers))


@case("scheduled-by-property")
def _(bench):
    name = bench.topic("s")
    message = ServiceBusMessage("a", scheduled_enqueue_time_utc=in_future(2))
    bench.sender(name).send_messages(message)
    receiver = bench.subscriber(name, "s")
    nothing(receiver)
    [got] = receive(receiver)
    check_equal(body(got), b"a", "body")


@case("duplicate-detection")
def _(bench):
    name = bench.queue(
        requires_duplicate_detection=True, duplicate_detection_history_time_window=seconds(60)
    )
    sender = bench.sender(name)
    for text_, id_ in [("a", "1"), ("again", "1"), ("b", "2"), ("again", "2")]:
        sender.send_messages(ServiceBusMessage(text_, message_id=id_))
    receiver = bench.taker(name)
    check_equal([body(m) for m in receive(receiver, 2)], [b"a", b"b"], "bodies")
    nothing(receiver)


# --- sessions ---


def session_message(session, text_):
    return ServiceBusMessage(text_, session_id=session)


@case("session-named")
def _(bench):
    name = bench.queue(requires_session=True)
    sender = bench.sender(name)
    sender.send_messages([session_message(s, f"{s}{n}") for n in range(2) for s in "xy"])
    receiver = bench.receiver(name, session_id="y")
    got = receive(receiver, 2)
    check_equal([body(m) for m in got], [b"y0", b"y1"], "its messages, in order")
    check_equal(got[0].session_id, "y", "session")
    other = bench.receiver(name, session_id="y")
    expect(errors.SessionCannotBeLockedError, lambda: receive(other))
    for message in got:
        receiver.complete_message(message)
    receiver.close()
    nothing(bench.receiver(name, session_id="y"))


@case("session-next")
def _(bench):
    name = bench.queue(requires_session=True)
    sender = bench.sender(name)
    sender.send_messages([session_message(s, s) for s in "xy"])
    taken = set()
    for _ in range(2):
        receiver = bench.receiver(name, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=10)
        [message] = receive(receiver)
        check_equal(text(body(message)), receiver.session.session_id, "session")
        taken.add(receiver.session.session_id)
    check_equal(taken, {"x", "y"}, "each session once")
    third = bench.receiver(name, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=2)
    expect(errors.OperationTimeoutError, lambda: receive(third))


@case("session-lock")
def _(bench):
    name = bench.queue(requires_session=True, lock_duration=seconds(5))
    bench.sender(name).send_messages(session_message("x", "a"))
    receiver = bench.receiver(name, session_id="x")
    [message] = receive(receiver)
    before = receiver.session.locked_until_utc
    time.sleep(3)
    check(receiver.session.renew_lock() > before, "it is renewed")
    time.sleep(3)
    receiver.complete_message(message)
    time.sleep(5)
    expect(errors.SessionLockLostError, receiver.session.renew_lock)


@case("session-state")
def _(bench):
    name = bench.queue(requires_session=True)
    bench.sender(name).send_messages(session_message("x", "a"))
    with bench.receiver(name, session_id="x") as receiver:
        check_equal(receiver.session.get_state(), None, "state")
        receiver.session.set_state(b"half way")
    with bench.receiver(name, session_id="x") as receiver:
        check_equal(receiver.session.get_state(), b"half way", "state")
        receiver.session.set_state(None)
        check_equal(receiver.session.get_state(), None, "state")


@case("session-list")
def _(bench):
    if not hasattr(bench.client, "list_queue_sessions"):
        raise NotApplicable("this version of the client has no such call")
    name = bench.queue(requires_session=True)
    bench.sender(name).send_messages([session_message(s, s) for s in "xyz"])
    found = bench.client.list_queue_sessions(name)
    check_equal(sorted(found), ["x", "y", "z"], "sessions")


@case("session-required")
def _(bench):
    name = bench.queue(requires_session=True)
    expect(errors.ServiceBusError, lambda: send(bench.sender(name), "a"))
    expect(errors.ServiceBusError, lambda: receive(bench.receiver(name)))
    plain = bench.queue()
    expect(errors.ServiceBusError, lambda: receive(bench.receiver(plain, session_id="x")))


@case("session-defer")
def _(bench):
    name = bench.queue(requires_session=True)
    bench.sender(name).send_messages(session_message("x", "a"))
    receiver = bench.receiver(name, session_id="x")
    [message] = receive(receiver)
    receiver.defer_message(message)
    [deferred] = receiver.receive_deferred_messages(message.sequence_number)
    check_equal(body(deferred), b"a", "body")
    receiver.complete_message(deferred)


# --- topics and rules ---


@case("topic-fan-out")
def _(bench):
    name = bench.topic("one", "two")
    send(bench.sender(name), "a", "b")
    for subscription in ("one", "two"):
        got = receive(bench.subscriber(name, subscription), 2)
        check_equal([body(m) for m in got], [b"a", b"b"], subscription)


def subscribed(bench, rule_filter, action=None):
    """A topic whose one subscription has this rule and no other."""
    name = bench.topic("s")
    bench.admin.delete_rule(name, "s", "$Default")
    bench.admin.create_rule(name, "s", "mine", filter=rule_filter, action=action)
    return name


@case("correlation-filter")
def _(bench):
    rule = CorrelationRuleFilter(to="me", label="vote", properties={"term": 7, "kind": "request"})
    name = subscribed(bench, rule)
    sender = bench.sender(name)
    for body_, to, term in [("a", "me", 7), ("b", "you", 7), ("c", "me", 8), ("d", "me", 7)]:
        properties = {"term": term, "kind": "request"}
        message = ServiceBusMessage(body_, to=to, subject="vote", application_properties=properties)
        sender.send_messages(message)
    receiver = bench.subscriber(name, "s", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    check_equal([body(m) for m in receive(receiver, 2)], [b"a", b"d"], "what passes")
    nothing(receiver)


@case("sql-filter")
def _(bench):
    rule = "sys.Label LIKE 'v%' AND (term IN (7, 8) OR NOT EXISTS(term)) AND rate * 2 >= 1"
    name = subscribed(bench, SqlRuleFilter(rule))
    sender = bench.sender(name)
    for body_, label, properties in [
        ("a", "vote", {"term": 7, "rate": 0.5}),
        ("b", "note", {"term": 7, "rate": 0.5}),
        ("c", "vote", {"term": 9, "rate": 0.5}),
        ("d", "vote", {"rate": 3}),
        ("e", "vote", {"term": 8}),
    ]:
        message = ServiceBusMessage(body_, subject=label, application_properties=properties)
        sender.send_messages(message)
    receiver = bench.subscriber(name, "s", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    check_equal([body(m) for m in receive(receiver, 2)], [b"a", b"d"], "what passes")
    nothing(receiver)


@case("sql-action")
def _(bench):
    action = SqlRuleAction("SET sys.Label = 'seen'; SET term = term + 1; REMOVE kind")
    name = subscribed(bench, SqlRuleFilter("term > 0"), action)
    message = ServiceBusMessage("a", application_properties={"term": 7, "kind": "x", "other": "y"})
    bench.sender(name).send_messages(message)
    [got] = receive(bench.subscriber(name, "s"))
    properties = {text(k): text(v) for k, v in got.application_properties.items()}
    check_equal((got.subject, properties.get("term")), ("seen", 8), "what the action set")
    check_equal("kind" in properties, False, "what the action removed")
    check_equal((properties.get("other"), body(got)), ("y", b"a"), "the rest")


@case("rules-over-amqp")
def _(bench):
    raise NotApplicable("the client has no rule manager")


@case("auto-forward")
def _(bench):
    target = bench.queue()
    name = bench.topic()
    bench.admin.create_subscription(name, "s", forward_to=target)
    send(bench.sender(name), "a")
    [got] = receive(bench.receiver(target))
    check_equal(body(got), b"a", "body")
    expect(errors.ServiceBusError, lambda: receive(bench.subscriber(name, "s")))


@case("forward-dead-letters")
def _(bench):
    target = bench.queue()
    name = bench.queue(forward_dead_lettered_messages_to=target)
    send(bench.sender(name), "a")
    receiver = bench.receiver(name)
    [message] = receive(receiver)
    receiver.dead_letter_message(message, reason="tired")
    [got] = receive(bench.receiver(target))
    check_equal(text(got.application_properties[b"DeadLetterReason"]), "tired", "reason")


# --- peek ---


@case("peek")
def _(bench):
    name = bench.queue()
    sender, receiver = bench.sender(name), bench.receiver(name)
    send(sender, "a", "b", "c")
    [first] = receive(receiver)
    receiver.defer_message(first)
    sender.schedule_messages(ServiceBusMessage("later"), in_future(600))
    found = receiver.peek_messages(max_message_count=10, sequence_number=1)
    states = [(body(m), m.state) for m in found]
    active = ServiceBusMessageState.ACTIVE
    expected = [
        (b"a", ServiceBusMessageState.DEFERRED),
        (b"b", active),
        (b"c", active),
        (b"later", ServiceBusMessageState.SCHEDULED),
    ]
    check_equal(states, expected, "what is there")
    number = found[1].sequence_number
    [one] = receiver.peek_messages(max_message_count=1, sequence_number=number)
    check_equal(body(one), b"b", "from a number on")
    check_equal(bench.receiver(bench.queue()).peek_messages(), [], "an empty queue")


@case("peek-session")
def _(bench):
    name = bench.queue(requires_session=True)
    bench.sender(name).send_messages([session_message(s, s) for s in "xy"])
    receiver = bench.receiver(name, session_id="y")
    found = receiver.peek_messages(max_message_count=10)
    check_equal([body(m) for m in found], [b"y"], "of its session only")


# --- errors ---


@case("unknown-entity")
def _(bench):
    sender = bench.keep(bench.client.get_queue_sender("no-such-queue"))
    expect(errors.MessagingEntityNotFoundError, lambda: send(sender, "a"))
    receiver = bench.keep(bench.client.get_queue_receiver("no-such-queue"))
    expect(errors.MessagingEntityNotFoundError, lambda: receive(receiver))
    name = bench.topic()
    subscriber = bench.subscriber(name, "no-such-subscription")
    expect(errors.MessagingEntityNotFoundError, lambda: receive(subscriber))


@case("disabled-entity")
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    send(sender, "a")
    properties = bench.admin.get_queue(name)
    properties.status = "SendDisabled"
    bench.admin.update_queue(properties)
    fresh = bench.keep(bench.client.get_queue_sender(name))
    expect(errors.MessagingEntityDisabledError, lambda: send(fresh, "b"))
    [got] = receive(bench.receiver(name))
    check_equal(body(got), b"a", "receiving goes on")


def refuses_while(bench, fault, error):
    """A sender is refused while the fault lasts, and goes on after it."""
    name = bench.queue()
    sender = bench.sender(name)
    send(sender, "a")
    control("PUT", "faults", {fault: True})
    try:
        expect(error, lambda: send(sender, "b"))
    finally:
        control("DELETE", "faults")
    send(sender, "c")
    got = [body(m) for m in receive(bench.taker(name), 2)]
    check_equal(got, [b"a", b"c"], "what was accepted")


@case("entity-full", is_alone=True)
def _(bench):
    refuses_while(bench, "full", errors.ServiceBusQuotaExceededError)


@case("throttling", is_alone=True)
def _(bench):
    refuses_while(bench, "busy", errors.ServiceBusServerBusyError)


def client_with(**parts):
    """A client of the same namespace with other parts of the connection string; None leaves one out."""
    known = dict(part.split("=", 1) for part in CONNECTION_STRING.split(";") if part)
    parts = {name: value for name, value in {**known, **parts}.items() if value is not None}
    text_ = ";".join(f"{name}={value}" for name, value in parts.items())
    return ServiceBusClient.from_connection_string(text_, retry_total=0)


def refused(call):
    try:
        call()
    except (errors.ServiceBusAuthenticationError, errors.ServiceBusAuthorizationError):
        return
    raise AssertionError("it is allowed")


@case("wrong-key")
def _(bench):
    name = bench.queue()
    with client_with(SharedAccessKey="d3Jvbmc=") as client:
        sender = bench.keep(client.get_queue_sender(name))
        refused(lambda: send(sender, "a"))


def sas_token(resource, seconds_left):
    """A token of the emulator's own key."""
    until = int(time.time()) + seconds_left
    signed = f"{quote(resource, safe='')}\n{until}"
    mac = hmac.new(b"SAS_KEY_VALUE", signed.encode(), hashlib.sha256)
    signature = quote(base64.b64encode(mac.digest()), safe="")
    name = "RootManageSharedAccessKey"
    resource = quote(resource, safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={until}&skn={name}"


@case("expired-token")
def _(bench):
    if not IS_EMULATOR:
        raise NotApplicable("it wants to know the key")
    name = bench.queue()
    for seconds_left, is_good in [(-1, False), (60, True)]:
        token = sas_token("sb://localhost", seconds_left)
        parts = dict(SharedAccessKeyName=None, SharedAccessKey=None, SharedAccessSignature=token)
        with client_with(**parts) as client:
            sender = bench.keep(client.get_queue_sender(name))
            if is_good:
                send(sender, "a")
            else:
                refused(lambda sender=sender: send(sender, "a"))


@case("rights")
def _(bench):
    if not IS_EMULATOR:
        raise NotApplicable("it wants keys that are made beforehand")
    name = bench.queue()
    with client_with(SharedAccessKeyName="listen", SharedAccessKey="LISTEN_KEY") as client:
        sender = bench.keep(client.get_queue_sender(name))
        refused(lambda: send(sender, "a"))
        send(bench.sender(name), "b")
        with client.get_queue_receiver(name) as receiver:
            check_equal(body(receive(receiver)[0]), b"b", "listening is allowed")


@case("entity-key")
def _(bench):
    if not IS_EMULATOR:
        raise NotApplicable("it wants keys that are made beforehand")
    own, other = bench.queue(name="own-queue"), bench.queue()
    parts = {"SharedAccessKeyName": "own", "SharedAccessKey": "OWN_KEY", "EntityPath": own}
    with client_with(**parts) as client:
        send(bench.keep(client.get_queue_sender(own)), "a")
        receiver = bench.keep(client.get_queue_receiver(own))
        refused(lambda: receive(receiver))
    with client_with(**{**parts, "EntityPath": other}) as client:
        sender = bench.keep(client.get_queue_sender(other))
        refused(lambda: send(sender, "b"))


# --- connections ---


@case("idle-detach", is_alone=True)
def _(bench):
    name = bench.queue()
    sender, receiver = bench.sender(name), bench.receiver(name)
    send(sender, "a")
    check_equal(body(receive(receiver)[0]), b"a", "before")
    control("POST", "detach-links")
    send(sender, "b")
    taker = bench.taker(name)
    check(b"b" in [body(m) for m in receive(taker, 2)], "the client comes back")


@case("token-expiry", is_alone=True)
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    send(sender, "a")
    control("POST", "expire-tokens")
    eventually(lambda: try_send(sender, "b"), "the client puts a new token")
    got = [body(m) for m in receive(bench.taker(name), 2)]
    check_equal(got, [b"a", b"b"], "bodies")


def try_send(sender, text_):
    try:
        send(sender, text_)
        return True
    except errors.ServiceBusError:
        return False


@case("broker-blip", is_alone=True)
def _(bench):
    name = bench.queue()
    sender = bench.sender(name)
    send(sender, "a")
    control("POST", "drop-connections")
    eventually(lambda: try_send(sender, "b"), "the client reconnects")
    check_equal([body(m) for m in receive(bench.taker(name), 2)], [b"a", b"b"], "bodies")


@case("websockets")
def _(bench):
    name = bench.queue()
    with ServiceBusClient.from_connection_string(
        CONNECTION_STRING, transport_type=TransportType.AmqpOverWebsocket, retry_total=0,
        # The client has no other way to be told of a port.
        custom_endpoint_address=os.environ.get("TLS_ENDPOINT"),
    ) as client:
        with client.get_queue_sender(name) as sender:
            send(sender, "a", "x" * 100_000)
        with client.get_queue_receiver(name) as receiver:
            sizes = [len(body(m)) for m in receive(receiver, 2)]
    check_equal(sizes, [1, 100_000], "sizes")


@case("tls")
def _(bench):
    if not IS_EMULATOR:
        raise NotApplicable("a namespace speaks nothing else")
    name = bench.queue()
    parts = [p for p in CONNECTION_STRING.split(";") if p and not p.startswith("UseDev")]
    with ServiceBusClient.from_connection_string(
        ";".join(parts), retry_total=0, connection_verify=os.environ["REQUESTS_CA_BUNDLE"],
        custom_endpoint_address=os.environ["TLS_ENDPOINT"],
    ) as client:
        with client.get_queue_sender(name) as sender:
            send(sender, "a")
        with client.get_queue_receiver(name) as receiver:
            check_equal(body(receive(receiver)[0]), b"a", "body")


# --- administration ---


@case("admin-queues")
def _(bench):
    name = bench.queue(
        lock_duration=seconds(30),
        max_delivery_count=3,
        requires_session=True,
        dead_lettering_on_message_expiration=True,
        default_message_time_to_live=seconds(3600),
        auto_delete_on_idle=seconds(600),
        user_metadata="for a test",
    )
    queue = bench.admin.get_queue(name)
    found = (queue.lock_duration, queue.max_delivery_count, queue.requires_session)
    check_equal(found, (seconds(30), 3, True), "options")
    check_equal(queue.auto_delete_on_idle, seconds(600), "auto-delete")
    check_equal(queue.user_metadata, "for a test", "metadata")
    queue.max_delivery_count = 5
    bench.admin.update_queue(queue)
    check_equal(bench.admin.get_queue(name).max_delivery_count, 5, "after an update")
    check(name in [q.name for q in bench.admin.list_queues()], "it is listed")
    expect(ResourceExistsError, lambda: bench.admin.create_queue(name))
    bench.admin.delete_queue(name)
    expect(ResourceNotFoundError, lambda: bench.admin.get_queue(name))


@case("admin-topics")
def _(bench):
    name = bench.topic(default_message_time_to_live=seconds(60), requires_duplicate_detection=True)
    topic = bench.admin.get_topic(name)
    check_equal(topic.default_message_time_to_live, seconds(60), "time to live")
    check_equal(topic.requires_duplicate_detection, True, "duplicate detection")
    topic.user_metadata = "changed"
    bench.admin.update_topic(topic)
    check_equal(bench.admin.get_topic(name).user_metadata, "changed", "after an update")
    bench.admin.create_subscription(name, "s", lock_duration=seconds(15), max_delivery_count=4)
    subscription = bench.admin.get_subscription(name, "s")
    found = (subscription.lock_duration, subscription.max_delivery_count)
    check_equal(found, (seconds(15), 4), "options")
    check_equal([s.name for s in bench.admin.list_subscriptions(name)], ["s"], "subscriptions")
    bench.admin.delete_subscription(name, "s")
    expect(ResourceNotFoundError, lambda: bench.admin.get_subscription(name, "s"))
    bench.admin.delete_topic(name)
    expect(ResourceNotFoundError, lambda: bench.admin.get_topic(name))


@case("admin-rules")
def _(bench):
    name = bench.topic("s")
    rule_filter = CorrelationRuleFilter(to="a & b", properties={"term": 7, "kind": "x"})
    bench.admin.create_rule(name, "s", "correlation", filter=rule_filter)
    bench.admin.create_rule(
        name, "s", "sql", filter=SqlRuleFilter("term < 3"), action=SqlRuleAction("SET a = 1")
    )
    names = sorted(rule.name for rule in bench.admin.list_rules(name, "s"))
    check_equal(names, ["$Default", "correlation", "sql"], "rules")
    found = bench.admin.get_rule(name, "s", "correlation").filter
    check_equal((found.to, found.properties), ("a & b", {"term": 7, "kind": "x"}), "filter")
    rule = bench.admin.get_rule(name, "s", "sql")
    texts = (rule.filter.sql_expression, rule.action.sql_expression)
    check_equal(texts, ("term < 3", "SET a = 1"), "SQL")
    rule.filter = SqlRuleFilter("term > 3")
    bench.admin.update_rule(name, "s", rule)
    check_equal(bench.admin.get_rule(name, "s", "sql").filter.sql_expression, "term > 3", "updated")
    expect(HttpResponseError, lambda: bench.admin.create_rule(name, "s", "bad", filter=SqlRuleFilter("term <")))
    bench.admin.delete_rule(name, "s", "sql")
    expect(ResourceNotFoundError, lambda: bench.admin.get_rule(name, "s", "sql"))


@case("admin-counts")
def _(bench):
    name = bench.queue()
    sender, receiver = bench.sender(name), bench.receiver(name)
    send(sender, "a", "b", "c")
    sender.schedule_messages(ServiceBusMessage("later"), in_future(600))
    [message] = receive(receiver)
    receiver.dead_letter_message(message)

    def counts():
        found = bench.admin.get_queue_runtime_properties(name)
        return (
            found.active_message_count,
            found.dead_letter_message_count,
            found.scheduled_message_count,
            found.total_message_count,
        )

    eventually(lambda: counts() == (2, 1, 1, 4), f"the counts are {counts()}")
    topic = bench.topic("s")
    send(bench.sender(topic), "a")
    eventually(
        lambda: bench.admin.get_subscription_runtime_properties(topic, "s").active_message_count == 1,
        "the subscription has one message",
    )
    check_equal(bench.admin.get_topic_runtime_properties(topic).subscription_count, 1, "subscriptions")


@case("admin-namespace")
def _(bench):
    info = bench.admin.get_namespace_properties()
    check(info.name and info.messaging_sku, "name and tier")


if __name__ == "__main__":
    sys.exit(harness.run(sys.argv[1:] or list(harness.CASES)))
