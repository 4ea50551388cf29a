"""Closes a trade's position at market, reducing only, because its time is up."""

from uuid import UUID

from execution.domain.clocks import Clock
from execution.domain.closing import NOTHING_TO_REDUCE
from execution.domain.outcomes import Accepted, PlaceOutcome, Refused
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL
from execution.models import ExecutionRequest
from execution.orders.cancel import cancel_order
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.store.orders import load_order_with_request
from execution.trades.book_entry import book_entry


def close_position(
    trade_id: UUID, reason: CloseReason, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> bool:
    """Close what is open, True when there are exits to book.

    There are when the exchange has taken the order, or finds no position.

    Safe to repeat: one closing order at a time, and after a refusal a pause that grows.

    What rests of the entry is cancelled and its fills are booked first: nothing may enter behind the exit. The stop
    stays until the position is out.

    Raises:
        ExchangeUnavailableError: the entry's fills could not be read; nothing was closed.

    """
    work = BracketManager(
        request=ExecutionRequest.objects.get(pk=trade_id), exchange=exchange, rules=rules, clock=clock
    )
    if work.entry.state not in ORDER_FINAL:
        entry = load_order_with_request(work.entry.pk)
        if not cancel_order(entry, exchange=exchange, clock=clock):
            return False
        book_entry(trade_id, exchange=exchange, clock=clock)
        work.read()
    return leaves_exits(work.close(work.exposure.open, reason))


def leaves_exits(outcome: PlaceOutcome | None) -> bool:
    """Return whether a closing order leaves exits to book: its own, or those of a faster process."""
    gone = isinstance(outcome, Refused) and outcome.code in NOTHING_TO_REDUCE
    return gone or isinstance(outcome, Accepted)
