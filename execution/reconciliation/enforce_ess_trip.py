"""Cancels entries and closes positions when the emergency stop has tripped, as ESS_TRIP_ACTION has it.

It runs at once when a trip arrives, and again in every reconciliation cycle while it stands. It is safe to run twice at
once. Entries are blocked elsewhere (`execution/risk/ess.py`).
"""

from enum import StrEnum

from execution.domain.clocks import Clock
from execution.domain.ess import BLOCKING_STATES
from execution.domain.ports import Exchange, SpareExchange
from execution.domain.reasons import CloseReason
from execution.protection.bracket_manager import ProtectionRules
from execution.reconciliation.enforce_kill_switch import Enforcement
from execution.store.emergency_stop import known_block


class TripAction(StrEnum):
    """What follows a trip.

    Each value does what those before it do, and entries are blocked at any of them.
    """

    NONE = "none"
    CANCEL_ENTRIES = "cancel_entries"
    FLATTEN = "flatten"


def work_off_trip(
    action: TripAction,
    *,
    exchange: Exchange,
    rules: ProtectionRules,
    clock: Clock,
    spare: SpareExchange | None = None,
) -> None:
    """Carry out the trip's action while a trip is known. A service that is only silent has not tripped.

    Raises:
        ExchangeUnavailableError: the exchange did not answer. The next cycle goes on.

    """
    block = known_block()
    if action is TripAction.NONE or block is None or block.state not in BLOCKING_STATES:
        return
    enforcement = Enforcement(exchange=exchange, rules=rules, clock=clock, spare=spare)
    enforcement.cancel_entries()
    if action is TripAction.FLATTEN:
        enforcement.close_positions(CloseReason.ESS_TRIP)
