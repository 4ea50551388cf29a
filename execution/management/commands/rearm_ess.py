"""Ends a trip of the emergency stop that came by event and is still held.

The next check asks the service again.
"""

from argparse import ArgumentParser

from django.core.management.base import CommandError
from django.db import transaction

from execution import wiring
from execution.management.stated_reason import stated_reason
from execution.management.terminal import TerminalCommand
from execution.store.holds import lock_blocking_ess
from execution.store.transitions import log_step


class Command(TerminalCommand):
    """`manage.py rearm_ess --reason "..."`: an operator's decision, written to the log with its reason."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, type=stated_reason, help="why it is safe to trade again")

    def handle(self, *_: object, reason: str, **__: object) -> None:
        now = wiring.clock()
        with transaction.atomic():
            status = lock_blocking_ess()
            if status is None:
                raise CommandError("the emergency stop is not known to block anything")
            log_step(
                "ess", 1, from_state=status.state, to_state="REARMED", trigger="operator", now=now, reason=("", reason)
            )
            # The service's own answer decides from here on.
            status.delete()
        self.stdout.write(
            f"released {status.state} ({status.source}: {status.reason}); the next check asks the service"
        )
