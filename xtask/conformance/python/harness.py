"""What the cases share: clients, entities of their own, and the report.

A case is a function that is registered under the id of its row, and raises if something is not as it
should be. Each result is one JSON object per line on standard output.
"""

import concurrent.futures
import datetime
import json
import os
import sys
import time
import traceback
import uuid

from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.management import ServiceBusAdministrationClient

CONNECTION_STRING = os.environ["CONNECTION_STRING"]
IS_EMULATOR = os.environ.get("IS_EMULATOR") == "1"
CONTROL = os.environ.get("CONTROL_URL", "")
# Longer than any step should take, so that a fault fails a case instead of hanging it.
PATIENCE = 20

# How many cases run at a time: they mostly wait.
CASES_AT_A_TIME = 8

CASES = {}
# Cases that change the whole namespace, so that no other may run beside them.
ALONE = set()


class NotApplicable(Exception):
    """The client has no such feature, or the namespace is not one for this case."""


def case(name, is_alone=False):
    def register(function):
        CASES[name] = function
        if is_alone:
            ALONE.add(name)
        return function

    return register


def check(holds, what):
    if not holds:
        raise AssertionError(what)


def check_equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what} is {found!r}, expected {expected!r}")


def expect(kind, call):
    """Calls, and returns the error, which must be of this kind."""
    try:
        result = call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got {result!r}")


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def body(message):
    return b"".join(message.body)


def in_future(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def seconds(count):
    return datetime.timedelta(seconds=count)


class Bench:
    """Clients for one case, and the entities it makes; all of it goes away at the end."""

    def __init__(self):
        self.client = ServiceBusClient.from_connection_string(CONNECTION_STRING, retry_total=1)
        self.admin = ServiceBusAdministrationClient.from_connection_string(CONNECTION_STRING)
        self.queues, self.topics, self.open = [], [], []

    def close(self):
        for thing in reversed(self.open):
            try:
                thing.close()
            except Exception:  # pylint: disable=broad-except
                pass
        self.client.close()
        for name in self.queues:
            self.try_to(lambda name=name: self.admin.delete_queue(name))
        for name in self.topics:
            self.try_to(lambda name=name: self.admin.delete_topic(name))
        self.admin.close()

    @staticmethod
    def try_to(call):
        try:
            call()
        except Exception:  # pylint: disable=broad-except
            pass

    def queue(self, name=None, **options):
        name = name or f"q-{uuid.uuid4().hex[:12]}"
        self.admin.create_queue(name, **options)
        self.queues.append(name)
        return name

    def topic(self, *subscriptions, **options):
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.admin.create_topic(name, **options)
        self.topics.append(name)
        for subscription in subscriptions:
            self.admin.create_subscription(name, subscription)
        return name

    def keep(self, thing):
        self.open.append(thing)
        return thing

    def sender(self, name):
        get = self.client.get_topic_sender if name in self.topics else self.client.get_queue_sender
        return self.keep(get(name))

    def receiver(self, name, **options):
        return self.keep(self.client.get_queue_receiver(name, **options))

    def subscriber(self, topic, name, **options):
        return self.keep(self.client.get_subscription_receiver(topic, name, **options))

    def taker(self, name, **options):
        """A receiver that deletes what it receives."""
        mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
        return self.receiver(name, receive_mode=mode, **options)


def receive(receiver, count=1, wait=PATIENCE):
    """Exactly this many messages."""
    received = []
    while len(received) < count:
        messages = receiver.receive_messages(max_message_count=count - len(received), max_wait_time=wait)
        if not messages:
            raise AssertionError(f"{len(received)} of {count} messages arrived")
        received.extend(messages)
    return received


def nothing(receiver, wait=1):
    messages = receiver.receive_messages(max_message_count=1, max_wait_time=wait)
    check_equal([body(message) for message in messages], [], "what was received")


def eventually(holds, what, patience=PATIENCE):
    """Asks until it holds: for what a real namespace does in its own time."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.05)


def send(sender, *bodies, **properties):
    sender.send_messages([ServiceBusMessage(text, **properties) for text in bodies])


def control(method, path, document=None):
    """Asks the emulator's control API."""
    if not IS_EMULATOR:
        raise NotApplicable("only the emulator does this on demand")
    import urllib.request

    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"{CONTROL}/$emulator/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.loads(response.read() or b"null")


def run_one(name):
    function = CASES.get(name)
    started = time.monotonic()
    result = {"case": name, "result": "pass"}
    if function is None:
        result["result"] = "none"
    else:
        bench = None
        try:
            bench = Bench()
            function(bench)
        except NotApplicable as reason:
            result.update(result="none", detail=str(reason))
        except Exception as error:  # pylint: disable=broad-except
            result.update(result="fail", detail=f"{type(error).__name__}: {error}"[:2000])
            traceback.print_exc(file=sys.stderr)
        finally:
            if bench:
                bench.close()
    result["seconds"] = round(time.monotonic() - started, 2)
    # One write, or the lines of two cases run into each other.
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return result["result"] != "fail"


def run(names):
    with concurrent.futures.ThreadPoolExecutor(CASES_AT_A_TIME) as pool:
        passed = list(pool.map(run_one, [name for name in names if name not in ALONE]))
    passed += [run_one(name) for name in names if name in ALONE]
    return 0 if all(passed) else 1
