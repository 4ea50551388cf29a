"""The service's own figures, counted from its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, Count, Exists, F, Min, OuterRef, Q, QuerySet, Subquery, Sum, UUIDField
from django.db.models.functions import Cast, Coalesce

from execution.domain.states import ORDER_LIVE, TRADE_OPEN, OrderState, RequestState, RequestTrigger
from execution.domain.trading import OrderPurpose
from execution.models import DeadLetter, ExecutionRequest, InboxEvent, Order, OutboxEvent, StreamLoss, Trade, Transition

PERCENT = 100
# Averages look at the newest rows only: they tell how it goes now, and their cost does not grow with the books.
RECENT = 1000
# The exchange had the order, whatever became of it; the others never reached it, or nobody knows yet.
REACHED = sorted(ORDER_LIVE | {OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED})
FAILED = sorted({RequestState.REFUSED, RequestState.REJECTED, RequestState.EXPIRED, RequestState.ABANDONED})


@dataclass(frozen=True, kw_only=True)
class ExecutionFigures:
    """Entries that the exchange accepted, entries with a fill, decisions that never reached it, and how it went."""

    orders_placed: int
    orders_filled: int
    orders_failed: int
    average_latency_ms: float
    average_slippage_pct: float

    @property
    def success_rate_pct(self) -> float:
        """Placed, of those that were placed or failed."""
        ended = self.orders_placed + self.orders_failed
        return self.orders_placed / ended * PERCENT if ended else 0.0


@dataclass(frozen=True, kw_only=True)
class BookCounts:
    """How many rows stand in which state."""

    requests: Mapping[str, int]
    orders: Mapping[tuple[str, str], int]
    trades: Mapping[str, int]
    inbox: Mapping[tuple[str, str], int]
    duplicates: int
    dead_letters: int
    lost_entries: Mapping[str, int]
    losses: Mapping[str, int]
    outbox_unsent: int
    outbox_oldest: datetime | None
    unprotected: int
    # By symbol: since when an open trade has had no live stop, by the last evidence about its stop or its entry.
    uncovered_since: Mapping[str, datetime]


def execution_figures() -> ExecutionFigures:
    entries = Order.objects.filter(purpose=OrderPurpose.ENTRY).aggregate(
        placed=Count("pk", filter=Q(state__in=REACHED)), filled=Count("pk", filter=Q(executed_quantity__gt=0))
    )
    return ExecutionFigures(
        orders_placed=entries["placed"],
        orders_filled=entries["filled"],
        orders_failed=ExecutionRequest.objects.filter(state__in=FAILED).count(),
        average_latency_ms=_average_latency() / timedelta(milliseconds=1),
        average_slippage_pct=_average_slippage_pct(),
    )


def book_counts() -> BookCounts:
    unsent = OutboxEvent.objects.filter(sent_at__isnull=True).aggregate(count=Count("pk"), oldest=Min("created_at"))
    inbox = list(InboxEvent.objects.values_list("event_type", "outcome").annotate(Count("pk"), Sum("duplicates")))
    orders = Order.objects.values_list("purpose", "state").annotate(Count("pk"))
    losses = list(StreamLoss.objects.values_list("event_type").annotate(Count("pk"), Sum("entries")))
    return BookCounts(
        requests=dict(ExecutionRequest.objects.values_list("state").annotate(Count("pk"))),
        orders={(purpose, state): count for purpose, state, count in orders},
        trades=dict(Trade.objects.values_list("state").annotate(Count("pk"))),
        inbox={(event_type, outcome): count for event_type, outcome, count, _ in inbox},
        duplicates=sum(duplicates for *_, duplicates in inbox),
        dead_letters=DeadLetter.objects.count(),
        lost_entries={name: entries or 0 for name, _, entries in losses},
        losses={name: number for name, number, _ in losses},
        outbox_unsent=unsent["count"],
        outbox_oldest=unsent["oldest"],
        unprotected=unprotected_trades(),
        uncovered_since=uncovered_since(),
    )


def unprotected_trades() -> int:
    """Return how many open trades have no live stop at the exchange."""
    return _uncovered().count()


def uncovered_since() -> dict[str, datetime]:
    """Return since when each symbol's open trade has had no live stop; in hedge mode the longer one's."""
    # The stop that stood last, else the entry that none has followed; a stop that was refused never stood.
    stood = Q(purpose=OrderPurpose.STOP) & ~Q(algo_id="")
    known = Order.objects.filter(stood | Q(purpose=OrderPurpose.ENTRY), request=OuterRef("request"))
    newest = known.filter(last_evidence_at__isnull=False).order_by("-purpose", "-id").values("last_evidence_at")[:1]
    rows = _uncovered().annotate(since=Coalesce(Subquery(newest), F("entry_at"))).order_by("-since")
    return dict(rows.values_list("symbol", "since"))


def _uncovered() -> "QuerySet[Trade]":
    stops = Order.objects.filter(request=OuterRef("request"), purpose=OrderPurpose.STOP, state__in=sorted(ORDER_LIVE))
    return Trade.objects.filter(~Exists(stops), state__in=sorted(TRADE_OPEN))


def _average_latency() -> timedelta:
    """Return the average time from a decision's arrival to the exchange's acceptance of its entry."""
    received = ExecutionRequest.objects.filter(pk=Cast(OuterRef("entity_id"), UUIDField())).values("received_at")
    accepted = Transition.objects.filter(entity="request", trigger=RequestTrigger.EXCHANGE_ACCEPTED)
    recent = accepted.annotate(took=F("at") - Subquery(received)).order_by("-id")[:RECENT]
    average: timedelta | None = recent.aggregate(average=Avg("took"))["average"]
    return average or timedelta(0)


def _average_slippage_pct() -> float:
    recent = Trade.objects.order_by("-entry_at", "-id")[:RECENT]
    average = recent.aggregate(average=Avg("slippage_fraction"))["average"]
    return float(average * PERCENT) if average is not None else 0.0
