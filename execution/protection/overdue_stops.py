"""Compares live stops with mark prices and marks the overdue ones in their orders' rows.

The rule is `domain/overdue.py`, and it holds for software stops too (`run_software_stops`). Reconciliation, the
watchdog of stops and the reader of mark prices call `note_marks`. `protect_position` does what follows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import transaction

from execution.domain.bounds import known
from execution.domain.outcomes import PositionReport
from execution.domain.overdue import LiveStop, OverdueRule, Watch, soonest, trigger_level, watch
from execution.domain.states import OrderState
from execution.domain.trading import Side
from execution.models import ExecutionRequest, ExternalPosition, Order
from execution.protection.coverage import publish_protection
from execution.protection.run_software_stops import note_software_stops, software_requests
from execution.risk.policy_store import policy_in_force
from execution.store.orders import update_watch, watched_stops
from execution.store.quarantine import pairs, read_each
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Noted:
    """The result of a reading: requests with an overdue stop, and the time to the next overdue stop.

    Among the requests are those whose software stop was reached.
    """

    overdue: tuple[UUID, ...] = ()
    next_in: timedelta | None = None


def marks_of(positions: Iterable[PositionReport]) -> dict[str, Decimal]:
    """Return the mark prices of a reading of positions, by symbol.

    A price that is not positive is left out.
    """
    return {row.symbol: row.mark_price for row in positions if row.mark_price > 0}


def watched_symbols() -> set[str]:
    """Return the symbols in which a stop of an unfinished trade lives, or a software stop stands."""
    ours = ExecutionRequest.objects.filter(pk__in=software_requests())
    return {*watched_stops().values_list("symbol", flat=True), *ours.values_list("symbol", flat=True)}


def note_marks(marks: Mapping[str, Decimal], *, now: datetime) -> Noted:
    """Compare every live stop with these mark prices.

    It is one statement, and one more for each stop that changes.

    A stop whose symbol is not among them keeps what is known of it; the time of one that has triggered goes on.
    """
    rule = OverdueRule.of(policy_in_force())
    orders = read_each(watched_stops().select_related("request", "request__bracket"))
    watches = list(pairs(orders, lambda order: watch(stop_of(order), marks.get(order.symbol), rule, now=now)))
    for order, found in watches:
        _note(order, found, marks.get(order.symbol), now)
    overdue = [order.request_id for order, found in watches if found.overdue]
    overdue += note_software_stops(marks, now=now)
    return Noted(overdue=_ours_to_close(overdue), next_in=soonest((found for _, found in watches), now))


def _ours_to_close(requests: Iterable[UUID]) -> tuple[UUID, ...]:
    """Leave out external positions that we only protect.

    Health names what their stop does, but closing them is not ours to do.
    """
    found = tuple(dict.fromkeys(requests))
    if not found:
        return ()
    guests = set(ExternalPosition.objects.filter(request_id__in=found).values_list("request_id", flat=True))
    return tuple(request_id for request_id in found if request_id not in guests)


def stop_of(order: Order) -> LiveStop:
    return LiveStop(
        side=Side(order.side),
        level=order.trigger_price,
        tick=order.request.bracket.tick_size,
        triggered=order.state == OrderState.TRIGGERED,
        callback_percent=order.callback_percent,
        best_mark=order.best_mark,
        passed_since=known(order.passed_since),
    )


def _note(order: Order, found: Watch, mark: Decimal | None, now: datetime) -> None:
    overdue_at = (known(order.overdue_at) or now) if found.overdue else None
    columns = {"best_mark": found.best_mark, "passed_since": found.passed_since, "overdue_at": overdue_at}
    changed = {name: value for name, value in columns.items() if getattr(order, name) != value}
    if not changed:
        return
    with transaction.atomic():
        if not update_watch(order, changed) or "overdue_at" not in changed:
            return
        _report(order, found, mark, now)


def _report(order: Order, found: Watch, mark: Decimal | None, now: datetime) -> None:
    """Report once that a stop has become overdue, or is not any more.

    The log, the journal and the position's event show it.
    """
    since, level = found.passed_since, trigger_level(stop_of(order), found.best_mark)
    facts = {"symbol": order.symbol, "level": str(level), "mark": str(mark), "state": order.state}
    if found.overdue:
        since_text = since.isoformat() if since else None
        log.error("stop_overdue", client_order_id=order.client_order_id, since=since_text, **facts)
    else:
        log.warning("stop_not_overdue_any_more", client_order_id=order.client_order_id, **facts)
    trigger = "stop_overdue" if found.overdue else "stop_not_overdue"
    log_step("order", order.client_order_id, to_state=order.state, trigger=trigger, now=now, details=facts)
    publish_protection(order.symbol, order.position_side, now=now)
