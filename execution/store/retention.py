"""Old rows: which may be deleted, and in which order what hangs on a request goes.

Every function that returns rows takes `before`, the time before which they are old.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.contrib.sessions.models import Session
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from execution.domain.states import ORDER_FINAL, REQUEST_FINAL, TRADE_OPEN, RequestState, TradeState
from execution.domain.trading import Source
from execution.models import (
    AccountIncome,
    AuditEvent,
    Bracket,
    BracketLeg,
    DeadLetter,
    ExecutionRequest,
    Fill,
    InboxEvent,
    Income,
    ModelPromotion,
    Order,
    OutboxEvent,
    OutboxSequence,
    Position,
    PositionSlot,
    QuarantinedRow,
    SeenNonce,
    Shortfall,
    StreamedFill,
    StreamLoss,
    Trade,
    TradeChart,
)
from execution.models.inbox import InboxOutcome
from execution.store.journal_seal import Keeping, remove_lines

# Entities of the journal besides requests, orders and trades, which take their lines with them.
STANDALONE = ("ess", "policy", "outbox", "dead_letter", "quarantine", "lease", "hold", "terms", "oracle")
ENDED_WITHOUT_TRADE = sorted(REQUEST_FINAL - {RequestState.RECORDED})
# What hangs on a request, each before what it refers to, with the column that leads to the request's id.
PARTS: tuple[tuple[type[Model], str], ...] = (
    (Shortfall, "trade_id"),
    (Fill, "trade_id"),
    (Income, "trade_id"),
    (StreamedFill, "order__request_id"),
    (Order, "request_id"),
    (TradeChart, "trade_id"),
    (BracketLeg, "bracket_id"),
    (Bracket, "request_id"),
    (Trade, "request_id"),
)


def ended_sessions(*, before: datetime) -> QuerySet[Session]:
    """Return sign-ins that ended before this time."""
    return Session.objects.filter(expire_date__lt=before)


def old_nonces(*, before: datetime) -> QuerySet[SeenNonce]:
    """Return nonces of signatures that were made before this time."""
    return SeenNonce.objects.filter(signed_at__lt=before)


def old_income(*, before: datetime) -> QuerySet[AccountIncome]:
    """Return the account's income of before this time."""
    return AccountIncome.objects.filter(at__lt=before)


def old_sent_events(event_type: str, *, before: datetime, but: Collection[str] = ()) -> QuerySet[OutboxEvent]:
    """Return old sent events of one type, oldest first, but for some aggregates."""
    sent = OutboxEvent.objects.filter(event_type=event_type, created_at__lt=before, sent_at__lt=before)
    return (sent.exclude(aggregate__in=but) if but else sent).order_by("created_at")


def unfinished_aggregates() -> list[str]:
    """Return the aggregates of unfinished requests and open trades: more events of them may come."""
    requests = ExecutionRequest.objects.exclude(state__in=sorted(REQUEST_FINAL)).values_list("pk", flat=True)
    trades = Trade.objects.filter(state__in=sorted(TRADE_OPEN)).values_list("pk", flat=True)
    return [str(pk) for pk in {*requests, *trades}]


def old_inbox_events(*, before: datetime) -> QuerySet[InboxEvent]:
    """Return old events that became no request, oldest first."""
    news = InboxEvent.objects.filter(outcome__in=[InboxOutcome.IGNORED, InboxOutcome.APPLIED], request__isnull=True)
    return news.filter(received_at__lt=before).order_by("received_at")


def old_dead_letters(*, before: datetime) -> QuerySet[DeadLetter]:
    """Return old dead letters, oldest first."""
    return DeadLetter.objects.filter(received_at__lt=before).order_by("received_at")


def old_promotions(*, before: datetime) -> QuerySet[ModelPromotion]:
    """Return old promotions but the newest of each model, which the trades that follow name."""
    newer = ModelPromotion.objects.filter(model=OuterRef("model"), promoted_at__gt=OuterRef("promoted_at"))
    return ModelPromotion.objects.filter(Exists(newer), received_at__lt=before)


def old_quarantine(*, before: datetime) -> QuerySet[QuarantinedRow]:
    """Return quarantines that were released before this time."""
    return QuarantinedRow.objects.filter(released_at__lt=before)


def old_losses(*, before: datetime) -> QuerySet[StreamLoss]:
    """Return losses of streams that were noticed before this time."""
    return StreamLoss.objects.filter(noticed_at__lt=before)


def unused_sequences() -> QuerySet[OutboxSequence]:
    """Return the sequences of dead letters' aggregates that have no event any more."""
    entries = OutboxSequence.objects.filter(aggregate__startswith="entry:")
    events = OutboxEvent.objects.filter(aggregate=OuterRef("aggregate"))
    return entries.filter(~Exists(events))


def old_log_lines(*, before: datetime, sealed_to: int) -> "QuerySet[AuditEvent, int]":
    """Return the keys of old sealed lines of the journal that no request takes along, oldest first."""
    old = AuditEvent.objects.filter(entity__in=STANDALONE, at__lt=before, id__lte=sealed_to).order_by("pk")
    return old.values_list("pk", flat=True)


def requests_without_trade(*, before: datetime) -> QuerySet[ExecutionRequest]:
    """Return old requests that ended without a trade."""
    ended = ExecutionRequest.objects.filter(state__in=ENDED_WITHOUT_TRADE, received_at__lt=before, moved_at__lt=before)
    return ended.filter(is_over(), ~Exists(Trade.objects.filter(request=OuterRef("pk"))))


def requests_of_ended_trades(*, before: datetime) -> QuerySet[ExecutionRequest]:
    """Return old requests whose trade is closed or written off and no longer shown as a position.

    Requests that protected an external position have no trade, and are among them.
    """
    over = Q(state=TradeState.CLOSED, exit_at__lt=before) | Q(state=TradeState.WRITTEN_OFF, updated_at__lt=before)
    booked = Trade.objects.filter(over, request=OuterRef("pk"))
    shown = Position.objects.filter(trade=OuterRef("pk"))
    ended = [RequestState.RECORDED, RequestState.NOT_ACCEPTED, RequestState.WRITTEN_OFF]
    recorded = ExecutionRequest.objects.filter(state__in=ended, received_at__lt=before, moved_at__lt=before)
    guarded = Q(source=Source.EXTERNAL) & ~Exists(Trade.objects.filter(request=OuterRef("pk")))
    return recorded.filter(is_over(), Q(Exists(booked)) | guarded, ~Exists(shown))


def is_over() -> Q:
    """Match requests without a position slot, and without an order of which more may come."""
    unfinished = Order.objects.filter(request=OuterRef("pk")).exclude(state__in=sorted(ORDER_FINAL))
    return ~Q(Exists(unfinished)) & ~Q(Exists(PositionSlot.objects.filter(request=OuterRef("pk"))))


def requests_to_keep(ids: Sequence[UUID], *, before: datetime, kept: Keeping) -> set[UUID]:
    """Return which of these requests must stay.

    They have an event that is unsent or not old yet, or a line of the journal that may not go yet.
    """
    names = [str(pk) for pk in ids]
    events = OutboxEvent.objects.filter(Q(sent_at__isnull=True) | Q(created_at__gte=before), aggregate__in=names)
    stays = Q(at__gte=before) | Q(id__gt=kept.sealed_to)
    young = AuditEvent.objects.filter(lines_of(ids) & stays).values_list("entity", "entity_id")
    orders = dict(Order.objects.filter(request_id__in=ids).values_list("client_order_id", "request_id"))
    return {UUID(name) for name in events.values_list("aggregate", flat=True)} | {
        orders[key] if entity == "order" else UUID(key) for entity, key in young
    }


def lines_of(ids: Sequence[UUID]) -> Q:
    """Match the journal's lines of these requests, of their trades and their orders."""
    names = [str(pk) for pk in ids]
    orders = Order.objects.filter(request_id__in=ids).values_list("client_order_id", flat=True)
    return Q(entity__in=["request", "trade"], entity_id__in=names) | Q(entity="order", entity_id__in=list(orders))


def delete_requests(inbox_of: Mapping[UUID, int], ids: Sequence[UUID]) -> None:
    """Delete requests with all that hangs on them, each row before what it refers to."""
    lines = list(AuditEvent.objects.filter(lines_of(ids)).values_list("pk", flat=True))
    for model, column in PARTS:
        QuerySet(model).filter(**{f"{column}__in": ids}).delete()
    remove_lines(lines)
    names = [str(pk) for pk in ids]
    OutboxEvent.objects.filter(aggregate__in=names).delete()
    OutboxSequence.objects.filter(aggregate__in=names).delete()
    ExecutionRequest.objects.filter(pk__in=ids).delete()
    InboxEvent.objects.filter(pk__in=[inbox_of[pk] for pk in ids]).delete()
