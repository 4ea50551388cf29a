"""`manage.py write_off ID --reason "..."`: ends what the exchange denies.

Without a reason it only asks the exchange.
"""

import json
from argparse import ArgumentParser
from getpass import getuser
from uuid import UUID

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.authorization import Authorization
from execution.domain.bounds import uuid_of
from execution.domain.ports import ExchangeUnavailableError
from execution.management.terminal import TerminalCommand
from execution.models import ExecutionRequest
from execution.reconciliation.write_off import WriteOffRefusedError, write_off
from execution.reconciliation.write_off_conditions import holding_of, read_denial


class Command(TerminalCommand):
    """A trade, or a decision without one, that the exchange knows nothing of any more."""

    help = (
        "Write off a trade whose position the exchange does not have and whose last fills cannot be found. "
        "The exchange is asked first, and any trace of it refuses. No fill, price or result is made up. "
        'Example: manage.py write_off 0190c0de-... --reason "the account was reset"'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("trade_id", metavar="id", help="of the trade or of its decision: they are the same")
        parser.add_argument("--reason", default="", help="why, for auditors; without it nothing is changed")
        parser.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(self, *_: object, trade_id: str, reason: str, by: str, **__: object) -> None:
        reason = reason.strip()
        try:
            pk = uuid_of(trade_id)
            shown = self._write_off(pk, by or getuser(), reason) if reason else self._ask(pk)
        except (ValueError, ExecutionRequest.DoesNotExist):
            raise CommandError(f"There is no decision {trade_id}") from None
        except WriteOffRefusedError as error:
            raise CommandError(f"Nothing was written off: {error}") from None
        except ExchangeUnavailableError as error:
            raise CommandError(f"Nothing was written off: the exchange does not answer ({error})") from None
        self.stdout.write(json.dumps(shown, indent=2, default=str))

    def _ask(self, pk: UUID) -> dict[str, object]:
        """Return what the books hold and what the exchange answers, and change nothing."""
        held = holding_of(pk)
        if held.is_empty:
            return {"held": {}, "written_off": False}
        denial = read_denial(held, exchange=wiring.exchange(), clock=wiring.clock)
        return {"held": held.states, "answers": denial.answers, "objections": denial.objections, "written_off": False}

    def _write_off(self, pk: UUID, by: str, reason: str) -> dict[str, object]:
        written = write_off(pk, Authorization(by=by, reason=reason), exchange=wiring.exchange(), clock=wiring.clock)
        action = written.action
        shown = {"by": action.by, "reason": action.reason, "at": action.at, "before": action.before}
        return {**shown, "answers": action.evidence["answers"], "written_off": True, "repeated": written.repeated}
