"""The service's own figures, counted from its rows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, Count, F, Min, OuterRef, Q, Subquery, Sum, UUIDField
from django.db.models.functions import Cast

from execution.domain.software_stop import ProtectedBy
from execution.domain.states import ORDER_LIVE, OrderState, RequestState, RequestTrigger
from execution.domain.trading import OrderPurpose, Source
from execution.models import (
    AuditEvent,
    DeadLetter,
    ExecutionRequest,
    InboxEvent,
    Order,
    OutboxEvent,
    StreamLoss,
    Trade,
    Webhook,
)
from execution.protection.coverage import coverage, uncovered_since
from execution.queries.kept import kept

PERCENT = 100
# Averages look at the newest rows only: they show how it goes now, and their cost does not grow with the books.
RECENT = 1000
# The exchange had the order, whatever became of it; the others never reached it, or that is not known yet.
REACHED = sorted(ORDER_LIVE | {OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED})
FAILED = sorted(
    {
        RequestState.DENIED,
        RequestState.REJECTED,
        RequestState.EXPIRED,
        RequestState.NOT_ACCEPTED,
        RequestState.WRITTEN_OFF,
    }
)


@dataclass(frozen=True, kw_only=True)
class ExecutionFigures:
    """Accepted entries, entries with a fill, decisions that never reached the exchange, and averages."""

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
class TableCounts:
    """Row counts by state, for which whole tables are read."""

    requests: Mapping[str, int]
    orders: Mapping[tuple[str, str], int]
    trades: Mapping[str, int]
    inbox: Mapping[tuple[str, str], int]
    duplicates: int
    dead_letters: int
    # By webhook and outcome: accepted, repeated or refused.
    alerts: Mapping[tuple[str, str], int]


@dataclass(frozen=True, kw_only=True)
class BookCounts(TableCounts):
    """Row counts, with what is lost, waits to be sent, or has no live stop."""

    lost_entries: Mapping[str, int]
    losses: Mapping[str, int]
    outbox_unsent: int
    outbox_oldest: datetime | None
    unprotected: int
    # Positions by what protects them: venue, software or none.
    protected_by: Mapping[str, int]
    # Live stops and trailing stops whose price was passed without a fill.
    overdue_stops: int
    # By symbol: since when a position has had no live stop for all of it.
    uncovered_since: Mapping[str, datetime]


def execution_figures() -> ExecutionFigures:
    placed, filled, failed = kept("entry_counts", _entry_counts)
    return ExecutionFigures(
        orders_placed=placed,
        orders_filled=filled,
        orders_failed=failed,
        average_latency_ms=_average_latency() / timedelta(milliseconds=1),
        average_slippage_pct=_average_slippage_pct(),
    )


def _entry_counts() -> tuple[int, int, int]:
    """Return how many entries were placed, how many have a fill, and how many decisions have failed."""
    # What stands in for the entry of an external position was never placed.
    sent = Order.objects.filter(purpose=OrderPurpose.ENTRY).exclude(request__source=Source.EXTERNAL)
    entries = sent.aggregate(
        placed=Count("pk", filter=Q(state__in=REACHED)), filled=Count("pk", filter=Q(executed_quantity__gt=0))
    )
    return entries["placed"], entries["filled"], ExecutionRequest.objects.filter(state__in=FAILED).count()


def book_counts() -> BookCounts:
    """Return the counts.

    Those over whole tables are kept for as long as they are dear. What alarms is always fresh.
    """
    unsent = OutboxEvent.objects.filter(sent_at__isnull=True).aggregate(count=Count("pk"), oldest=Min("created_at"))
    tables = kept("table_counts", _table_counts)
    covered = coverage()
    uncovered = [each for each in covered if each.is_unprotected]
    means = Counter(each.protected_by.value for each in covered)
    losses = list(StreamLoss.objects.values_list("event_type").annotate(Count("pk"), Sum("entries")))
    return BookCounts(
        requests=tables.requests,
        orders=tables.orders,
        trades=tables.trades,
        inbox=tables.inbox,
        duplicates=tables.duplicates,
        dead_letters=tables.dead_letters,
        alerts=tables.alerts,
        lost_entries={name: entries or 0 for name, _, entries in losses},
        losses={name: number for name, number, _ in losses},
        outbox_unsent=unsent["count"],
        outbox_oldest=unsent["oldest"],
        unprotected=len(uncovered),
        protected_by={each.value: means[each.value] for each in ProtectedBy},
        overdue_stops=sum(len(each.overdue) for each in uncovered),
        uncovered_since=uncovered_since(uncovered),
    )


def _table_counts() -> TableCounts:
    inbox = list(InboxEvent.objects.values_list("event_type", "outcome").annotate(Count("pk"), Sum("duplicates")))
    orders = Order.objects.values_list("purpose", "state").annotate(Count("pk"))
    return TableCounts(
        requests=dict(ExecutionRequest.objects.values_list("state").annotate(Count("pk"))),
        orders={(purpose, state): count for purpose, state, count in orders},
        trades=dict(Trade.objects.values_list("state").annotate(Count("pk"))),
        inbox={(event_type, outcome): count for event_type, outcome, count, _ in inbox},
        duplicates=sum(duplicates for *_, duplicates in inbox),
        dead_letters=DeadLetter.objects.count(),
        alerts=_alerts(),
    )


def _alerts() -> dict[tuple[str, str], int]:
    """Return how many alerts came, by webhook and outcome. Webhooks of one name follow each other."""
    found: Counter[tuple[str, str]] = Counter()
    outcomes = ("accepted", "repeated", "refused")
    for name, *numbers in Webhook.objects.values_list("name", *outcomes):
        for outcome, number in zip(outcomes, numbers, strict=True):
            found[(name, outcome)] += number
    return dict(found)


def _average_latency() -> timedelta:
    """Return the average time from a decision's arrival to the exchange's acceptance of its entry."""
    received = ExecutionRequest.objects.filter(pk=Cast(OuterRef("entity_id"), UUIDField())).values("received_at")
    accepted = AuditEvent.objects.filter(entity="request", trigger=RequestTrigger.EXCHANGE_ACCEPTED)
    recent = accepted.annotate(took=F("at") - Subquery(received)).order_by("-id")[:RECENT]
    average: timedelta | None = recent.aggregate(average=Avg("took"))["average"]
    return average or timedelta(0)


def _average_slippage_pct() -> float:
    recent = Trade.objects.order_by("-entry_at", "-id")[:RECENT]
    average = recent.aggregate(average=Avg("slippage_fraction"))["average"]
    return float(average * PERCENT) if average is not None else 0.0
