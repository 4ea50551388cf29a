"""The account's income, read once for all trades: a reading is shared by everybody whose books it is new enough for.

A list of income costs as much as six lists of fills, and is the same for every trade. So it is read for the whole
account, on from where the last reading ended, by one process at a time; the others wait for it and take theirs from the
table. Only what is older than the table is asked for by symbol.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction

from execution.domain.clocks import Clock
from execution.domain.outcomes import IncomeKind, IncomeReport
from execution.domain.ports import Exchange
from execution.models import AccountIncome, IncomeReading
from execution.store.locks import alone

log = structlog.get_logger(__name__)
# A line may be booked, and shown, this long after the time that it carries; so much is read again each time.
SHOWN_WITHIN = timedelta(hours=1)
# How far back one reading for everybody goes: of what nobody has read for longer, each trade reads its own symbol's.
LONGEST_READING = timedelta(days=1)
# What nobody has told us the moment of may have happened this long ago: so old a reading serves many.
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
    if wanted.since < exchange.now() - LONGEST_READING and not _covers(_reading(wanted.kind), wanted.since):
        return list(exchange.income_since(wanted.kind, wanted.since, symbol=wanted.symbol))
    _make_fresh(wanted, exchange, clock)
    rows = AccountIncome.objects.filter(kind=wanted.kind, at__gte=wanted.since)
    rows = rows.filter(symbol=wanted.symbol) if wanted.symbol else rows
    return [_report(row) for row in rows.order_by("at", "pk")]


def _make_fresh(wanted: WantedIncome, exchange: Exchange, clock: Clock) -> None:
    """Read on, or wait for who does, until a reading has begun that is new enough."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not _is_fresh(wanted):
        with alone(LOCKS[wanted.kind]) as held:
            if held:
                # Somebody may have ended in between.
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
    reading = _reading(wanted.kind)
    return reading is not None and _covers(reading, wanted.since) and reading.read_at >= wanted.learned_at


def _reading(kind: IncomeKind) -> IncomeReading | None:
    return IncomeReading.objects.filter(kind=kind).first()


def _covers(reading: IncomeReading | None, since: datetime) -> bool:
    return reading is not None and reading.covers_from <= since


def _read_on(wanted: WantedIncome, exchange: Exchange, begun_at: datetime) -> None:
    """Read from where the last reading ended; anew, when that is long ago or began too late for what is wanted."""
    last, present = _reading(wanted.kind), exchange.now()
    goes_on = last is not None and _covers(last, wanted.since) and abs(present - last.read_to) < LONGEST_READING
    if last and goes_on:
        covers_from, since = last.covers_from, max(last.covers_from, last.read_to - SHOWN_WITHIN)
    else:
        covers_from = since = min(wanted.since, present - SHOWN_WITHIN)
    lines = exchange.income_since(wanted.kind, since)
    told = {"covers_from": covers_from, "read_to": present, "read_at": begun_at}
    with transaction.atomic():
        AccountIncome.objects.bulk_create([_row(line) for line in lines], ignore_conflicts=True)
        IncomeReading.objects.update_or_create(kind=wanted.kind, defaults=told)


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
