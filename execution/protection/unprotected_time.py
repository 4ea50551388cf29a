"""Measures how long a position had less cover than it was large, once when each such time has ended."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from execution.domain.metrics import FILL_TO_STOP, UNCOVERED, Histogram
from execution.domain.states import ORDER_FINAL, ORDER_UNSETTLED, OrderState
from execution.domain.unprotected_time import Gap, Growth, StopLife, gaps
from execution.models import AuditEvent, Trade
from execution.store.fills import fills_of_trades, last_fills_of_exits
from execution.store.levels import without_stop
from execution.store.metrics import observe
from execution.store.orders import steps_of_orders, stops_of
from execution.store.trades import find_trade, lock_request_if_known, set_cover_measured


def measure_unprotected_of(trade_id: UUID) -> None:
    """Measure as `measure_unprotected` does, in a transaction of its own.

    While there is no trade it measures nothing.
    """
    with transaction.atomic():
        # The lock of all bookings of a trade.
        lock_request_if_known(trade_id)
        if trade := find_trade(trade_id):
            measure_unprotected(trade)


def measure_unprotected(trade: Trade) -> None:
    """Add the times without full cover that have ended and were not added yet.

    Call it with a trade that was read under the lock on its request, last in the transaction: the figures are
    everybody's. A plan without a stop has nothing to measure.
    """
    if without_stop([trade.pk]):
        return
    before = trade.cover_measured_until
    ended = [(gap.since, gap.until, gap.by_stop) for gap in gaps_of_trade([trade.pk])[trade.pk] if gap.until]
    fresh = [(since, until, by_stop) for since, until, by_stop in ended if before is None or until > before]
    if not fresh:
        return
    # What was measured once is not measured again when a fill becomes known late.
    measured: list[tuple[Histogram, float]] = [
        (UNCOVERED, (until - max(since, before or since)).total_seconds()) for since, until, _ in fresh
    ]
    since, until, by_stop = fresh[0]
    if before is None and by_stop:
        measured.append((FILL_TO_STOP, (until - since).total_seconds()))
    set_cover_measured(trade.pk, fresh[-1][1])
    observe(*measured)


def gaps_of_trade(trades: list[UUID]) -> dict[UUID, list[Gap]]:
    """Return the times without full cover of each trade: three statements, however many there are.

    Fills have the exchange's time and stops ours, so a time is no truer than the two clocks are equal.
    """
    fills: dict[UUID, list[Growth]] = {}
    for fill in fills_of_trades(trades):
        growth = Growth(at=fill.filled_at, quantity=fill.quantity if fill.entry else -fill.quantity)
        fills.setdefault(fill.trade_id, []).append(growth)
    stops = _stop_lives(trades, last_fills_of_exits(trades))
    return {key: gaps(fills.get(key, []), stops.get(key, [])) for key in trades}


def _stop_lives(requests: list[UUID], executed: dict[int, datetime]) -> dict[UUID, list[StopLife]]:
    """Return when each request's stops were known to stand, from the log of their states."""
    stops = {order.client_order_id: order for order in stops_of(requests)}
    begun: dict[str, AuditEvent] = {}
    over: dict[str, AuditEvent] = {}
    for step in steps_of_orders(stops):
        if step.to_state == OrderState.ACCEPTED and step.from_state in ORDER_UNSETTLED:
            begun[step.entity_id] = step
        elif step.to_state in ORDER_FINAL:
            over[step.entity_id] = step
    lives: dict[UUID, list[StopLife]] = {}
    for name, step in begun.items():
        order, end = stops[name], over.get(name)
        # One that has filled covered its part until then, by whichever clock is later.
        until = max(end.at, executed.get(order.pk, end.at)) if end else None
        life = StopLife(quantity=order.quantity, since=step.at, until=until)
        lives.setdefault(order.request_id, []).append(life)
    return lives
