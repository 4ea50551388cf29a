"""Shares a line of funding among trades, by side and size at the funding time. Pure.

The exchange books a line for a symbol and names no side. Together with the rate its sign gives the side and its amount
the size that was held. Our trades' sizes at that time are known from their fills. The rest of the line belongs to
positions that are not ours.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from execution.domain.attribution import FEE_GRID
from execution.domain.money import ZERO
from execution.domain.outcomes import FundingRate

# A line carries the funding time, or nearly so; a clock that was moved over several of them books all of them late.
SAME_TIME, LONGEST_INTERVAL = timedelta(minutes=1), timedelta(hours=9)
# Amounts are booked on a grid of 8 decimals, and rates are published on one.
GRID, FRACTION = Decimal("0.00000002"), Decimal("0.00001")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A fill of a trade: `signed` is positive for a buy. `number` orders the fills of one millisecond."""

    at: datetime
    number: int
    signed: Decimal


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A trade with everything that made its position what it was."""

    trade_id: UUID
    changes: Sequence[Change]


@dataclass(frozen=True, kw_only=True)
class FundingLine:
    """A line of funding. `value` is its amount in the symbol's quote asset, None when not known."""

    amount: Decimal
    value: Decimal | None
    at: datetime
    rate: FundingRate | None


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The line that a set of positions would explain.

    `expected`: amounts by trade. `unexplained`: what they leave of the line.
    """

    expected: Mapping[UUID, Decimal]
    unexplained: Decimal


def rate_of(at: datetime, rates: Iterable[FundingRate]) -> FundingRate | None:
    """Return the funding that a line of this time was booked for, or None when none is known."""
    known = list(rates)
    near = [rate for rate in known if abs(rate.at - at) <= SAME_TIME]
    if near:
        return min(near, key=lambda rate: abs(rate.at - at))
    earlier = [rate for rate in known if timedelta(0) < at - rate.at <= LONGEST_INTERVAL]
    return max(earlier, key=lambda rate: rate.at, default=None)


def funding_parts(line: FundingLine, holdings: Sequence[Holding]) -> dict[UUID, Decimal]:
    """Return each trade's part of a line, in the line's asset. The rest of the line is not ours.

    Without a known rate, sides cannot be kept apart. Then the line belongs to the only trade that held anything.
    """
    rate, value = line.rate, line.value
    if rate is None or not rate.rate or not rate.mark or not value:
        held = [trade_id for trade_id, quantity in _held_before(holdings, line.at).items() if quantity]
        return {held[0]: line.amount} if len(held) == 1 else {}
    payment = rate.mark * rate.rate
    readings = [_reading(value, payment, held) for held in _positions(holdings, *_moment(line.at, rate.at))]
    # Of readings that explain as much the first one: funding comes before the fills of its millisecond.
    best = min(readings, key=lambda reading: reading.unexplained)
    return _shared(line.amount, value, best.expected)


def _moment(booked_at: datetime, paid_at: datetime) -> tuple[datetime, datetime]:
    """Return between which times the exchange took the position's size.

    A line that was booked much later than its funding time does not narrow it.
    """
    if abs(booked_at - paid_at) > SAME_TIME:
        return paid_at, paid_at
    return min(booked_at, paid_at), max(booked_at, paid_at)


def _positions(holdings: Sequence[Holding], begin: datetime, end: datetime) -> Iterator[dict[UUID, Decimal]]:
    """Yield what the trades held before the moment and after each fill within it, in order."""
    held = _held_before(holdings, begin)
    yield dict(held)
    within = [(change, each.trade_id) for each in holdings for change in each.changes if begin <= change.at <= end]
    for change, trade_id in sorted(within, key=lambda pair: (pair[0].at, pair[0].number)):
        held[trade_id] += change.signed
        yield dict(held)


def _held_before(holdings: Sequence[Holding], moment: datetime) -> dict[UUID, Decimal]:
    return {
        each.trade_id: sum((change.signed for change in each.changes if change.at < moment), ZERO) for each in holdings
    }


def _reading(value: Decimal, payment: Decimal, held: Mapping[UUID, Decimal]) -> _Reading:
    expected = {trade_id: -quantity * payment for trade_id, quantity in held.items() if quantity}
    alike = {trade_id: amount for trade_id, amount in expected.items() if amount * value > 0}
    one_side = abs(value - sum(alike.values(), ZERO))
    both_sides = abs(value - sum(expected.values(), ZERO))
    # An exchange that books both sides in one line: only believed when nothing else explains it and this does.
    if one_side > _tolerance(value) >= both_sides:
        return _Reading(expected=expected, unexplained=both_sides)
    return _Reading(expected=alike, unexplained=ZERO if one_side <= _tolerance(value) else one_side)


def _shared(amount: Decimal, value: Decimal, expected: Mapping[UUID, Decimal]) -> dict[UUID, Decimal]:
    """Share a line by size.

    When the trades explain all of it, their parts sum up to it to the last digit.
    """
    if not expected:
        return {}
    total = sum(expected.values(), ZERO)
    is_whole = abs(total) >= abs(value) - _tolerance(value)
    parts = {
        trade_id: (amount * part / (total if is_whole else value)).quantize(FEE_GRID)
        for trade_id, part in expected.items()
    }
    if is_whole:
        last = max(parts)
        parts[last] = amount - sum((part for trade_id, part in parts.items() if trade_id != last), ZERO)
    return parts


def _tolerance(value: Decimal) -> Decimal:
    return max(GRID, abs(value) * FRACTION)
