"""`manage.py quarantine`: lists stored rows that cannot be used, and repairs or releases one."""

from argparse import ArgumentParser
from getpass import getuser

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.authorization import Authorization
from execution.management.terminal import TerminalCommand
from execution.models import QuarantinedRow
from execution.store import quarantine
from execution.store.quarantine import RepairError


class Command(TerminalCommand):
    """Lists the quarantined rows without an id, and with one repairs or releases that row."""

    help = "List stored rows that cannot be used as they are; repair a column of one, or release it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", metavar="id", type=int, nargs="?")
        parser.add_argument("--scan", action="store_true", help="look through all tables first")
        parser.add_argument(
            "--set", dest="repair", metavar="COLUMN=VALUE", help="write this value into the row and release it"
        )
        parser.add_argument("--release", action="store_true", help="end the quarantine without a change")
        parser.add_argument("--reason", default="", help="why, for the journal; required with --set and --release")
        parser.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(
        self,
        *_: object,
        number: int | None,
        scan: bool,
        repair: str | None,
        release: bool,
        reason: str,
        by: str,
        **__: object,
    ) -> None:
        if scan:
            quarantine.scan()
        if number is None:
            self._list()
            return
        row = quarantine.quarantined_row(number)
        if row is None:
            raise CommandError(f"Nothing is quarantined under {number}")
        if repair or release:
            if not reason.strip():
                raise CommandError("--set and --release need a --reason")
            self._change(row, None if release else repair, Authorization(by=by or getuser(), reason=reason.strip()))
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

    def _change(self, row: QuarantinedRow, repair: str | None, authorization: Authorization) -> None:
        """Write `repair`, a COLUMN=VALUE, into the row and release it, or only release it without one."""
        if repair is None:
            quarantine.release_row(row, authorization, now=wiring.clock())
            return
        column, equals, value = repair.partition("=")
        if not equals:
            raise CommandError("--set needs COLUMN=VALUE")
        try:
            quarantine.repair_row(row, column, value, authorization, now=wiring.clock())
        except RepairError as error:
            raise CommandError(f"Nothing was changed: {error}") from None
