"""Keeps the equity history: a row at each monitor cycle, the income that explains it, the roll-up.

Between two rows a wallet changes by what the exchange lists as income: results, fees, funding, transfers. The list
costs six times as much as the wallets themselves, so it is read only where the wallets have moved by something that is
not explained yet, and once a day. Samples become minutes, hours and days by their age, each with the sums of its parts.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

import structlog

from execution.domain.clocks import Clock
from execution.domain.equity import IncomeScope, Parts, Resolution, WalletPart, added, explain_change, worth
from execution.domain.money import plain
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.domain.quote_index import quote_index
from execution.models import AccountIncome, EquityPoint
from execution.models.equity import read_amounts, read_parts
from execution.risk.pricing import index_prices
from execution.store.equity import (
    first_point,
    income_between,
    insert_equity_point,
    last_point_before,
    last_point_until,
    newest_point,
    oldest_points,
    replace_points,
)
from execution.store.income import find_income_reading, save_income_reading

log = structlog.get_logger(__name__)
# A line may be booked, and shown, this long after the time that it carries.
SHOWN_WITHIN = timedelta(hours=1)
# So long the account's income is not read while the wallets explain themselves.
LONGEST_UNREAD = timedelta(days=1)
# The exchange lists no older income.
INCOME_KEPT = timedelta(days=90)
# From which age on rows of a resolution become one row of the next.
AGES = (
    (Resolution.SAMPLE, Resolution.MINUTE, timedelta(days=1)),
    (Resolution.MINUTE, Resolution.HOUR, timedelta(days=14)),
    (Resolution.HOUR, Resolution.DAY, timedelta(days=400)),
)
# Rows that are read for one batch.
BATCH = 1000


def record_equity(exchange: Exchange) -> bool:
    """Store what the account holds now: one call and one statement.

    Returns False when it could not be read.
    """
    try:
        wallets = exchange.wallets()
    except ExchangeUnavailableError as error:
        log.warning("equity_not_read", error=str(error))
        return False
    index = index_prices(exchange)
    held = {*wallets.balances, *wallets.unrealized}
    prices = {asset: found.price for asset in sorted(held) if (found := quote_index(asset, index))}
    value = worth(wallets, prices)
    equity = value.wallet_usd + value.unrealized_usd
    row = EquityPoint(
        at=exchange.now(),
        balances={asset: plain(amount) for asset, amount in wallets.balances.items()},
        unrealized={asset: plain(amount) for asset, amount in wallets.unrealized.items()},
        prices={asset: plain(price) for asset, price in prices.items()},
        wallet_usd=value.wallet_usd,
        unrealized_usd=value.unrealized_usd,
        low_usd=equity,
        high_usd=equity,
    )
    insert_equity_point(row)
    return True


def keep_equity(exchange: Exchange, *, clock: Clock, length: timedelta) -> None:
    """Read the income that is missing, then roll up old rows for about `length`."""
    try:
        read_wallet_income(exchange, clock=clock)
    except ExchangeUnavailableError as error:
        log.warning("wallet_income_not_read", error=str(error))
    end = time.monotonic() + length.total_seconds()
    while roll_up(now=clock()) and time.monotonic() < end:
        pass


def read_wallet_income(exchange: Exchange, *, clock: Clock) -> int:
    """Read on the account's income of every kind where something is unexplained.

    Returns the number of lines read.
    Raises:
        ExchangeUnavailableError: the exchange did not answer; what is known stays.

    """
    newest, reading = newest_point(), find_income_reading(IncomeScope.ALL)
    if newest is None:
        return 0
    if reading and newest.at - reading.read_to < LONGEST_UNREAD and _is_explained(reading.read_to, newest):
        return 0
    oldest = first_point()
    present, begun_at = exchange.now(), clock()
    begin = max(oldest.at if oldest else present, present - INCOME_KEPT)
    since = max(begin, reading.read_to - SHOWN_WITHIN) if reading else begin
    lines = exchange.wallet_lines_since(since)
    covers_from = reading.covers_from if reading else begin
    save_income_reading(
        IncomeScope.ALL,
        [AccountIncome(**vars(line)) for line in lines],
        covers_from=covers_from,
        read_to=present,
        read_at=begun_at,
    )
    return len(lines)


def _is_explained(read_to: datetime, newest: EquityPoint) -> bool:
    """Whether the known lines explain every change since an hour before the last reading ended."""
    before = last_point_until(read_to - SHOWN_WITHIN) or first_point()
    return before is None or not any(WalletPart.UNEXPLAINED in parts for parts in _parts(before, newest).values())


def _parts(before: EquityPoint, last: EquityPoint) -> Parts:
    lines = [(asset, kind, amount) for asset, kind, amount, _ in income_between(before.at, last.at)]
    return explain_change(read_amounts(before.balances), read_amounts(last.balances), lines)


def roll_up(*, now: datetime) -> int:
    """Replace one batch of old rows by rows of the next resolution. Returns the number of rows that went."""
    reading = find_income_reading(IncomeScope.ALL)
    explained_to = max(now - INCOME_KEPT, reading.read_to if reading else now - INCOME_KEPT)
    gone = 0
    for resolution, coarser, age in AGES:
        before = _floor(min(now - age, explained_to), coarser)
        rows = oldest_points(resolution, before=before, most=BATCH)
        spans = [list(group) for _, group in groupby(rows, key=lambda row: _floor(row.at, coarser))]
        if len(rows) == BATCH and len(spans) > 1:
            # More rows of the last span may follow.
            spans.pop()
        if not spans:
            continue
        kept = [row for span in spans for row in span]
        replace_points(kept, _rolled(spans, coarser))
        gone += len(kept)
    return gone


def _rolled(spans: Sequence[Sequence[EquityPoint]], resolution: Resolution) -> list[EquityPoint]:
    """Return one row for each span: last reading, extremes, and what has moved the wallets."""
    before = last_point_before(spans[0][0].at)
    rows = []
    for span in spans:
        last = span[-1]
        parts = _parts_within(before, span)
        row = EquityPoint(
            resolution=resolution,
            at=last.at,
            balances=last.balances,
            unrealized=last.unrealized,
            prices=last.prices,
            wallet_usd=last.wallet_usd,
            unrealized_usd=last.unrealized_usd,
            low_usd=min(row.low_usd for row in span),
            high_usd=max(row.high_usd for row in span),
            parts={asset: {part: plain(amount) for part, amount in each.items()} for asset, each in parts.items()},
        )
        rows.append(row)
        before = last
    return rows


def _parts_within(before: EquityPoint | None, span: Sequence[EquityPoint]) -> Parts:
    """Return what has moved the wallets since the row before. Of the very first row nothing is known."""
    if span[-1].parts is not None:
        return added(read_parts(row.parts or {}) for row in span)
    return _parts(before or span[0], span[-1])


def _floor(moment: datetime, resolution: Resolution) -> datetime:
    """Return the beginning of the span of UTC that a moment lies in."""
    whole = moment.astimezone(UTC).replace(second=0, microsecond=0)
    if resolution is Resolution.MINUTE:
        return whole
    return whole.replace(minute=0) if resolution is Resolution.HOUR else whole.replace(minute=0, hour=0)
