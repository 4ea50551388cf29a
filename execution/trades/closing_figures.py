"""A closed trade's figures: from its booked fills, and from the exchange's income of its time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db.models import Q

from execution.domain import pnl
from execution.domain.attribution import FEE_GRID
from execution.domain.clocks import Clock
from execution.domain.funding import LONGEST_INTERVAL, Change, FundingLine, Holding, funding_parts, rate_of
from execution.domain.money import ZERO
from execution.domain.outcomes import FundingRate, IncomeKind, IncomeReport
from execution.domain.ports import Exchange
from execution.domain.quote_index import QuoteIndex, in_usd
from execution.domain.reasons import CloseReason
from execution.domain.trading import Direction
from execution.models import Fill, Income, Trade
from execution.store.fills import set_fill_value
from execution.store.income import correct_income, insert_income
from execution.store.trades import trades_between
from execution.trades.account_income import WantedIncome, income_of
from execution.trades.fee_valuation import Values
from execution.trades.fills import amounts_of, by_asset, unvalued_fees, unvalued_pnl
from execution.trades.funding_due import funding_due

log = structlog.get_logger(__name__)
# These end with a settlement between the wallet and the insurance fund, which is in no fill.
FORCED = frozenset({CloseReason.LIQUIDATION, CloseReason.ADL, CloseReason.SETTLEMENT})
# How long after the last fill the exchange may book what belongs to it.
SETTLED_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class ValuedIncome:
    """A line of income with its worth in the symbol's quote asset, None where no price is known.

    `rate`: of a line of funding, what it was paid by, None where the exchange does not report it.
    """

    line: IncomeReport
    value: Decimal | None
    rate: FundingRate | None = None


def read_income(
    trade: Trade, exchange: Exchange, *, forced: bool, learned_at: datetime, clock: Clock
) -> list[ValuedIncome]:
    """Read what may belong to a trade beside its fills.

    The insurance fund's part is read only for a trade that was forced out.

    Funding is read only where it can be in the books (`funding_due`).

    `learned_at`: how new the reading has to be, by our clock; one that others have made since serves too.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    lines = []
    due = funding_due(trade, learned_at=learned_at, now=clock(), present=exchange.now())
    if due is not None:
        # A line may carry a time shortly before the funding that it is for, and the trade may have begun in between.
        since = trade.entry_at - SETTLED_WITHIN
        wanted = WantedIncome(kind=IncomeKind.FUNDING, since=since, learned_at=due, symbol=trade.symbol)
        lines = income_of(wanted, exchange=exchange, clock=clock)
    first_at = min((line.at for line in lines), default=None)
    rates = exchange.funding_rates(trade.symbol, first_at - LONGEST_INTERVAL) if first_at else []
    if forced:
        # A shortfall of the whole account is booked without a symbol.
        wanted = WantedIncome(kind=IncomeKind.CLEARING, since=trade.entry_at, learned_at=learned_at)
        cleared = income_of(wanted, exchange=exchange, clock=clock)
        lines += [line for line in cleared if line.symbol in {"", trade.symbol}]
    values = Values(exchange=exchange, quote_asset=trade.quote_asset)
    return [
        ValuedIncome(
            line=line,
            value=values.worth(line.amount, line.asset, line.at),
            rate=rate_of(line.at, rates) if line.kind is IncomeKind.FUNDING else None,
        )
        for line in lines
    ]


def books_of(trade: Trade, income: Sequence[ValuedIncome], index: QuoteIndex | None = None) -> dict[str, object]:
    """Store the income of the trade's time and return the columns of its closed books.

    Call it in a transaction.

    What is in USD is converted at `index`, without one at the price that the trade has already.
    """
    entries, exits = list(trade.fills.filter(entry=True)), list(trade.fills.filter(entry=False))
    exit_at = max(fill.filled_at for fill in exits)
    _store_income(trade, income, exit_at)
    lines = list(trade.income.all())
    funding, other = _sum(lines, IncomeKind.FUNDING), _sum(lines, IncomeKind.CLEARING)
    # Without a stop there is none.
    planned_loss = abs(trade.entry_price - trade.stop_price) * trade.quantity or None if trade.stop_price else None
    result = pnl.result_of(
        entries=amounts_of(entries),
        exits=amounts_of(exits),
        funding=funding,
        other=other,
        margin=trade.margin or None,
        risk=planned_loss,
    )
    prices = [fill.price for fill in (*entries, *exits)]
    price = index.price if index else trade.quote_index
    entry_fees = pnl.total_commission(amounts_of(entries))
    return {
        "quote_index": price,
        "net_pnl_usd": in_usd(result.net_pnl, price),
        "exit_price": result.exit_price,
        "exit_at": exit_at,
        "entry_fees": entry_fees,
        "exit_fees": result.fees - entry_fees,
        "funding": funding,
        "other_income": other,
        "gross_pnl": result.gross_pnl,
        "net_pnl": result.net_pnl,
        "pnl_percent": result.pnl_percent,
        "r_multiple": result.r_multiple,
        "lowest_price": min([*prices, *([trade.lowest_price] if trade.lowest_price else [])]),
        "highest_price": max([*prices, *([trade.highest_price] if trade.highest_price else [])]),
        **_unvalued(trade, [*entries, *exits], lines),
    }


def _sum(lines: Iterable[Income], kind: IncomeKind) -> Decimal:
    return sum((row.value or ZERO for row in lines if row.kind == kind), ZERO)


def _unvalued(trade: Trade, fills: Sequence[Fill], lines: Sequence[Income]) -> dict[str, object]:
    """Return what is in no figure, and what limits take it to have cost."""
    fees = unvalued_fees(fills)
    income = by_asset([*unvalued_pnl(fills), *((row.asset, row.amount) for row in lines if row.value is None)])
    turnover = sum((fill.price * fill.quantity for fill in fills), ZERO)
    cost = pnl.assumed_cost(
        turnover=turnover, margin=trade.margin, fees_unvalued=bool(fees), income_unvalued=bool(income)
    )
    if fees or income:
        log.warning("net_is_incomplete", trade_id=str(trade.pk), fees=fees, income=income, assumed_cost=str(cost))
    return {"unvalued_fees": fees, "unvalued_income": income, "assumed_cost": cost}


def _store_income(trade: Trade, income: Sequence[ValuedIncome], exit_at: datetime) -> None:
    """Store the trade's part of each line once, and correct a part that is known better by now."""
    known = {(row.kind, row.transaction_id): row for row in trade.income.all()}
    fresh = []
    for row in [*_funding(trade, income, exit_at), *_cleared(trade, income, exit_at)]:
        before = known.get((row.kind, row.transaction_id))
        if before is None:
            fresh.append(row)
        # A value that rests on the asset index is of the time at which it was first read.
        elif before.amount != row.amount or (before.value is None and row.value is not None):
            correct_income(before.pk, row.amount, row.value)
    # Of other kinds a line is another trade's when that was first.
    insert_income(fresh)


def _funding(trade: Trade, income: Sequence[ValuedIncome], exit_at: datetime) -> list[Income]:
    """Return the trade's part of each line of funding, by what was held at the funding time."""
    lines = [found for found in income if found.line.kind is IncomeKind.FUNDING]
    if not lines:
        return []
    holdings = _holdings(trade, exit_at)
    rows = []
    for found in lines:
        line = found.line
        booked = FundingLine(amount=line.amount, value=found.value, at=line.at, rate=found.rate)
        part = funding_parts(booked, holdings).get(trade.pk)
        if part is not None:
            rows.append(_row(trade, found, part))
    return rows


def _cleared(trade: Trade, income: Sequence[ValuedIncome], exit_at: datetime) -> list[Income]:
    return [
        _row(trade, found, found.line.amount)
        for found in income
        if found.line.kind is not IncomeKind.FUNDING and trade.entry_at <= found.line.at <= exit_at + SETTLED_WITHIN
    ]


def _row(trade: Trade, found: ValuedIncome, part: Decimal) -> Income:
    line, value = found.line, found.value
    if value is not None and part != line.amount:
        value = (value * part / line.amount).quantize(FEE_GRID)
    return Income(
        trade=trade,
        kind=line.kind,
        transaction_id=line.transaction_id,
        amount=part,
        asset=line.asset,
        value=value,
        at=line.at,
    )


def _holdings(trade: Trade, exit_at: datetime) -> list[Holding]:
    """Return every trade that held something of the symbol while this one did, on whichever side."""
    meanwhile = trades_between(trade.symbol, trade.entry_at - SETTLED_WITHIN, exit_at + SETTLED_WITHIN)
    return [_holding(row) for row in meanwhile]


def _holding(trade: Trade) -> Holding:
    fills = list(trade.fills.all())
    changes = [
        Change(at=fill.filled_at, number=fill.exchange_trade_id, signed=fill.quantity if fill.buyer else -fill.quantity)
        for fill in fills
    ]
    # A position that was adopted has no entry fills of its own: it was there when the trade began.
    adopted = trade.quantity - sum((fill.quantity for fill in fills if fill.entry), ZERO)
    if adopted > 0:
        changes.append(Change(at=trade.entry_at, number=0, signed=adopted * Direction(trade.direction).sign))
    return Holding(trade_id=trade.pk, changes=changes)


def revalue(trade: Trade, exchange: Exchange) -> None:
    """Value what could not be valued when it was booked, because a price may become known later.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    values = Values(exchange=exchange, quote_asset=trade.quote_asset)
    strange = ~Q(pnl_asset="") & Q(pnl_value=None)
    for fill in trade.fills.filter(Q(fee_value=None) | strange):
        fee = values.worth(fill.commission, fill.commission_asset, fill.filled_at)
        gain = values.worth(fill.realized_pnl, fill.pnl_asset, fill.filled_at) if fill.pnl_asset else None
        set_fill_value(fill.pk, fee, gain)
