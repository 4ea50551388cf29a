"""`manage.py replay_events --after PLACE`: publishes recorded events to the bus again."""

from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from django.core.management.base import CommandError

from execution import wiring
from execution.management.terminal import TerminalCommand
from execution.models import OutboxEvent
from execution.outbox.replay import Selection, TooManyEventsError, count_events, log_replay, replay_events
from execution.queries.events import id_of_event, ids_around


class Command(TerminalCommand):
    """For readers that lost events, and for a Redis that lost its data.

    Events keep their ids and numbers, and are marked `redelivered`.
    """

    help = "Publish recorded events to the bus again, with the same event_id and sequence, marked as redelivered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--after", required=True, help="outbox id, event id or ISO time (UTC); 0 for all there are")
        parser.add_argument("--until", help="outbox id, event id or ISO time; this one is included")
        parser.add_argument("--aggregate", default="", help="only one trade's events, by its id")
        parser.add_argument("--type", default="", dest="event_type", help="only one type, as trade.closed")
        parser.add_argument("--reason", default="", help="why, for the log")
        parser.add_argument("--count", action="store_true", help="only count them")

    def handle(
        self,
        *_: object,
        after: str,
        until: str | None,
        aggregate: str,
        event_type: str,
        reason: str,
        count: bool,
        **__: object,
    ) -> None:
        selection = Selection(
            after=place_of(after),
            until=place_of(until, including=True) if until else None,
            aggregate=aggregate,
            event_type=event_type,
        )
        if count:
            self.stdout.write(sentence("selected", count_events(selection)))
            return
        try:
            counts = replay_events(selection, wiring.event_bus(), clock=wiring.clock)
        except TooManyEventsError as error:
            raise CommandError(
                f"Nothing was published: {error}. Narrow it, or use GET /api/execution/events."
            ) from None
        log_replay(selection, counts, reason=reason, now=wiring.clock())
        self.stdout.write(sentence("published again", counts))


def sentence(verb: str, counts: Mapping[str, int]) -> str:
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
        event_id = UUID(text)
    except ValueError:
        return _place_at(text, including=including)
    try:
        return id_of_event(event_id)
    except OutboxEvent.DoesNotExist:
        raise CommandError(f"No event {event_id} is recorded") from None


def _place_at(text: str, *, including: bool) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is neither an outbox id, nor an event id, nor an ISO time") from None
    around = ids_around(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    if including:
        return around.last_up_to or 0
    return around.first_after - 1 if around.first_after else around.last or 0
