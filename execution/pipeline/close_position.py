"""Closes a trade's position at market, reducing only, because its time is up."""

from uuid import UUID

from execution.domain.closing import NOTHING_TO_REDUCE
from execution.domain.outcomes import Accepted, PlaceOutcome, Refused
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL
from execution.models import ExecutionRequest, Order
from execution.pipeline.cancelling import cancel_order
from execution.pipeline.legs import Clock, ProtectionRules, Work
from execution.pipeline.record_trade import record_trade


def close_position(
    trade_id: UUID, reason: CloseReason, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> bool:
    """Close what is open; True when there are exits to book: the exchange has taken the order, or finds no position.

    Safe to repeat: one closing order at a time, and after a refusal a pause that grows.

    What rests of the entry is cancelled and its fills are booked first: nothing may enter behind the exit. The stop
    stays until the position is out.

    Raises:
        ExchangeUnavailableError: the entry's fills could not be read; nothing was closed.

    """
    work = Work(request=ExecutionRequest.objects.get(pk=trade_id), exchange=exchange, rules=rules, clock=clock)
    if work.entry.state not in ORDER_FINAL:
        entry = Order.objects.select_related("request").get(pk=work.entry.pk)
        if not cancel_order(entry, exchange=exchange, clock=clock):
            return False
        record_trade(trade_id, exchange=exchange, clock=clock)
        work.read()
    return leaves_exits(work.close(work.exposure.open, reason))


def leaves_exits(outcome: PlaceOutcome | None) -> bool:
    """Whether a closing order leaves exits to book: its own, or those of whoever was faster."""
    gone = isinstance(outcome, Refused) and outcome.code in NOTHING_TO_REDUCE
    return gone or isinstance(outcome, Accepted)
