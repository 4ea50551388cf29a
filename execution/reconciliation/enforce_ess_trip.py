"""What a trip of the emergency stop asks for beyond blocking (ESS_TRIP_ACTION): cancel entries, close positions.

Done at once when a trip arrives, and again by every monitor cycle while it stands; safe to run twice at once.
"""

from enum import StrEnum

from execution.domain.clocks import Clock
from execution.domain.ess import BLOCKING_STATES
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.operations.worker_pool import SpareExchange
from execution.protection.bracket_manager import ProtectionRules
from execution.reconciliation.enforce_kill_switch import Hands, cancel_entries, close_positions
from execution.store.emergency_stop import known_block


class TripAction(StrEnum):
    """What follows a trip; each does what those before it do. Entries are blocked at any of them."""

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
    """Do it while a trip is known; a service that is only silent has not tripped.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next monitor cycle goes on.

    """
    block = known_block()
    if action is TripAction.NONE or block is None or block.state not in BLOCKING_STATES:
        return
    hands = Hands(exchange=exchange, rules=rules, clock=clock, spare=spare)
    cancel_entries(hands)
    if action is TripAction.FLATTEN:
        close_positions(hands, CloseReason.ESS_TRIP)
