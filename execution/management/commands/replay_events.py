"""`manage.py replay_events --after <id, event id or time>`: publishes recorded events to the bus again."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Max, Min, Q

from execution import wiring
from execution.management.terminal import TerminalCommand
from execution.models import OutboxEvent
from execution.outbox.replay import Selection, TooManyEventsError, count_events, log_replay, replay_events


class Command(TerminalCommand):
    """For readers that lost events, and for a Redis that lost its data: same ids and numbers, marked `redelivered`."""

    help = "Publish recorded events to the bus again, with the same event_id and sequence, marked as redelivered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--after", required=True, help="outbox id, event id or ISO time (UTC); 0 for all there are")
        parser.add_argument("--until", help="outbox id, event id or ISO time; this one is included")
        parser.add_argument("--aggregate", default="", help="only one trade's events, by its id")
        parser.add_argument("--type", default="", dest="event_type", help="only one type, as trade.closed")
        parser.add_argument("--reason", default="", help="why, for the log")
        parser.add_argument("--count", action="store_true", help="only say how many they are")

    def handle(self, **options: Any) -> None:
        selection = Selection(
            after=place_of(options["after"]),
            until=place_of(options["until"], including=True) if options["until"] else None,
            aggregate=options["aggregate"],
            event_type=options["event_type"],
        )
        if options["count"]:
            self.stdout.write(sentence("selected", count_events(selection)))
            return
        try:
            counts = replay_events(selection, wiring.event_bus(), clock=wiring.clock)
        except TooManyEventsError as error:
            raise CommandError(
                f"Nothing was published: {error}. Narrow it, or use GET /api/execution/events."
            ) from None
        log_replay(selection, counts, reason=options["reason"], now=wiring.clock())
        self.stdout.write(sentence("published again", counts))


def sentence(verb: str, counts: Any) -> str:
    kinds = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    return f"{sum(counts.values())} events {verb}" + (f": {kinds}" if kinds else "")


def place_of(text: str, *, including: bool = False) -> int:
    """Return the outbox id that a text means: itself, that of an event, or of the events around a time.

    A time means the events made after it (`including`: up to it). Ids are not quite in the order of time; in doubt
    there is one event more, which its readers drop.
    """
    if text.isdigit():
        return int(text)
    try:
        return _place_of_event(UUID(text))
    except ValueError:
        return _place_at(text, including=including)


def _place_of_event(event_id: UUID) -> int:
    try:
        return OutboxEvent.objects.values_list("pk", flat=True).get(event_id=event_id)
    except OutboxEvent.DoesNotExist:
        raise CommandError(f"No event {event_id} is recorded") from None


def _place_at(text: str, *, including: bool) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is neither an outbox id, nor an event id, nor an ISO time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    events = OutboxEvent.objects.aggregate(
        first_after=Min("pk", filter=Q(created_at__gt=moment)),
        last_up_to=Max("pk", filter=Q(created_at__lte=moment)),
        last=Max("pk"),
    )
    if including:
        return events["last_up_to"] or 0
    return events["first_after"] - 1 if events["first_after"] else events["last"] or 0
