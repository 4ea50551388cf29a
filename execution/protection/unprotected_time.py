"""Measures how long a position had less cover than it was large, once when each such time has ended."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from execution.domain.metrics import FILL_TO_STOP, UNCOVERED, Histogram
from execution.domain.states import ORDER_FINAL
from execution.domain.unprotected_time import Gap, Growth, StopLife, gaps
from execution.models import Trade
from execution.store.metrics import observe
from execution.store.trades import (
    CoverStep,
    cover_history,
    find_trade,
    lock_request_if_known,
    set_cover_measured,
)


def measure_unprotected_of(trade_id: UUID) -> None:
    """Measure as `measure_unprotected` does, in a transaction of its own.

    While there is no trade it measures nothing.
    """
    with transaction.atomic():
        # The lock of all bookings of a trade.
        lock_request_if_known(trade_id)
        if trade := find_trade(trade_id):
            measure_unprotected(trade)


def measure_unprotected(trade: Trade) -> None:
    """Add the times without full cover that have ended and were not added yet.

    Call it with a trade that was read under the lock on its request, last in the transaction: the figures are
    everybody's. A plan without a stop has nothing to measure.
    """
    before = trade.cover_measured_until
    ended = [(gap.since, gap.until, gap.by_stop) for gap in gaps_of_trade(trade.pk) if gap.until]
    fresh = [(since, until, by_stop) for since, until, by_stop in ended if before is None or until > before]
    if not fresh:
        return
    # What was measured once is not measured again when a fill becomes known late.
    measured: list[tuple[Histogram, float]] = [
        (UNCOVERED, (until - max(since, before or since)).total_seconds()) for since, until, _ in fresh
    ]
    since, until, by_stop = fresh[0]
    if before is None and by_stop:
        measured.append((FILL_TO_STOP, (until - since).total_seconds()))
    set_cover_measured(trade.pk, fresh[-1][1])
    observe(*measured)


def gaps_of_trade(trade_id: UUID) -> list[Gap]:
    """Return the times without full cover of a trade, in one statement, none where its plan has no stop.

    Fills have the exchange's time and stops ours, so a time is no truer than the two clocks are equal.
    """
    history = cover_history(trade_id)
    fills = [Growth(at=step.at, quantity=step.quantity) for step in history if step.stop_id is None]
    return gaps(fills, _stop_lives(history)) if fills else []


def _stop_lives(history: Iterable[CoverStep]) -> list[StopLife]:
    """Return when each stop was known to stand, from the log of its states."""
    begun: dict[int, CoverStep] = {}
    over: dict[int, CoverStep] = {}
    for step in history:
        if step.stop_id is not None:
            (over if step.to_state in ORDER_FINAL else begun)[step.stop_id] = step
    lives = []
    for stop_id, step in begun.items():
        end = over.get(stop_id)
        # One that has filled covered its part until then, by whichever clock is later.
        until = max(end.at, end.filled_at or end.at) if end else None
        lives.append(StopLife(quantity=step.quantity, since=step.at, until=until))
    return lives
