#!/usr/bin/env python3
"""Proves that the official Python client works with the emulator (or with a real namespace).

Sends to a topic (one message, a list, a batch) and receives from a subscription in
ReceiveAndDelete mode, comparing body, application properties, subject, to, message id and
correlation id. Exits 0 only if everything arrived as it was sent.

    pip install azure-servicebus
    service-bus-emulator --topic rafttopic:server-1      # in another terminal
    CONNECTION_STRING='Endpoint=sb://localhost:5672;...' python send_and_receive.py

Variables: CONNECTION_STRING (required), TOPIC_NAME (rafttopic), SUBSCRIPTION_NAME (server-1),
MESSAGE_COUNT (10: messages per way of sending). The subscription must let every message through
and hold none at the start; messages that were left there are deleted first.
"""

import os
import sys
import uuid

from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiveMode

# Longer than any step should take, so that a fault ends the script instead of hanging it.
PATIENCE_SECONDS = 20


def make_message(run, number):
    return ServiceBusMessage(
        body=f"command {number}".encode(),
        message_id=f"{run}-{number}",
        correlation_id=f"correlation-{number}",
        subject="AppendEntriesRequest",
        to="server-1",
        reply_to="client-1",
        content_type="application/octet-stream",
        application_properties={"term": number, "kind": "request", "ok": True},
    )


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def difference(message, run, number):
    """Tells how a received message differs from the one with this number, or None."""
    properties = {text(key): text(value) for key, value in message.application_properties.items()}
    pairs = {
        "body": (b"".join(message.body), f"command {number}".encode()),
        "message_id": (message.message_id, f"{run}-{number}"),
        "correlation_id": (message.correlation_id, f"correlation-{number}"),
        "subject": (message.subject, "AppendEntriesRequest"),
        "to": (message.to, "server-1"),
        "reply_to": (message.reply_to, "client-1"),
        "content_type": (message.content_type, "application/octet-stream"),
        "application_properties": (properties, {"term": number, "kind": "request", "ok": True}),
    }
    for name, (found, expected) in pairs.items():
        if found != expected:
            return f"message {number}: {name} is {found!r}, expected {expected!r}"
    if message.sequence_number is None or message.enqueued_time_utc is None:
        return f"message {number}: no sequence number or no enqueued time"
    return None


def send_all(sender, run, count):
    """Sends three times `count` messages, each third in its own way."""
    for number in range(count):
        sender.send_messages(make_message(run, number))
    sender.send_messages([make_message(run, number) for number in range(count, 2 * count)])
    batch = sender.create_message_batch()
    for number in range(2 * count, 3 * count):
        try:
            batch.add_message(make_message(run, number))
        except ValueError:  # The batch is full.
            sender.send_messages(batch)
            batch = sender.create_message_batch()
            batch.add_message(make_message(run, number))
    sender.send_messages(batch)
    return 3 * count


def receive_all(receiver, count):
    received = []
    while len(received) < count:
        messages = receiver.receive_messages(
            max_message_count=count - len(received), max_wait_time=PATIENCE_SECONDS
        )
        if not messages:
            raise RuntimeError(f"only {len(received)} of {count} messages arrived")
        received.extend(messages)
    return received


def main():
    connection_string = os.environ.get("CONNECTION_STRING")
    if not connection_string:
        print("CONNECTION_STRING is not set; see the top of this file", file=sys.stderr)
        return 2
    topic = os.environ.get("TOPIC_NAME", "rafttopic")
    subscription = os.environ.get("SUBSCRIPTION_NAME", "server-1")
    count = int(os.environ.get("MESSAGE_COUNT", "10"))
    run = uuid.uuid4().hex

    with ServiceBusClient.from_connection_string(connection_string, retry_total=1) as client:
        with client.get_subscription_receiver(
            topic, subscription, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE
        ) as receiver, client.get_topic_sender(topic) as sender:
            left_over = 0
            while messages := receiver.receive_messages(max_message_count=100, max_wait_time=1):
                left_over += len(messages)
            if left_over:
                print(f"deleted {left_over} messages that were left in {topic}/{subscription}")

            sent = send_all(sender, run, count)
            print(f"sent {sent} messages to {topic}: {count} singly, {count} as a list, {count} as a batch")
            received = receive_all(receiver, sent)
            print(f"received {len(received)} messages from {topic}/{subscription}")

    differences = [difference(message, run, number) for number, message in enumerate(received)]
    differences = [found for found in differences if found]
    for found in differences[:10]:
        print(found, file=sys.stderr)
    print("FAILED" if differences else "OK: every message arrived as it was sent, in order")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
