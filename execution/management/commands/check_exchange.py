"""Reads the account states that entries need at the exchange, and names what would refuse them."""

import structlog
from django.core.management.base import CommandError

from execution import wiring
from execution.domain.ports import Account, ExchangeUnavailableError
from execution.management.terminal import TerminalCommand

log = structlog.get_logger(__name__)


class Command(TerminalCommand):
    """`manage.py check_exchange`: exits with 0 only when the exchange would take entries.

    It changes nothing. It is run before the first entry.
    """

    help = __doc__ or ""

    def handle(self, *_: object, **__: object) -> None:
        try:
            found = wiring.exchange().check()
        except ExchangeUnavailableError as error:
            raise CommandError(f"the exchange cannot be asked: {error}") from error
        self.stdout.write(f"position mode   {found.position_mode}")
        self.stdout.write(f"clock           {found.clock_offset_ms:+.0f} ms ahead of ours")
        self.stdout.write(f"account trades  {'yes' if found.can_trade else 'no'}")
        if found.problems:
            raise CommandError("; ".join(found.problems))
        self.stdout.write("nothing stands in the way of entries")


def log_setup_problems(exchange: Account) -> None:
    """Log at a start what will refuse every entry, before the first entry is refused. Exits go on anyway."""
    try:
        problems = exchange.check().problems
    except ExchangeUnavailableError as error:
        problems = (f"the exchange cannot be asked: {error}",)
    for problem in problems:
        log.critical("entries_will_be_refused", problem=problem)
