"""`manage.py quarantine`: lists stored rows that cannot be used as they are, and repairs or releases one."""

from argparse import ArgumentParser
from getpass import getuser
from typing import Any

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.authorization import Authorization
from execution.management.terminal import TerminalCommand
from execution.models import QuarantinedRow
from execution.store import quarantine
from execution.store.quarantine import RepairError


class Command(TerminalCommand):
    """The list without an id; with one, what is to be done about it."""

    help = "List stored rows that cannot be used as they are; repair a column of one, or release it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, nargs="?")
        parser.add_argument("--scan", action="store_true", help="look through all tables first")
        parser.add_argument("--set", metavar="COLUMN=VALUE", help="write this value into the row and release it")
        parser.add_argument("--release", action="store_true", help="end the quarantine without a change")
        parser.add_argument("--reason", default="", help="why, for the journal; required with --set and --release")
        parser.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(self, **options: Any) -> None:
        if options["scan"]:
            quarantine.scan()
        if options["id"] is None:
            self._list()
            return
        row = QuarantinedRow.objects.filter(pk=options["id"], released_at__isnull=True).first()
        if row is None:
            raise CommandError(f"Nothing is quarantined under {options['id']}")
        if options["set"] or options["release"]:
            self._change(row, options)
        self._show(row)

    def _list(self) -> None:
        rows = quarantine.quarantined()
        for row in rows:
            self._show(row)
        self.stdout.write(f"{len(rows)} quarantined")

    def _show(self, row: QuarantinedRow) -> None:
        row.refresh_from_db()
        state = "released" if row.released_at else f"since {row.first_seen_at.isoformat()}"
        self.stdout.write(f"{row.pk} {row.sentence} {state}")

    def _change(self, row: QuarantinedRow, options: dict[str, Any]) -> None:
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("--set and --release need a --reason")
        authorization = Authorization(by=options["by"] or getuser(), reason=reason)
        if options["release"]:
            quarantine.release_row(row, authorization, now=wiring.clock())
            return
        column, equals, value = options["set"].partition("=")
        if not equals:
            raise CommandError("--set needs COLUMN=VALUE")
        try:
            quarantine.repair_row(row, column, value, authorization, now=wiring.clock())
        except RepairError as error:
            raise CommandError(f"Nothing was changed: {error}") from None
