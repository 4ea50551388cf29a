"""Measures how long a position had less cover than it was large, once for each such time, when it has ended."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from execution.domain.metrics import FILL_TO_STOP, UNCOVERED, Histogram
from execution.domain.states import ORDER_FINAL, ORDER_UNSETTLED, OrderState
from execution.domain.trading import OrderPurpose
from execution.domain.unprotected_time import Gap, Growth, StopLife, gaps
from execution.models import AuditEvent, ExecutionRequest, Fill, Order, Trade
from execution.store.levels import without_stop
from execution.store.metrics import observe


def measure_unprotected_of(trade_id: UUID) -> None:
    """Measure as `measure_unprotected` does, in a transaction of its own; nothing while there is no trade."""
    with transaction.atomic():
        # The lock of all bookings of a trade.
        ExecutionRequest.objects.select_for_update().filter(pk=trade_id).first()
        if trade := Trade.objects.filter(pk=trade_id).first():
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
    Trade.objects.filter(pk=trade.pk).update(cover_measured_until=fresh[-1][1])
    observe(*measured)


def gaps_of_trade(trades: list[UUID]) -> dict[UUID, list[Gap]]:
    """Return the times without full cover of each trade: three statements, however many there are.

    Fills have the exchange's time and stops ours, so a time is no truer than the two clocks are equal.
    """
    fills: dict[UUID, list[Growth]] = {}
    for fill in Fill.objects.filter(trade__in=trades):
        growth = Growth(at=fill.filled_at, quantity=fill.quantity if fill.entry else -fill.quantity)
        fills.setdefault(fill.trade_id, []).append(growth)
    stops = _stop_lives(trades, _last_fills(trades))
    return {key: gaps(fills.get(key, []), stops.get(key, [])) for key in trades}


def _last_fills(trades: list[UUID]) -> dict[int, datetime]:
    """Return when each exit has executed last."""
    exits = Fill.objects.filter(trade__in=trades, entry=False, order__isnull=False)
    return dict(exits.values_list("order").annotate(Max("filled_at")))


def _stop_lives(requests: list[UUID], executed: dict[int, datetime]) -> dict[UUID, list[StopLife]]:
    """Return when each request's stops were known to stand, from the log of their states."""
    rows = Order.objects.filter(request_id__in=requests, purpose=OrderPurpose.STOP).order_by("id")
    stops = {order.client_order_id: order for order in rows}
    begun: dict[str, AuditEvent] = {}
    over: dict[str, AuditEvent] = {}
    steps = AuditEvent.objects.filter(entity="order", entity_id__in=list(stops)).order_by("id")
    for step in steps:
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
