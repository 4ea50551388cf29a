"""Deletes what has grown old, in short transactions: never what is unfinished, unsent, or what such work refers to.

Three ages: events and news, decisions that became no trade, trades. A decision goes whole, with its orders, fills, log,
trade and inbox row, or not at all; with the inbox row goes the memory that its identity has come before. Lines of the
journal go when they are sealed and older than its owner has said, by the database's function alone (`journal_seal`).
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django.db.models import Exists, Manager, OuterRef, Q, QuerySet

from execution.domain.clocks import Clock
from execution.domain.signatures import NONCES_KEPT
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
    StreamedFill,
    StreamLoss,
    Trade,
)
from execution.models.inbox import InboxOutcome
from execution.outbox.payloads import EVENT_TYPES, POSITION_UPDATED
from execution.store.heartbeats import beat
from execution.store.journal_seal import Keeping, keeping, remove_lines, seal_journal
from execution.store.quarantine import ROW_ERRORS

log = structlog.get_logger(__name__)
Rows = QuerySet[Any]
# Rows, and whole decisions, a transaction: it holds its locks for milliseconds.
BATCH, STORIES = 1000, 100
# What the log tells besides requests, orders and trades, which take their lines with them.
STANDALONE = ("ess", "policy", "outbox", "dead_letter", "quarantine", "lease", "hold", "terms", "oracle")
INCOME_KEPT = timedelta(days=90)
ENDED_WITHOUT_TRADE = sorted(REQUEST_FINAL - {RequestState.RECORDED})
# What hangs on a request, each before what it refers to; the column that leads to the request's id.
PARTS: tuple[tuple["Manager[Any]", str], ...] = (
    (Fill.objects, "trade_id"),
    (Income.objects, "trade_id"),
    (StreamedFill.objects, "order__request_id"),
    (Order.objects, "request_id"),
    (BracketLeg.objects, "bracket_id"),
    (Bracket.objects, "request_id"),
    (BracketLeg.objects, "bracket_id"),
    (Bracket.objects, "request_id"),
    (Trade.objects, "request_id"),
)


@dataclass(frozen=True, kw_only=True)
class RetentionRules:
    """How long to keep what; None keeps it for ever."""

    events: timedelta | None
    requests: timedelta | None
    trades: timedelta | None


def apply_retention(rules: RetentionRules, *, clock: Clock, length: timedelta) -> Mapping[str, int]:
    """Delete for at most about `length` and return how many rows of what; the next run goes on where this one ends."""
    end = time.monotonic() + length.total_seconds()
    deleted: Counter[str] = Counter()
    failed: list[str] = []
    # A line goes with its seal only.
    seal_journal()
    for batches in _batches(rules, clock()):
        if time.monotonic() >= end and deleted:
            break
        try:
            for name, number in batches:
                deleted[name] += number
                if time.monotonic() >= end:
                    break
        except (*ROW_ERRORS, IntegrityError) as error:
            # What cannot be deleted of one kind must not let all others grow.
            log.exception("retention_failed")
            failed.append(f"{type(error).__name__}: {error}".partition("\n")[0])
    beat("retention", now=clock(), healthy=not failed, details={**deleted, **({"failed": failed} if failed else {})})
    return deleted


def _batches(rules: RetentionRules, now: datetime) -> Iterator[Iterator[tuple[str, int]]]:
    if rules.events is not None:
        yield _events(now - rules.events)
    kept = keeping()
    if rules.requests is not None:
        before = now - rules.requests
        yield _news(before)
        if log_before := kept.before(before, now):
            yield _log(log_before, kept)
            yield _stories("requests", _ended_without_trade(before), log_before, kept)
    if rules.trades is not None and (log_before := kept.before(now - rules.trades, now)):
        yield _stories("trades", _closed(now - rules.trades), log_before, kept)
    # Whatever the rules: sign-ins that have ended serve nobody.
    yield _simple("sessions", Session.objects.filter(expire_date__lt=now))
    # By then their signatures are too old to be believed.
    yield _simple("nonces", SeenNonce.objects.filter(signed_at__lt=now - NONCES_KEPT))
    # The exchange itself shows no older ones.
    yield _simple("income", AccountIncome.objects.filter(at__lt=now - INCOME_KEPT))


def _events(before: datetime) -> Iterator[tuple[str, int]]:
    """Delete sent events, but for those of unfinished work; its `position.updated` come with each monitor cycle."""
    alive = _unfinished()
    for event_type in EVENT_TYPES:
        sent = OutboxEvent.objects.filter(event_type=event_type, created_at__lt=before, sent_at__lt=before)
        old = sent if event_type == POSITION_UPDATED else sent.exclude(aggregate__in=alive)
        yield from _simple("events", old.order_by("created_at"))
    # What became a request stays with it.
    news = InboxEvent.objects.filter(outcome__in=[InboxOutcome.IGNORED, InboxOutcome.APPLIED], request__isnull=True)
    yield from _simple("inbox", news.filter(received_at__lt=before).order_by("received_at"))


def _news(before: datetime) -> Iterator[tuple[str, int]]:
    yield from _simple("dead_letters", DeadLetter.objects.filter(received_at__lt=before).order_by("received_at"))
    newer = ModelPromotion.objects.filter(model=OuterRef("model"), promoted_at__gt=OuterRef("promoted_at"))
    # The newest of each model is named on the trades that follow.
    yield from _simple("promotions", ModelPromotion.objects.filter(Exists(newer), received_at__lt=before))
    yield from _simple("quarantine", QuarantinedRow.objects.filter(released_at__lt=before))
    yield from _simple("losses", StreamLoss.objects.filter(noticed_at__lt=before))
    entries = OutboxSequence.objects.filter(aggregate__startswith="entry:")
    events = OutboxEvent.objects.filter(aggregate=OuterRef("aggregate"))
    yield from _simple("sequences", entries.filter(~Exists(events)))


def _ended_without_trade(before: datetime) -> "QuerySet[ExecutionRequest]":
    ended = ExecutionRequest.objects.filter(state__in=ENDED_WITHOUT_TRADE, received_at__lt=before, moved_at__lt=before)
    return ended.filter(_is_over(), ~Exists(Trade.objects.filter(request=OuterRef("pk"))))


def _closed(before: datetime) -> "QuerySet[ExecutionRequest]":
    over = Q(state=TradeState.CLOSED, exit_at__lt=before) | Q(state=TradeState.WRITTEN_OFF, updated_at__lt=before)
    booked = Trade.objects.filter(over, request=OuterRef("pk"))
    shown = Position.objects.filter(trade=OuterRef("pk"))
    ended = [RequestState.RECORDED, RequestState.NOT_ACCEPTED, RequestState.WRITTEN_OFF]
    recorded = ExecutionRequest.objects.filter(state__in=ended, received_at__lt=before, moved_at__lt=before)
    # What was protected for somebody else has no trade.
    guarded = Q(source=Source.EXTERNAL) & ~Exists(Trade.objects.filter(request=OuterRef("pk")))
    return recorded.filter(_is_over(), Q(Exists(booked)) | guarded, ~Exists(shown))


def _is_over() -> Q:
    """Match requests without a claim, and without an order of which more may come."""
    unfinished = Order.objects.filter(request=OuterRef("pk")).exclude(state__in=sorted(ORDER_FINAL))
    return ~Q(Exists(unfinished)) & ~Q(Exists(PositionSlot.objects.filter(request=OuterRef("pk"))))


def _simple(name: str, rows: Rows) -> Iterator[tuple[str, int]]:
    """Delete rows batch by batch; one that somebody holds is left for the next time."""
    deleted = BATCH
    while deleted == BATCH:
        with transaction.atomic():
            keys = list(rows.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:BATCH])
            rows.filter(pk__in=keys).delete()
        deleted = len(keys)
        yield name, deleted


def _log(before: datetime, kept: Keeping) -> Iterator[tuple[str, int]]:
    """Remove old lines of the log that no decision takes along, batch by batch."""
    old = AuditEvent.objects.filter(entity__in=STANDALONE, at__lt=before, id__lte=kept.sealed_to).order_by("pk")
    deleted = BATCH
    while deleted == BATCH:
        with transaction.atomic():
            deleted = remove_lines(list(old.values_list("pk", flat=True)[:BATCH]))
        yield "log", deleted


def _stories(
    name: str, requests: "QuerySet[ExecutionRequest]", before: datetime, kept: Keeping
) -> Iterator[tuple[str, int]]:
    """Delete whole decisions batch by batch, oldest first; those that something still hangs on are passed over."""
    since, page = None, STORIES
    while page == STORIES:
        with transaction.atomic():
            rows = requests.filter(received_at__gte=since) if since else requests
            held = rows.order_by("received_at", "pk").select_for_update(skip_locked=True, of=("self",))
            found = list(held.values_list("pk", "inbox_id", "received_at")[:STORIES])
            deleted = _delete_stories({pk: inbox_id for pk, inbox_id, _ in found}, before, kept)
        page = len(found)
        # A page on which nothing could be deleted must not be read for ever.
        since = found[-1][2] + (timedelta(0) if deleted else timedelta(microseconds=1)) if found else None
        yield name, deleted


def _delete_stories(inbox_of: Mapping[UUID, int], before: datetime, kept: Keeping) -> int:
    ids = sorted(set(inbox_of) - _held_back(list(inbox_of), before, kept))
    lines = list(AuditEvent.objects.filter(_lines_of(ids)).values_list("pk", flat=True))
    for rows, column in PARTS:
        rows.filter(**{f"{column}__in": ids}).delete()
    names = [str(pk) for pk in ids]
    remove_lines(lines)
    OutboxEvent.objects.filter(aggregate__in=names).delete()
    OutboxSequence.objects.filter(aggregate__in=names).delete()
    ExecutionRequest.objects.filter(pk__in=ids).delete()
    InboxEvent.objects.filter(pk__in=[inbox_of[pk] for pk in ids]).delete()
    return len(ids)


def _held_back(ids: Sequence[UUID], before: datetime, kept: Keeping) -> set[UUID]:
    """Return those with an event that is not sent or not old yet, or with a line of the log that may not go yet."""
    names = [str(pk) for pk in ids]
    events = OutboxEvent.objects.filter(Q(sent_at__isnull=True) | Q(created_at__gte=before), aggregate__in=names)
    stays = Q(at__gte=before) | Q(id__gt=kept.sealed_to)
    young = AuditEvent.objects.filter(_lines_of(ids) & stays).values_list("entity", "entity_id")
    orders = dict(Order.objects.filter(request_id__in=ids).values_list("client_order_id", "request_id"))
    return {UUID(name) for name in events.values_list("aggregate", flat=True)} | {
        orders[key] if entity == "order" else UUID(key) for entity, key in young
    }


def _lines_of(ids: Sequence[UUID]) -> Q:
    names = [str(pk) for pk in ids]
    orders = Order.objects.filter(request_id__in=ids).values_list("client_order_id", flat=True)
    return Q(entity__in=["request", "trade"], entity_id__in=names) | Q(entity="order", entity_id__in=list(orders))


def _unfinished() -> list[str]:
    """Return the aggregates of which more may come."""
    requests = ExecutionRequest.objects.exclude(state__in=sorted(REQUEST_FINAL)).values_list("pk", flat=True)
    trades = Trade.objects.filter(state__in=sorted(TRADE_OPEN)).values_list("pk", flat=True)
    return [str(pk) for pk in {*requests, *trades}]
