"""Defines which positions we answer for and what protects them, from positions and trade rows.

A position may have no trade yet, because its fills are not booked, and it may be larger than its trade. What others
hold and we do not protect is not ours to answer for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from execution.domain.brackets import UNBOUNDED
from execution.domain.coverage import Coverage, PositionCover, is_covered
from execution.domain.lots import LotRule, out_of_reach
from execution.domain.money import ZERO
from execution.domain.overdue import sentence
from execution.domain.states import ORDER_LIVE
from execution.domain.trading import Direction, OrderPurpose, PositionSide
from execution.models import Bracket, ExecutionRequest, ExternalPosition, Order, Position, Trade
from execution.outbox import payloads
from execution.protection.bracket_store import (
    executed_of,
    exit_orders,
    is_overdue,
    is_relied_on,
    overdue_among,
    stop_cover,
)
from execution.protection.software_stops import Standing, by_software, means_of_protection, of_side, standing_stops
from execution.store.atomic_write import emit
from execution.store.brackets import brackets_by_request
from execution.store.levels import NO_LEVELS, levels_of, without_stop
from execution.store.orders import MAY_HOLD, entries_by_request, live_legs_of_positions
from execution.store.trades import open_trades_by_id

Side = tuple[str, str]


@dataclass(kw_only=True)
class _Owned:
    """One symbol and side in our books: requests with their entries and exits."""

    direction: Direction
    hedged: bool
    requests: list[UUID] = field(default_factory=list)
    quantity: Decimal = ZERO
    covered: Decimal = ZERO
    changed_at: datetime | None = None
    since: list[datetime] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    by_software: Decimal = ZERO
    software: list[Standing] = field(default_factory=list)
    stop_required: bool = False


def coverage(now: datetime | None = None) -> list[Coverage]:
    """Return the positions that we answer for, in nine statements, or fourteen beside software stops.

    `now`: by whose ages software stops are judged; the clock's when it is not given.
    """
    owned = _owned(now or timezone.now())
    shown = {(row.symbol, row.position_side): row for row in Position.objects.all()} if owned else {}
    found = [_coverage(side, each, shown.get(side)) for side, each in sorted(owned.items())]
    held = [each for each in found if each.quantity > 0]
    return _with_reach(held, owned)


def uncovered_positions(now: datetime | None = None) -> list[Coverage]:
    """Return the positions with a part that no live stop or software stop protects, or an overdue stop.

    A position whose plan has no stop is not among them.
    """
    return [each for each in coverage(now) if each.is_unprotected]


def live_exits() -> dict[Side, list[Order]]:
    """Return the resting exits of the positions that we answer for, by symbol and side.

    Exits are stops, targets and trailing stops.
    """
    exits: dict[Side, list[Order]] = {}
    for order in live_legs_of_positions():
        exits.setdefault((order.symbol, order.position_side), []).append(order)
    return exits


def has_tp_sl(quantity: Decimal, exits: Iterable[Order]) -> bool:
    """Return whether live stops cover a position of this size and a target rests beside them."""
    live = list(exits)
    return is_protected(quantity, live) and any(
        order.purpose == OrderPurpose.TARGET and is_relied_on(order) for order in live
    )


def is_protected(quantity: Decimal, exits: Iterable[Order]) -> bool:
    """Return whether live stops that are not overdue cover a position of this size."""
    relied_on = [order for order in exits if order.purpose == OrderPurpose.STOP and is_relied_on(order)]
    return is_covered(quantity, (order.quantity - order.executed_quantity for order in relied_on))


def overdue_of(exits: Iterable[Order]) -> list[str]:
    """Return a sentence for each overdue stop or trailing stop among these."""
    return [sentence(o.client_order_id, o.trigger_price, o.passed_since) for o in overdue_among(exits)]


def cover_of(quantity: Decimal, exits: Sequence[Order], standing: Iterable[Standing]) -> PositionCover:
    """Return how a position of this size is protected by its live exits and software stops."""
    return PositionCover(
        has_tp_sl=has_tp_sl(quantity, exits),
        protected=is_protected(quantity, exits),
        protected_by=means_of_protection(quantity, exits, standing),
        overdue=tuple(overdue_of(exits)),
    )


def publish_protection(symbol: str, position_side: str, *, now: datetime) -> None:
    """Emit `position.updated` of a position whose protection has changed.

    Call it in the transaction of the change.
    """
    _publish(Position.objects.filter(symbol=symbol, position_side=position_side), now)


def publish_levels(trade_id: UUID, *, now: datetime) -> None:
    """Emit `position.updated` of a position whose stop or targets move.

    Call it in the transaction of the move.
    """
    _publish(Position.objects.filter(trade_id=trade_id), now)


def _publish(rows: "QuerySet[Position]", now: datetime) -> None:
    row = rows.select_related("trade__request").first()
    if row is None or row.trade is None:
        # No reading has shown it yet, or it is not ours. The next reading emits its event.
        return
    side = (row.symbol, row.position_side)
    exits, standing = live_exits().get(side, []), of_side(standing_stops(now), side)
    body = payloads.position_updated(
        row,
        leverage=row.trade.leverage,
        cover=cover_of(row.quantity, exits, standing),
        levels=levels_of([row.trade.pk]).get(row.trade.pk, NO_LEVELS),
        now=now,
    )
    emit(row.trade.pk, [(payloads.POSITION_UPDATED, body)], trace_id=row.trade.request.trace_id, now=now)


def _owned(now: datetime) -> dict[Side, _Owned]:
    trades = open_trades_by_id()
    requests = [trade.request for trade in trades.values()]
    requests += ExecutionRequest.objects.filter(state__in=MAY_HOLD, trade=None)
    guarded = ExternalPosition.objects.filter(request__isnull=False).select_related("request")
    requests += [external.request for external in guarded if external.request]
    keys = [request.pk for request in requests]
    entries = entries_by_request(keys)
    exits = exit_orders(keys)
    standing = standing_stops(now)
    unplanned = without_stop(keys)
    owned: dict[Side, _Owned] = {}
    for request in requests:
        entry, trade = entries.get(request.pk), trades.get(request.pk)
        if trade or entry:
            _add(owned, request, trade, entry, exits.get(request.pk, []))
            owned[request.symbol, request.position_side].stop_required |= request.pk not in unplanned
        software = standing.get(request.pk)
        if software and (side := owned.get(software.side)):
            side.software.append(software)
            side.by_software += by_software(software, exits.get(request.pk, []))
    return owned


def _add(
    owned: dict[Side, _Owned],
    request: ExecutionRequest,
    trade: Trade | None,
    entry: Order | None,
    exits: Sequence[Order],
) -> None:
    """Add one request's part of a position to what is known of its side."""
    key = (request.symbol, request.position_side)
    hedged = request.position_side != PositionSide.BOTH
    each = owned.setdefault(key, _Owned(direction=Direction(request.direction), hedged=hedged))
    each.requests.append(request.pk)
    executed = sum((executed_of(order) for order in exits), ZERO)
    filled = entry.executed_quantity if entry else ZERO
    if trade:
        unbooked = executed - sum((getattr(order, "booked", ZERO) for order in exits), ZERO)
        left = max(trade.quantity, filled) - trade.exited_quantity - unbooked
    else:
        left = filled - executed
    each.quantity += max(ZERO, left)
    each.covered += stop_cover(exits)
    each.overdue += overdue_of(exits)
    moments = [order.last_evidence_at for order in (*exits, *([entry] if entry else [])) if order.last_evidence_at]
    moments += [trade.updated_at] if trade else []
    each.changed_at = max([*moments, *([each.changed_at] if each.changed_at else [])], default=None)
    if since := _uncovered_since(trade, entry, exits):
        each.since.append(since)


def _uncovered_since(trade: Trade | None, entry: Order | None, exits: Sequence[Order]) -> datetime | None:
    """Return since when a stop is missing, None when none is.

    It is the time of the last stop that stood, or of the entry's last growth.
    """
    stops = [order for order in exits if order.purpose == OrderPurpose.STOP and order.last_evidence_at]
    # A stop that was refused never stood.
    passed = [order.passed_since for order in exits if is_overdue(order) and order.passed_since]
    if passed:
        return min(passed)
    stood = [order.last_evidence_at for order in stops if order.algo_id]
    known = entry.last_evidence_at if entry else None
    if stood and not any(order.state in ORDER_LIVE for order in stops):
        return stood[-1]
    return known or (trade.entry_at if trade else None)


def _coverage(side: Side, owned: _Owned, row: Position | None) -> Coverage:
    """Compare the books with the exchange's row and take the larger quantity.

    A row older than the books does not count.
    """
    quantity, since = owned.quantity, min(owned.since, default=None)
    newer = row is not None and (owned.changed_at is None or row.observed_at >= owned.changed_at)
    if row and newer and row.direction == owned.direction and row.quantity > quantity:
        # What the books do not know of was seen with this row first.
        since = since if owned.covered < quantity else row.observed_at
        quantity = row.quantity
    return Coverage(
        symbol=side[0],
        position_side=side[1],
        direction=owned.direction,
        quantity=quantity,
        covered=owned.covered,
        since=since if owned.covered < quantity or owned.overdue else None,
        overdue=tuple(owned.overdue),
        by_software=owned.by_software,
        software_since=min((each.stop.since for each in owned.software), default=None),
        flaws=tuple(each.flaw for each in owned.software if each.flaw),
        stop_required=owned.stop_required,
    )


def _with_reach(found: Sequence[Coverage], owned: dict[Side, _Owned]) -> list[Coverage]:
    """Add to uncovered positions what of them lies below the present step."""
    keys = {(each.symbol, each.position_side): owned[each.symbol, each.position_side] for each in found}
    wanted = [pk for each in found if each.uncovered > 0 for pk in keys[each.symbol, each.position_side].requests]
    plans = brackets_by_request(wanted) if wanted else {}
    return [_reached(each, keys[each.symbol, each.position_side], plans) for each in found]


def _reached(found: Coverage, owned: _Owned, plans: dict[UUID, Bracket]) -> Coverage:
    plan = next((plans[pk] for pk in owned.requests if pk in plans), None)
    if plan is None or found.uncovered <= 0:
        return found
    lot = lot_of(plan)
    left = out_of_reach(found.quantity, lot, trims=not owned.hedged)
    return replace(found, out_of_reach=left, step=lot.step)


def lot_of(plan: Bracket) -> LotRule:
    """Return the lot that a plan's orders have to keep."""
    maximum = plan.maximum_quantity or UNBOUNDED
    return LotRule(step=plan.quantity_step, minimum=plan.minimum_quantity, maximum=maximum)


def unprotected_positions() -> int:
    """Return how many of our positions have neither live stops nor software stops for all of it."""
    return len(uncovered_positions())


def uncovered_since(found: Iterable[Coverage] | None = None) -> dict[str, datetime]:
    """Return since when each symbol's position has lacked a stop for all of it.

    In hedge mode it is the longer one's time.
    """
    since: dict[str, datetime] = {}
    for each in uncovered_positions() if found is None else found:
        if each.since:
            since[each.symbol] = min(each.since, since.get(each.symbol, each.since))
    return since
