"""Looks after the stops alone, in a worker of its own: when order workers and monitor stand still, cover does not.

It works from the books, every two seconds and without a reading of the exchange, and leaves all else to the monitor.
Only when the monitor is silent does it read the exchange too: in bulk, and to settle what positions and stops are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db.models import Exists, F, OuterRef, QuerySet

from execution.domain.ports import ExchangeUnavailableError
from execution.domain.states import ORDER_LIVE, TRADE_OPEN, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import BracketLeg, ExecutionRequest, Order, Trade
from execution.monitor.cycle import swept_lately
from execution.monitor.observe import observe_exchange, read_books
from execution.monitor.reconcile import Apply, Cover, LookUpOrder, Patience, reconcile
from execution.monitor.repair import Tools
from execution.monitor.work_off import repair_all, settle_all
from execution.pipeline.bracket_rows import FORGOTTEN_AFTER_READINGS
from execution.pipeline.heartbeats import beat

log = structlog.get_logger(__name__)
PROTECTOR = "protector"
# The chain places the stop within a fraction of this; it is not to be overtaken while it does.
GRACE = timedelta(seconds=1)
# What settles whether there is a position, and whether its stop stands. The rest is the monitor's.
SETTLES = (Apply, LookUpOrder)


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What one run did: positions that it went to, and those that it could not finish."""

    went_to: int
    failed: int
    read_exchange: bool


def ensure_cover(tools: Tools, *, patience: Patience, monitor_silent_after: timedelta) -> Guarded:
    """Give every position that the books know without a stop its stop; when the monitor is silent, ask the exchange."""
    naked = without_cover(before=tools.clock() - GRACE)
    if naked:
        log.warning("protector_covers", requests=[str(request_id) for request_id in naked])
    wanted = [Cover(request_id=request_id, missing=OrderPurpose.STOP) for request_id in naked]
    failed, error = repair_all(wanted, tools), ""
    silent = not swept_lately(tools.clock(), within=monitor_silent_after)
    actions: Sequence[Cover] = ()
    if silent:
        try:
            actions, unsettled = _stand_in(tools, patience)
            failed += unsettled + repair_all(actions, tools)
        except ExchangeUnavailableError as unavailable:
            error = str(unavailable)
    went_to = len(naked) + len(actions)
    details = {"went_to": went_to, "failed": failed, "stands_in": silent, "error": error}
    beat(PROTECTOR, now=tools.clock(), healthy=not (failed or error), details=details)
    return Guarded(went_to=went_to, failed=failed, read_exchange=silent and not error)


def without_cover(*, before: datetime) -> list[UUID]:
    """Return the positions that have lacked a confirmed stop since then, by our books: three queries."""
    filled = ExecutionRequest.objects.filter(state=RequestState.FILLED, moved_at__lte=before)
    partly = ExecutionRequest.objects.filter(state=RequestState.ACCEPTED, trade=None)
    entries = Order.objects.filter(request=OuterRef("pk"), purpose=OrderPurpose.ENTRY, executed_quantity__gt=0)
    partly = partly.filter(Exists(entries.filter(last_evidence_at__lte=before)), ~Exists(_stops("pk")))
    large_enough = _stops("pk").filter(quantity__gte=OuterRef("quantity") - OuterRef("exited_quantity"))
    planned = BracketLeg.objects.filter(bracket_id=OuterRef("pk"), purpose=OrderPurpose.STOP)
    trades = Trade.objects.filter(Exists(planned), ~Exists(large_enough), state__in=sorted(TRADE_OPEN))
    trades = trades.filter(updated_at__lte=before, quantity__gt=F("exited_quantity"))
    found = [*_ids(filled), *_ids(partly), *_ids(trades)]
    return list(dict.fromkeys(found))


def _stops(key: str) -> "QuerySet[Order]":
    return Order.objects.filter(
        request_id=OuterRef(key),
        purpose=OrderPurpose.STOP,
        state__in=sorted(ORDER_LIVE),
        missing_readings__lt=FORGOTTEN_AFTER_READINGS,
    )


def _ids(rows: "QuerySet[Any]") -> list[UUID]:
    return list(rows.values_list("pk", flat=True))


def _stand_in(tools: Tools, patience: Patience) -> tuple[list[Cover], int]:
    """Compare as the monitor does and settle what orders are; return what wants a stop then, and what failed."""
    seen = observe_exchange(tools.exchange, now=tools.clock())
    books = read_books(since=seen.begun_at)
    compared = reconcile(books, seen, patience=patience, now=tools.clock())
    _, failed = settle_all([action for action in compared if isinstance(action, SETTLES)], books, tools)
    compared = reconcile(read_books(since=seen.begun_at), seen, patience=patience, now=tools.clock())
    wanted = [action for action in compared if isinstance(action, Cover)]
    return [action for action in wanted if action.missing is OrderPurpose.STOP], failed
