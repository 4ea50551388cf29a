"""Cancels entries and closes positions as an engaged kill switch asks, and reports what is left.

It is safe to run twice at once and after any crash: it looks at what still rests and is still open, and ends that.
Several positions are closed at a time, so that the last of a hundred does not wait for the answers to all others.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from django.db.models import QuerySet

from execution.domain.clocks import Clock
from execution.domain.json_values import JsonObject
from execution.domain.kill_switch import KillLevel
from execution.domain.outcomes import Refused
from execution.domain.ports import Account, Exchange, ExchangeUnavailableError, OrderEntry, SpareExchange
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_LIVE, ORDER_UNSETTLED
from execution.models import ExecutionRequest, KillSwitch, Order
from execution.operations.worker_pool import run_parallel
from execution.orders.cancel import cancel_order
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.queries.kill_switch import closable_requests, open_entries
from execution.store.contention import apart
from execution.store.entry_gates import engaged_switch
from execution.store.reconciliation import report_kill_switch, sides_of_our_slots
from execution.trades.close_position import leaves_exits
from execution.trades.settle_exits import settle_exits

log = structlog.get_logger(__name__)
PositionLine = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Enforcement:
    """Cancels and closes with these ports. Without `spare` clients it goes from one position to the next."""

    exchange: Exchange
    rules: ProtectionRules
    clock: Clock
    spare: SpareExchange | None = None

    def cancel_entries(self) -> None:
        """Cancel every entry that rests at the exchange."""
        orders = open_entries().filter(state__in=ORDER_LIVE).select_related("request")
        run_parallel([partial(self._cancel, order) for order in orders], self.exchange, self.spare)

    def close_positions(self, reason: CloseReason) -> None:
        """Close what our entries have opened: each request with a position slot has, or may get, a position.

        A position that we only protect for another client is not ours to close. One whose close gets no answer does
        not keep the others open.

        Raises:
            ExchangeUnavailableError: the exchange did not answer for at least one of them. All were tried.

        """
        closes = [partial(self._close, request, reason) for request in closable_requests()]
        silent = [error for error in run_parallel(closes, self.exchange, self.spare) if error]
        if silent:
            raise silent[0]

    def _cancel(self, order: Order, exchange: OrderEntry) -> None:
        with apart(f"cancel {order.client_order_id}"):
            cancel_order(order, exchange=exchange, clock=self.clock)

    def _close(
        self, request: ExecutionRequest, reason: CloseReason, exchange: Exchange
    ) -> ExchangeUnavailableError | None:
        """Close one position, and return the error that kept it open."""
        try:
            with apart(f"close {request.pk}"):
                _close_position(
                    BracketManager(request=request, exchange=exchange, rules=self.rules, clock=self.clock), reason
                )
        except ExchangeUnavailableError as error:
            log.warning("position_not_closed_yet", request_id=str(request.pk), error=str(error))
            return error
        return None


def work_off_kill_switch(
    *, exchange: Exchange, rules: ProtectionRules, clock: Clock, spare: SpareExchange | None = None
) -> bool:
    """Do what the switch in force asks for, and return whether the exchange shows nothing left to do.

    Raises:
        ExchangeUnavailableError: the exchange did not answer. The next cycle goes on.

    """
    switch = engaged_switch()
    if switch is None or switch.completed_at:
        return True
    level = KillLevel(switch.level)
    enforcement = Enforcement(exchange=exchange, rules=rules, clock=clock, spare=spare)
    if level.cancels_entries:
        enforcement.cancel_entries()
    if level.closes_positions:
        enforcement.close_positions(CloseReason.KILL_SWITCH)
    return _report(switch, level, exchange, clock())


def _close_position(bracket: BracketManager, reason: CloseReason) -> None:
    outcome = bracket.close(bracket.exposure.open, reason)
    if isinstance(outcome, Refused) and leaves_exits(outcome):
        # The exchange finds nothing to reduce: what has closed it already is booked at once.
        settle_exits(bracket.request.pk, exchange=bracket.exchange, rules=bracket.rules, clock=bracket.clock)


def _report(switch: KillSwitch, level: KillLevel, exchange: Account, now: datetime) -> bool:
    """Write what is left: orders by our books, positions by the exchange's own reading."""
    ours, others = _positions(exchange) if level.closes_positions else ([], [])
    left: JsonObject = {
        "entries_unsettled": _names(open_entries().filter(state__in=ORDER_UNSETTLED)),
        "entries_resting": _names(open_entries().filter(state__in=ORDER_LIVE)) if level.cancels_entries else [],
        "positions_open": ours,
    }
    done = not any(left.values())
    # External positions are named, not touched.
    report: JsonObject = {**left, "positions_not_ours": others, "at": now.isoformat()}
    report_kill_switch(switch, report, completed_at=now if done else None)
    return done


def _names(orders: QuerySet[Order, Order]) -> list[str]:
    return sorted(orders.values_list("client_order_id", flat=True))


def _positions(exchange: Account) -> tuple[list[PositionLine], list[PositionLine]]:
    """Return the exchange's open positions: those on sides where we hold a position slot, and all others."""
    our_sides = sides_of_our_slots()
    ours: list[PositionLine] = []
    others: list[PositionLine] = []
    for row in exchange.positions():
        line = {"symbol": row.symbol, "position_side": row.position_side, "quantity": format(row.quantity, "f")}
        (ours if (row.symbol, row.position_side) in our_sides else others).append(line)
    return ours, others
