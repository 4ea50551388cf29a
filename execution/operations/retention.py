"""Deletes old rows in short transactions, but no unfinished or unsent work, nor what it refers to.

There are three ages: of events and news, of decisions without a trade, and of trades. A decision is deleted whole, with
its orders, fills, log, trade and inbox row, or not at all. Once its inbox row is deleted, its identity counts as new.
Lines of the journal are removed by the database's function alone (`journal_seal`), when they are sealed and older than
the database's owner demands.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import TypeVar

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet

from execution.domain.clocks import Clock
from execution.domain.signatures import NONCES_KEPT
from execution.models import ExecutionRequest
from execution.outbox.payloads import EVENT_TYPES, POSITION_UPDATED
from execution.store import retention as rows
from execution.store.heartbeats import beat
from execution.store.journal_seal import Keeping, keeping, remove_lines, seal_journal
from execution.store.quarantine import ROW_ERRORS

log = structlog.get_logger(__name__)
M = TypeVar("M", bound=Model)
# Rows, and whole decisions, in one transaction: it holds its locks for milliseconds.
BATCH, DECISIONS = 1000, 100
INCOME_KEPT = timedelta(days=90)
# The name of what was deleted, and how many rows of it.
Deleted = Iterator[tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class RetentionRules:
    """How long rows are kept. None keeps them for ever."""

    events: timedelta | None
    requests: timedelta | None
    trades: timedelta | None


def apply_retention(rules: RetentionRules, *, clock: Clock, length: timedelta) -> Mapping[str, int]:
    """Delete old rows for about `length`, and return how many by name.

    The next run continues where this one ends.
    """
    end = time.monotonic() + length.total_seconds()
    deleted: Counter[str] = Counter()
    failed: list[str] = []
    # Lines of the journal are removed sealed only.
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
            # One kind that cannot be deleted must not let all others grow.
            log.exception("retention_failed")
            failed.append(f"{type(error).__name__}: {error}".partition("\n")[0])
    beat("retention", now=clock(), healthy=not failed, details={**deleted, **({"failed": failed} if failed else {})})
    return deleted


def _batches(rules: RetentionRules, now: datetime) -> Iterator[Deleted]:
    if rules.events is not None:
        yield _delete_events(now - rules.events)
    kept = keeping()
    if rules.requests is not None:
        before = now - rules.requests
        yield chain(
            _delete("dead_letters", rows.old_dead_letters(before=before)),
            _delete("promotions", rows.old_promotions(before=before)),
            _delete("quarantine", rows.old_quarantine(before=before)),
            _delete("losses", rows.old_losses(before=before)),
            _delete("sequences", rows.unused_sequences()),
        )
        if log_before := kept.before(before, now):
            yield _remove_log(log_before, kept)
            yield _delete_decisions("requests", rows.requests_without_trade(before=before), log_before, kept)
    if rules.trades is not None and (log_before := kept.before(now - rules.trades, now)):
        ended = rows.requests_of_ended_trades(before=now - rules.trades)
        yield _delete_decisions("trades", ended, log_before, kept)
    # Whatever the rules: sign-ins that have ended serve no purpose.
    yield _delete("sessions", rows.ended_sessions(before=now))
    # Signatures with these nonces are too old to be accepted.
    yield _delete("nonces", rows.old_nonces(before=now - NONCES_KEPT))
    # The exchange itself shows no older ones.
    yield _delete("income", rows.old_income(before=now - INCOME_KEPT))


def _delete_events(before: datetime) -> Deleted:
    """Delete sent events but those of unfinished work.

    `position.updated` is deleted for unfinished work too: each monitor cycle emits it anew.
    """
    alive = rows.unfinished_aggregates()
    for event_type in EVENT_TYPES:
        but: Collection[str] = () if event_type == POSITION_UPDATED else alive
        yield from _delete("events", rows.old_sent_events(event_type, before=before, but=but))
    # An event that became a request stays with it.
    yield from _delete("inbox", rows.old_inbox_events(before=before))


def _delete(name: str, old: QuerySet[M]) -> Deleted:
    """Delete rows batch by batch. A row that another session holds is left for the next run."""
    deleted = BATCH
    while deleted == BATCH:
        with transaction.atomic():
            keys = list(old.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:BATCH])
            old.filter(pk__in=keys).delete()
        deleted = len(keys)
        yield name, deleted


def _remove_log(before: datetime, kept: Keeping) -> Deleted:
    """Remove old lines of the journal that no decision takes along, batch by batch."""
    old = rows.old_log_lines(before=before, sealed_to=kept.sealed_to)
    deleted = BATCH
    while deleted == BATCH:
        with transaction.atomic():
            deleted = remove_lines(list(old[:BATCH]))
        yield "log", deleted


def _delete_decisions(name: str, requests: QuerySet[ExecutionRequest], before: datetime, kept: Keeping) -> Deleted:
    """Delete whole decisions batch by batch, oldest first. Decisions that must stay are passed over."""
    since, page = None, DECISIONS
    while page == DECISIONS:
        with transaction.atomic():
            later = requests.filter(received_at__gte=since) if since else requests
            held = later.order_by("received_at", "pk").select_for_update(skip_locked=True, of=("self",))
            found = list(held.values_list("pk", "inbox_id", "received_at")[:DECISIONS])
            inbox_of = {pk: inbox_id for pk, inbox_id, _ in found}
            ids = sorted(set(inbox_of) - rows.requests_to_keep(list(inbox_of), before=before, kept=kept))
            rows.delete_requests(inbox_of, ids)
        page = len(found)
        # A page on which nothing could be deleted must not be read for ever.
        since = found[-1][2] + (timedelta(0) if ids else timedelta(microseconds=1)) if found else None
        yield name, len(ids)
