"""`manage.py send_event <type> --payload <file> --key <key id>`: puts an event on the bus, signed as its producer."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.core.management.base import CommandError

from execution import wiring
from execution.management.terminal import TerminalCommand
from execution.signals.accept import EVENT_TYPES
from execution.signals.envelope import parse_json


class Command(TerminalCommand):
    """For whoever holds a producer's key: to try a key, to send by hand what a producer could not."""

    help = "Put an event on the bus, signed with a key of EVENT_SIGNING_KEYS, or unsigned without one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("type", choices=EVENT_TYPES)
        parser.add_argument("--payload", required=True, help="file with the JSON object; - for standard input")
        parser.add_argument("--key", default="", help="id of the key; without it the event is not signed")
        parser.add_argument("--event-id", default="", help="the event's identity; default: a new one")
        parser.add_argument("--trace-id", default="")
        parser.add_argument("--source", default="operator")

    def handle(self, **options: Any) -> None:
        text = _object(options["payload"])
        try:
            bus = wiring.producers_bus(options["key"])
        except KeyError:
            raise CommandError(f"EVENT_SIGNING_KEYS has no key {options['key']}") from None
        event_id = options["event_id"] or str(uuid4())
        message = {
            "event_type": options["type"],
            "payload": text,
            "event_id": event_id,
            "trace_id": options["trace_id"],
            "timestamp": wiring.clock().isoformat(),
            "source": options["source"],
        }
        bus.publish([message])
        self.stdout.write(f"sent {options['type']} event_id={event_id} key={options['key'] or 'none'}")


def _object(place: str) -> str:
    text = sys.stdin.read() if place == "-" else Path(place).read_text()
    try:
        value = parse_json(text)
    except ValueError as error:
        raise CommandError(f"--payload is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CommandError("--payload must be a JSON object")
    return text
