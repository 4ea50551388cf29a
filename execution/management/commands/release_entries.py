"""Releases entries that the monitor holds for something strange at the exchange."""

from argparse import ArgumentParser

from django.core.management.base import CommandError
from django.db import transaction

from execution import wiring
from execution.management.stated_reason import stated_reason
from execution.management.terminal import TerminalCommand
from execution.models.hold import ACCOUNT
from execution.reconciliation.entry_holds import release_entry_hold
from execution.store.holds import lock_entry_hold


class Command(TerminalCommand):
    """`manage.py release_entries --reason "..."`: an operator's release, written to the log.

    The next cycle holds again what is still there.
    """

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, type=stated_reason, help="why it is safe to trade again")
        parser.add_argument("--scope", default=ACCOUNT, help="a symbol, or the whole account")

    def handle(self, *_: object, reason: str, scope: str, **__: object) -> None:
        with transaction.atomic():
            hold = lock_entry_hold(scope)
            if hold is None:
                raise CommandError(f"no entries are held for {scope}")
            # The row is gone after its release.
            held = hold.reason
            release_entry_hold(hold, trigger="operator", reason=reason, now=wiring.clock())
        self.stdout.write(f"released {scope} ({held}); the next cycle holds it again if it is still there")
