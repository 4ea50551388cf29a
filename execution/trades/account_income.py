"""Reads the account's income once for all trades whose books a reading is new enough for.

A list of income costs as much as six lists of fills, and is the same for every trade. So it is read for the whole
account, on from where the last reading ended, by one process at a time; the others wait for it and take theirs from the
table. Only what is older than the table is asked for by symbol.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from execution.domain.clocks import Clock
from execution.domain.outcomes import IncomeKind, IncomeReport
from execution.domain.ports import Exchange
from execution.models import AccountIncome, IncomeReading
from execution.store.income import account_income_since, find_income_reading, save_income_reading
from execution.store.locks import alone

log = structlog.get_logger(__name__)
# A line may be booked, and shown, this long after the time that it carries; so much is read again each time.
SHOWN_WITHIN = timedelta(hours=1)
# How far back one reading for everybody goes: what was not read for longer, each trade reads for its own symbol.
LONGEST_READING = timedelta(days=1)
# An event whose moment was not reported may have happened this long ago: so old a reading serves many.
ABOUT_NOW = timedelta(seconds=2)
# How long another process's reading is waited for, and how often it is looked for.
PATIENCE_SECONDS, LOOK_SECONDS = 5.0, 0.05
LOCKS = {IncomeKind.FUNDING: 0x65780101, IncomeKind.CLEARING: 0x65780102}


@dataclass(frozen=True, kw_only=True)
class WantedIncome:
    """Whose income is wanted since when, and how new it has to be.

    `learned_at`: when we learned, by our clock, of what the books are closed for: an older reading may lack lines.
    """

    kind: IncomeKind
    since: datetime
    learned_at: datetime
    symbol: str = ""


def income_of(wanted: WantedIncome, *, exchange: Exchange, clock: Clock) -> list[IncomeReport]:
    """Return the lines of a symbol, or with an empty symbol of the whole account, oldest first.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    if wanted.since < exchange.now() - LONGEST_READING and not _covers(find_income_reading(wanted.kind), wanted.since):
        return list(exchange.income_since(wanted.kind, wanted.since, symbol=wanted.symbol))
    _make_fresh(wanted, exchange, clock)
    return [_report(row) for row in account_income_since(wanted.kind, wanted.since, wanted.symbol)]


def _make_fresh(wanted: WantedIncome, exchange: Exchange, clock: Clock) -> None:
    """Read on, or wait for who does, until a reading has begun that is new enough."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not _is_fresh(wanted):
        with alone(LOCKS[wanted.kind]) as held:
            if held:
                # Another process may have ended its reading in between.
                if not _is_fresh(wanted):
                    _read_on(wanted, exchange, clock())
                return
        if time.monotonic() >= give_up:
            # It may be frozen. Reading twice costs weight, and does no harm.
            log.warning("income_read_beside_another", kind=wanted.kind, waited_seconds=PATIENCE_SECONDS)
            _read_on(wanted, exchange, clock())
            return
        time.sleep(LOOK_SECONDS)


def _is_fresh(wanted: WantedIncome) -> bool:
    reading = find_income_reading(wanted.kind)
    return reading is not None and _covers(reading, wanted.since) and reading.read_at >= wanted.learned_at


def _covers(reading: IncomeReading | None, since: datetime) -> bool:
    return reading is not None and reading.covers_from <= since


def _read_on(wanted: WantedIncome, exchange: Exchange, begun_at: datetime) -> None:
    """Read from where the last reading ended.

    It reads anew when that is long ago, or began too late for what is wanted.
    """
    last, present = find_income_reading(wanted.kind), exchange.now()
    goes_on = last is not None and _covers(last, wanted.since) and abs(present - last.read_to) < LONGEST_READING
    if last and goes_on:
        covers_from, since = last.covers_from, max(last.covers_from, last.read_to - SHOWN_WITHIN)
    else:
        covers_from = since = min(wanted.since, present - SHOWN_WITHIN)
    lines = exchange.income_since(wanted.kind, since)
    rows = [_row(line) for line in lines]
    save_income_reading(wanted.kind, rows, covers_from=covers_from, read_to=present, read_at=begun_at)


def _row(line: IncomeReport) -> AccountIncome:
    return AccountIncome(
        kind=line.kind,
        transaction_id=line.transaction_id,
        symbol=line.symbol,
        amount=line.amount,
        asset=line.asset,
        at=line.at,
    )


def _report(row: AccountIncome) -> IncomeReport:
    return IncomeReport(
        kind=IncomeKind(row.kind),
        symbol=row.symbol,
        amount=row.amount,
        asset=row.asset,
        at=row.at,
        transaction_id=row.transaction_id,
    )
