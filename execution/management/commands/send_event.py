"""`manage.py send_event TYPE --payload FILE --key ID`: puts an event on the bus.

The event is signed as its producer signs it.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path
from uuid import uuid4

from django.core.management.base import CommandError

from execution import wiring
from execution.management.terminal import TerminalCommand
from execution.signals.accept import EVENT_TYPES
from execution.signals.envelope import parse_json


class Command(TerminalCommand):
    """For holders of a producer's key: tries a key, or sends by hand what a producer could not."""

    help = "Put an event on the bus, signed with a key of EVENT_SIGNING_KEYS, or unsigned without one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("event_type", metavar="type", choices=EVENT_TYPES)
        parser.add_argument("--payload", required=True, help="file with the JSON object; - for standard input")
        parser.add_argument("--key", default="", help="id of the key; without it the event is not signed")
        parser.add_argument("--event-id", default="", help="the event's identity; default: a new one")
        parser.add_argument("--trace-id", default="")
        parser.add_argument("--source", default="operator")

    def handle(
        self,
        *_: object,
        event_type: str,
        payload: str,
        key: str,
        event_id: str,
        trace_id: str,
        source: str,
        **__: object,
    ) -> None:
        text = json_object_in(payload)
        try:
            bus = wiring.producers_bus(key)
        except KeyError:
            raise CommandError(f"EVENT_SIGNING_KEYS has no key {key}") from None
        event_id = event_id or str(uuid4())
        message = {
            "event_type": event_type,
            "payload": text,
            "event_id": event_id,
            "trace_id": trace_id,
            "timestamp": wiring.clock().isoformat(),
            "source": source,
        }
        bus.publish([message])
        self.stdout.write(f"sent {event_type} event_id={event_id} key={key or 'none'}")


def json_object_in(place: str) -> str:
    """Return the text of a JSON object from a file, or from standard input for `-`.

    Raises:
        CommandError: it is no JSON object.

    """
    text = sys.stdin.read() if place == "-" else Path(place).read_text()
    try:
        value = parse_json(text)
    except ValueError as error:
        raise CommandError(f"--payload is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CommandError("--payload must be a JSON object")
    return text
