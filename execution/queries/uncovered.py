"""Positions that no live stop covers in full at this moment, by our books; few rows, however many trades there were."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from execution.domain.states import ORDER_LIVE, TRADE_OPEN, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest, Order, Trade


def unprotected_trades() -> int:
    """Return how many open trades have no live stop at the exchange for all of it."""
    return _trades().count()


def uncovered_since() -> dict[str, datetime]:
    """Return since when each symbol's position has lacked a stop for all of it; in hedge mode the longer one's."""
    found: dict[str, datetime] = {}
    for symbol, since in (*_of_trades(), *_before_a_trade()):
        found[symbol] = min(since, found.get(symbol, since))
    return found


def _trades() -> "QuerySet[Trade]":
    enough = _live_stops("request").filter(quantity__gte=OuterRef("quantity") - OuterRef("exited_quantity"))
    return Trade.objects.filter(~Exists(enough), state__in=sorted(TRADE_OPEN))


def _of_trades() -> Iterable[tuple[str, datetime]]:
    entry = _known("request").filter(purpose=OrderPurpose.ENTRY)
    # The stop that stood last, else the entry that none has followed; a stop that was refused never stood.
    stood = _known("request").filter(Q(purpose=OrderPurpose.STOP) & ~Q(algo_id="") | Q(purpose=OrderPurpose.ENTRY))
    # Where a stop stands and is too small, the entry has grown.
    grown = When(Exists(_live_stops("request")), then=_moment(entry))
    since = Coalesce(Case(grown, default=_moment(stood)), F("entry_at"))
    return _trades().annotate(since=since).values_list("symbol", "since")


def _before_a_trade() -> Iterable[tuple[str, datetime]]:
    """Return entries that have filled, at least in part, and whose fills are not booked yet."""
    filled = _known("pk").filter(purpose=OrderPurpose.ENTRY, executed_quantity__gt=0)
    open_requests = ExecutionRequest.objects.filter(
        Exists(filled), ~Exists(_live_stops("pk")), trade=None, state__in=[RequestState.ACCEPTED, RequestState.FILLED]
    )
    return open_requests.annotate(since=_moment(filled)).values_list("symbol", "since")


def _live_stops(key: str) -> "QuerySet[Order]":
    return Order.objects.filter(request=OuterRef(key), purpose=OrderPurpose.STOP, state__in=sorted(ORDER_LIVE))


def _known(key: str) -> "QuerySet[Order]":
    return Order.objects.filter(request=OuterRef(key), last_evidence_at__isnull=False)


def _moment(orders: "QuerySet[Order]") -> Subquery:
    return Subquery(orders.order_by("-purpose", "-id").values("last_evidence_at")[:1])
