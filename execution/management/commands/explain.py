"""`manage.py explain <id>`: one decision's whole story from the books, for people or as JSON."""

import json
from argparse import ArgumentParser
from decimal import Decimal
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from execution.domain.money import plain
from execution.management.terminal import TerminalCommand
from execution.queries.requests import Story, story_of
from execution.queries.rerun import rerun
from execution.queries.story import lines


class Command(TerminalCommand):
    """Prints what was decided, checked, sent, filled and booked."""

    help = "Tell the whole story of a trade or request."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("trade_id", metavar="id", help="the id of a trade or of a request (they are the same)")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--json", dest="as_rows", action="store_true", help="print every column as JSON")
        how.add_argument(
            "--rerun", dest="again", action="store_true", help="judge it again by its journal; fails on a difference"
        )

    def handle(self, *_: object, trade_id: str, as_rows: bool, again: bool, **__: object) -> None:
        try:
            story = story_of(UUID(trade_id))
        except (ValueError, ObjectDoesNotExist):
            raise CommandError(f"Trade or request {trade_id} not found") from None
        if as_rows:
            self.stdout.write(json.dumps(as_json(story), indent=2, cls=DjangoJSONEncoder))
            return
        if again:
            self._rerun(story)
            return
        for line in lines(story):
            self.stdout.write(line)

    def _rerun(self, story: Story) -> None:
        found = rerun(story)
        if not found:
            raise CommandError("The guard has never judged this request")
        for each in found:
            for difference in each.differences:
                self.stdout.write(f"differs: {difference}")
            at = f"{each.line.at:%Y-%m-%d %H:%M:%S}"
            self.stdout.write(f"judged at {at}: {each.verdicts} verdicts, {len(each.differences)} of them differ")
        if any(each.differences for each in found):
            raise CommandError("The journal does not lead to the recorded verdicts")


def as_json(story: Story) -> dict[str, object]:
    """Return every column of every row. Amounts are strings with all their digits."""
    return {
        "request": _columns(story.request),
        "event": _columns(story.request.inbox),
        "trade": _columns(story.trade) if story.trade else None,
        "orders": [_columns(order) for order in story.orders],
        "fills": [_columns(fill) for fill in story.fills],
        "transitions": [_columns(step) for step in story.transitions],
        "events": [_columns(event) for event in story.events],
    }


def _columns(row: Model) -> dict[str, object]:
    values = {column.attname: getattr(row, column.attname) for column in row._meta.concrete_fields}
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in values.items()}
