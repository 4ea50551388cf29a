"""What an engaged kill switch asks for beyond blocking: cancel resting entries, close positions, and say what is left.

Safe to run twice at once and after any crash: it looks at what still rests and is still open, and does that. Several
positions at a time, so that the last of a hundred does not wait for the answers to all others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db.models import QuerySet

from execution.domain.clocks import Clock
from execution.domain.kill_switch import KillLevel
from execution.domain.outcomes import Refused
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_LIVE, ORDER_UNSETTLED
from execution.models import ExecutionRequest, KillSwitch, Order, PositionSlot
from execution.operations.worker_pool import SpareExchange, run_parallel
from execution.orders.cancel import cancel_order
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.queries.kill_switch import closable_requests, open_entries
from execution.store.contention import apart
from execution.store.entry_gates import engaged_switch
from execution.trades.close_position import leaves_exits
from execution.trades.settle_exits import settle_exits

log = structlog.get_logger(__name__)
Line = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Hands:
    """What positions are closed with; without `spare` clients they are closed one after another."""

    exchange: Exchange
    rules: ProtectionRules
    clock: Clock
    spare: SpareExchange | None = None


def work_off_kill_switch(
    *, exchange: Exchange, rules: ProtectionRules, clock: Clock, spare: SpareExchange | None = None
) -> bool:
    """Do what the switch in force asks for; True when nothing is left to do, by the exchange's word.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next monitor cycle goes on.

    """
    switch = engaged_switch()
    if switch is None or switch.completed_at:
        return True
    level = KillLevel(switch.level)
    hands = Hands(exchange=exchange, rules=rules, clock=clock, spare=spare)
    if level.cancels_entries:
        cancel_entries(hands)
    if level.closes_positions:
        close_positions(hands, CloseReason.KILL_SWITCH)
    return _report(switch, level, exchange, clock())


def cancel_entries(hands: Hands) -> None:
    """Cancel every entry that rests at the exchange."""

    def errand(order: Order) -> Callable[[Exchange], None]:
        def run(exchange: Exchange) -> None:
            with apart(f"cancel {order.client_order_id}"):
                cancel_order(order, exchange=exchange, clock=hands.clock)

        return run

    orders = open_entries().filter(state__in=ORDER_LIVE).select_related("request")
    run_parallel([errand(order) for order in orders], hands.exchange, hands.spare)


def close_positions(hands: Hands, reason: CloseReason) -> None:
    """Close what our entries have opened; whoever holds a claim has, or may get, a position.

    A position that we only protect for somebody else is not ours to close. One that cannot be closed for want of an
    answer does not keep the others open.

    Raises:
        ExchangeUnavailableError: of one at least the exchange did not answer; all were tried.

    """
    errands = [_closing(request, hands, reason) for request in closable_requests()]
    silent = [error for error in run_parallel(errands, hands.exchange, hands.spare) if error]
    if silent:
        raise silent[0]


def _closing(
    request: ExecutionRequest, hands: Hands, reason: CloseReason
) -> Callable[[Exchange], ExchangeUnavailableError | None]:
    """Return what closes one position; it answers with what kept it from that."""

    def run(exchange: Exchange) -> ExchangeUnavailableError | None:
        try:
            with apart(f"close {request.pk}"):
                _close(BracketManager(request=request, exchange=exchange, rules=hands.rules, clock=hands.clock), reason)
        except ExchangeUnavailableError as error:
            log.warning("position_not_closed_yet", request_id=str(request.pk), error=str(error))
            return error
        return None

    return run


def _close(work: BracketManager, reason: CloseReason) -> None:
    outcome = work.close(work.exposure.open, reason)
    if isinstance(outcome, Refused) and leaves_exits(outcome):
        # The exchange finds nothing to reduce: whatever was faster is booked at once.
        settle_exits(work.request.pk, exchange=work.exchange, rules=work.rules, clock=work.clock)


def _report(switch: KillSwitch, level: KillLevel, exchange: Exchange, now: datetime) -> bool:
    """Write down what is left: by our books for orders, by the exchange's own reading for positions."""
    ours, others = _positions(exchange) if level.closes_positions else ([], [])
    left = {
        "entries_unsettled": _names(open_entries().filter(state__in=ORDER_UNSETTLED)),
        "entries_resting": _names(open_entries().filter(state__in=ORDER_LIVE)) if level.cancels_entries else [],
        "positions_open": ours,
    }
    done = not any(left.values())
    # An answer that comes late must not write over the end of another run. What is not ours is named, not touched.
    KillSwitch.objects.filter(pk=switch.pk, completed_at=None, released_at=None).update(
        report={**left, "positions_not_ours": others, "at": now.isoformat()}, completed_at=now if done else None
    )
    return done


def _names(orders: QuerySet[Order, Order]) -> list[str]:
    return sorted(orders.values_list("client_order_id", flat=True))


def _positions(exchange: Exchange) -> tuple[list[Line], list[Line]]:
    """Return the exchange's open positions: those of symbols that we have claimed, and all others."""
    claims = PositionSlot.objects.filter(request__external_position=None)
    claimed = set(claims.values_list("symbol", "position_side"))
    ours: list[Line] = []
    others: list[Line] = []
    for row in exchange.positions():
        line = {"symbol": row.symbol, "position_side": row.position_side, "quantity": format(row.quantity, "f")}
        (ours if (row.symbol, row.position_side) in claimed else others).append(line)
    return ours, others
