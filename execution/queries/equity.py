"""The equity curve: what the account was worth, what has moved it, and how deep its drawdown is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from execution.domain.equity import (
    Amounts,
    Drawdown,
    IncomeScope,
    Parts,
    Peak,
    Resolution,
    WalletPart,
    completed,
    drawdowns,
    part_of,
    parts_in_usd,
)
from execution.domain.money import ZERO
from execution.models.equity import read_amounts, read_parts
from execution.store.equity import SpanRow, first_point, income_sums, last_point_until, spans_between, stored_parts
from execution.store.income import find_income_reading

# The coarsest resolution that shows a range in some two thousand points.
CHOICES = (
    (timedelta(hours=6), Resolution.SAMPLE),
    (timedelta(days=2), Resolution.MINUTE),
    (timedelta(days=90), Resolution.HOUR),
)


@dataclass(frozen=True, kw_only=True)
class AssetPoint:
    """One asset of a point, in units of the asset. `price_usd` is None where no index prices it."""

    balance: Decimal
    unrealized: Decimal
    price_usd: Decimal | None
    parts: Mapping[WalletPart, Decimal]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The account at one time, in USD, and what has moved its wallets since the point before.

    `parts` and `revaluation_usd` add up to the change of `wallet_usd` exactly. `revaluation_usd`: what other prices of
    the assets have changed. `unpriced`: assets that are in no sum.
    """

    at: datetime
    wallet_usd: Decimal
    unrealized_usd: Decimal
    equity_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    drawdown: Drawdown
    parts: Mapping[WalletPart, Decimal]
    revaluation_usd: Decimal
    assets: Mapping[str, AssetPoint]
    unpriced: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CurveCursor:
    """Where a page of a curve ends, and the peak with which the next one goes on."""

    at: datetime
    peak: Peak


@dataclass(frozen=True, kw_only=True)
class EquityCurve:
    """A page of the curve, oldest first.

    `explained_to`: until when the account's income was read; None: never.
    What is unexplained after that time may be explained by the next reading.
    """

    resolution: Resolution
    points: Sequence[CurvePoint]
    totals: Mapping[WalletPart, Decimal]
    revaluation_usd: Decimal
    worst: Drawdown | None
    explained_to: datetime | None
    following: CurveCursor | None


def resolution_for(length: timedelta) -> Resolution:
    """Return the resolution that shows a range of time well."""
    return next((resolution for longest, resolution in CHOICES if length <= longest), Resolution.DAY)


def equity_curve(
    since: datetime,
    until: datetime,
    *,
    resolution: Resolution | None = None,
    cursor: CurveCursor | None = None,
    limit: int = 2500,
) -> EquityCurve:
    """Return the curve from `since` on and before `until`, aware times, in seven statements at most.

    Rows that were rolled up are shown as they are where `resolution` is finer. Drawdowns count from the peak since
    `since`; `cursor` is that of the page before.
    """
    chosen = resolution or resolution_for(until - since)
    after = cursor.at if cursor else since - timedelta(microseconds=1)
    rows = spans_between(after, until, chosen, limit=limit + 1)
    page = rows[:limit]
    points, peak = _points(page, after, cursor.peak if cursor else None)
    reading = find_income_reading(IncomeScope.ALL)
    return EquityCurve(
        resolution=chosen,
        points=points,
        totals={part: sum((point.parts[part] for point in points), ZERO) for part in WalletPart},
        revaluation_usd=sum((point.revaluation_usd for point in points), ZERO),
        worst=max((point.drawdown for point in points), key=lambda fallen: fallen.usd, default=None),
        explained_to=reading.read_to if reading else None,
        following=CurveCursor(at=page[-1].at, peak=peak) if len(rows) > limit else None,
    )


def _points(rows: Sequence[SpanRow], after: datetime, peak: Peak | None) -> tuple[list[CurvePoint], Peak]:
    if not rows:
        return [], peak or Peak()
    begin, before, wallet_usd = _state_before(after)
    begins = [begin, *(row.at for row in rows[:-1])]
    stored = stored_parts([(begin, row.at) for begin, row in zip(begins, rows, strict=True)])
    lines = income_sums(
        [(max(begin, row.explained_to or begin), row.at) for begin, row in zip(begins, rows, strict=True)]
    )
    found = []
    for row, known, booked in zip(rows, stored, lines, strict=True):
        balances = read_amounts(json.loads(row.balances))
        parts = completed(before, balances, _with_lines(known, booked))
        found.append(_Moved(row=row, balances=balances, parts=parts, wallet_change=row.wallet_usd - wallet_usd))
        before, wallet_usd = balances, row.wallet_usd
    return _with_drawdowns(found, peak)


def _state_before(after: datetime) -> tuple[datetime, Amounts, Decimal]:
    """Return when the row before a page was read, its wallets, and what they were worth in USD.

    The history begins with its first sample. Once that is rolled up, the stored parts of its span lead back to it.
    """
    if last := last_point_until(after):
        return last.at, read_amounts(last.balances), last.wallet_usd
    first = first_point()
    if first is None or first.parts is None:
        return (first.at, read_amounts(first.balances), first.wallet_usd) if first else (after, {}, ZERO)
    parts = read_parts(first.parts)
    held = read_amounts(first.balances)
    begun_with = {
        asset: held.get(asset, ZERO) - sum(parts.get(asset, {}).values(), ZERO) for asset in {**held, **parts}
    }
    gained_usd = sum(parts_in_usd(parts, read_amounts(first.prices)).values(), ZERO)
    return first.at - timedelta(microseconds=1), begun_with, first.wallet_usd - gained_usd


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """A row with what has moved the wallets since the one before."""

    row: SpanRow
    balances: Amounts
    parts: Parts
    wallet_change: Decimal


def _with_lines(known: Parts, booked: Sequence[tuple[str, str, Decimal]]) -> Parts:
    parts = {asset: dict(amounts) for asset, amounts in known.items()}
    for asset, kind, amount in booked:
        of_asset = parts.setdefault(asset, {})
        of_asset[part_of(kind)] = of_asset.get(part_of(kind), ZERO) + amount
    return parts


def _with_drawdowns(moves: Sequence[_Moved], peak: Peak | None) -> tuple[list[CurvePoint], Peak]:
    priced = [read_amounts(json.loads(move.row.prices)) for move in moves]
    in_usd = [parts_in_usd(move.parts, prices) for move, prices in zip(moves, priced, strict=True)]
    equities = [move.row.wallet_usd + move.row.unrealized_usd for move in moves]
    transfers = [parts[WalletPart.TRANSFERS] for parts in in_usd]
    points, last = [], peak or Peak()
    fallen = drawdowns(zip(equities, transfers, strict=True), begin=peak)
    for move, prices, parts, (drawdown, last) in zip(moves, priced, in_usd, fallen, strict=True):  # noqa: B007
        row, unrealized = move.row, read_amounts(json.loads(move.row.unrealized))
        held = sorted({*move.balances, *unrealized, *move.parts})
        point = CurvePoint(
            at=row.at,
            wallet_usd=row.wallet_usd,
            unrealized_usd=row.unrealized_usd,
            equity_usd=row.wallet_usd + row.unrealized_usd,
            low_usd=row.low_usd,
            high_usd=row.high_usd,
            drawdown=drawdown,
            parts=parts,
            revaluation_usd=move.wallet_change - sum(parts.values(), ZERO),
            assets={
                asset: AssetPoint(
                    balance=move.balances.get(asset, ZERO),
                    unrealized=unrealized.get(asset, ZERO),
                    price_usd=prices.get(asset),
                    parts=move.parts.get(asset, {}),
                )
                for asset in held
            },
            unpriced=[asset for asset in {**move.balances, **unrealized} if asset not in prices],
        )
        points.append(point)
    return points, last
