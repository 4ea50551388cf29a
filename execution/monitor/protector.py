"""Looks after the stops alone, in a worker of its own: when order workers and monitor stand still, cover does not.

It works from the books, every two seconds and without a reading of the exchange, and leaves all else to the monitor.
Only when the monitor is silent does it read the exchange too: in bulk, and to settle what positions and stops are.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db.models import DecimalField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from execution.domain.bounds import LATEST
from execution.domain.lots import closing_parts
from execution.domain.money import ZERO
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.states import ORDER_LIVE, TRADE_OPEN, RequestState
from execution.domain.trading import OrderPurpose, PositionSide
from execution.models import BracketLeg, ExecutionRequest, Heartbeat, Order, Trade
from execution.monitor.actions import Apply, Cover, ExpireEntry, LookUpOrder
from execution.monitor.cycle import swept_lately
from execution.monitor.observe import observe_exchange, read_books
from execution.monitor.reconcile import Patience, reconcile
from execution.monitor.repair import Tools
from execution.monitor.work_off import repair_all, settle_all
from execution.pipeline.bracket_rows import FORGOTTEN_AFTER_READINGS
from execution.pipeline.busy import met_since
from execution.pipeline.coverage import lot_of
from execution.pipeline.heartbeats import beat
from execution.pipeline.quarantine import pairs, read_each

log = structlog.get_logger(__name__)
PROTECTOR = "protector"
# The chain places the stop within a fraction of this; it is not to be overtaken while it does.
GRACE = timedelta(seconds=1)
# What settles whether there is a position, and whether its stop stands. The rest is the monitor's.
SETTLES = (Apply, LookUpOrder, ExpireEntry)
# When the exchange was last read in the monitor's place.
READING, BETWEEN_READINGS = "protector_reading", timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What one run did: positions that it went to, and those that it could not finish."""

    went_to: int
    failed: int
    read_exchange: bool


def ensure_cover(tools: Tools, *, patience: Patience, monitor_silent_after: timedelta) -> Guarded:
    """Give every position that the books know without a stop its stop; when the monitor is silent, ask the exchange."""
    began_at = timezone.now()
    naked = without_cover(before=tools.clock() - GRACE)
    if naked:
        log.warning("protector_covers", requests=[str(request_id) for request_id in naked])
    failed = repair_all([Cover(request_id=pk, missing=OrderPurpose.STOP) for pk in naked], tools)
    silent = not swept_lately(tools.clock(), within=monitor_silent_after)
    done = _stand_in(tools, patience) if silent and _may_read(tools.clock()) else _StoodIn()
    went_to, failed = len(naked) + done.went_to, failed + done.failed
    details: dict[str, object] = {"went_to": went_to, "failed": failed, "stands_in": silent, "error": done.error}
    details["held"] = met_since(began_at, PROTECTOR)
    beat(PROTECTOR, now=tools.clock(), healthy=not (failed or done.error), details=details)
    return Guarded(went_to=went_to, failed=failed, read_exchange=done.read_exchange)


def covered_lately(now: datetime, *, within: timedelta) -> bool:
    """Whether a run has ended within this time; none has when it ended in the future."""
    last = Heartbeat.objects.filter(part=PROTECTOR).values_list("at", flat=True).first()
    return last is not None and timedelta(0) <= now - last < within


def without_cover(*, before: datetime) -> list[UUID]:
    """Return the positions that have lacked a confirmed stop since then, by our books: three queries."""
    moved = Q(moved_at__lte=before) | Q(moved_at__gte=LATEST)
    filled = ExecutionRequest.objects.filter(moved, state=RequestState.FILLED)
    partly = ExecutionRequest.objects.filter(state=RequestState.ACCEPTED, trade=None)
    entries = Order.objects.filter(request=OuterRef("pk"), purpose=OrderPurpose.ENTRY, executed_quantity__gt=0)
    seen = Q(last_evidence_at__lte=before) | Q(last_evidence_at__gte=LATEST)
    partly = partly.filter(Exists(entries.filter(seen)), ~Exists(_stops("pk")))
    planned = BracketLeg.objects.filter(bracket_id=OuterRef("pk"), purpose=OrderPurpose.STOP)
    # A time that cannot be is not waited for.
    changed = Q(updated_at__lte=before) | Q(updated_at__gte=LATEST)
    trades = Trade.objects.filter(Exists(planned), changed, state__in=sorted(TRADE_OPEN))
    naked = trades.annotate(left=F("quantity") - F("exited_quantity"), cover=_cover()).filter(left__gt=F("cover"))
    reachable = [
        trade.pk for trade, can in pairs(read_each(naked.select_related("request__bracket")), _can_cover) if can
    ]
    found = [*_ids(filled), *_ids(partly), *reachable]
    return list(dict.fromkeys(found))


def _cover() -> Coalesce:
    """Return what a trade's stops would close together."""
    remaining = _stops("pk").order_by().values("request_id").annotate(all=Sum(F("quantity") - F("executed_quantity")))
    return Coalesce(Subquery(remaining.values("all")), ZERO, output_field=DecimalField())


def _can_cover(trade: Any) -> bool:
    """Whether orders can cover more than stops do now: less than a step in hedge mode is out of reach."""
    trims = trade.position_side == PositionSide.BOTH
    parts = closing_parts(trade.left, lot_of(trade.request.bracket), trims=trims)
    return bool(sum(parts, ZERO) > trade.cover)


def _stops(key: str) -> "QuerySet[Order]":
    return Order.objects.filter(
        request_id=OuterRef(key),
        purpose=OrderPurpose.STOP,
        state__in=sorted(ORDER_LIVE),
        missing_readings__lt=FORGOTTEN_AFTER_READINGS,
    )


def _ids(rows: "QuerySet[Any]") -> list[UUID]:
    return list(rows.values_list("pk", flat=True))


@dataclass(frozen=True, kw_only=True)
class _StoodIn:
    """What was done in the monitor's place."""

    went_to: int = 0
    failed: int = 0
    read_exchange: bool = False
    error: str = ""


def _may_read(now: datetime) -> bool:
    """Whether the last reading is long enough ago: each takes 85 of a weight of 2,400 a minute, before all others."""
    last = Heartbeat.objects.filter(part=READING).first()
    return last is None or not timedelta(0) <= now - last.at < BETWEEN_READINGS


def _stand_in(tools: Tools, patience: Patience) -> _StoodIn:
    """Compare as the monitor does, settle what orders are, and place the stops that are missing then."""
    try:
        seen = observe_exchange(tools.exchange, now=tools.clock())
    except ExchangeUnavailableError as error:
        return _StoodIn(error=str(error))
    beat(READING, now=seen.begun_at, healthy=True, details={})
    books = read_books(since=seen.begun_at)
    compared = reconcile(books, seen, patience=patience, now=tools.clock())
    _, failed = settle_all([action for action in compared if isinstance(action, SETTLES)], books, tools)
    compared = reconcile(read_books(since=seen.begun_at), seen, patience=patience, now=tools.clock())
    covers = [action for action in compared if isinstance(action, Cover) and action.missing is OrderPurpose.STOP]
    return _StoodIn(went_to=len(covers), failed=failed + repair_all(covers, tools), read_exchange=True)
