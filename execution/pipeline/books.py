"""A closed trade's figures: from its booked fills, and from the exchange's income of its time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from execution.domain import pnl
from execution.domain.money import ZERO
from execution.domain.outcomes import IncomeKind, IncomeReport
from execution.domain.ports import Exchange
from execution.domain.quote_index import QuoteIndex, in_usd
from execution.domain.reasons import CloseReason
from execution.models import Income, Trade
from execution.pipeline.booking import amounts_of, unvalued_fees
from execution.pipeline.valuing import Values

# These end with a settlement between the wallet and the insurance fund, which is in no fill.
FORCED = frozenset({CloseReason.LIQUIDATION, CloseReason.ADL, CloseReason.SETTLEMENT})
# How long after the last fill the exchange may book what belongs to it.
SETTLED_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class ValuedIncome:
    """A line of income with what it is worth in the symbol's quote asset; None where nobody can tell."""

    line: IncomeReport
    value: Decimal | None


def read_income(trade: Trade, exchange: Exchange, *, forced: bool) -> list[ValuedIncome]:
    """Read what may belong to a trade beside its fills; the insurance fund's part only where it was forced out.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    lines = list(exchange.income_since(IncomeKind.FUNDING, trade.entry_at, symbol=trade.symbol))
    if forced:
        # A shortfall of the whole account is booked without a symbol.
        cleared = exchange.income_since(IncomeKind.CLEARING, trade.entry_at)
        lines += [line for line in cleared if line.symbol in {"", trade.symbol}]
    values = Values(exchange=exchange, quote_asset=trade.quote_asset)
    return [ValuedIncome(line=line, value=values.worth(line.amount, line.asset, line.at)) for line in lines]


def books_of(trade: Trade, income: Sequence[ValuedIncome], index: QuoteIndex | None = None) -> dict[str, Any]:
    """Store the income of the trade's time and return the columns of its closed books; call it in a transaction.

    What is in USD is converted at `index`, without one at the price that the trade has already.
    """
    entries, exits = list(trade.fills.filter(entry=True)), list(trade.fills.filter(entry=False))
    exit_at = max(fill.filled_at for fill in exits)
    paid = _store_income(trade, income, exit_at)
    funding, other = paid[IncomeKind.FUNDING], paid[IncomeKind.CLEARING]
    result = pnl.settle(
        entries=amounts_of(entries),
        exits=amounts_of(exits),
        funding=funding,
        other=other,
        margin=trade.margin or None,
        risk=_risk(trade),
    )
    prices = [fill.price for fill in (*entries, *exits)]
    price = index.price if index else trade.quote_index
    return {
        "quote_index": price,
        "net_pnl_usd": in_usd(result.net_pnl, price),
        "exit_price": result.exit_price,
        "exit_at": exit_at,
        "exit_fees": result.fees - trade.entry_fees,
        "unvalued_fees": unvalued_fees([*entries, *exits]),
        "funding": funding,
        "other_income": other,
        "gross_pnl": result.gross_pnl,
        "net_pnl": result.net_pnl,
        "pnl_percent": result.pnl_percent,
        "r_multiple": result.r_multiple,
        "lowest_price": min([*prices, *([trade.lowest_price] if trade.lowest_price else [])]),
        "highest_price": max([*prices, *([trade.highest_price] if trade.highest_price else [])]),
    }


def _store_income(trade: Trade, income: Sequence[ValuedIncome], exit_at: Any) -> dict[IncomeKind, Decimal]:
    """Store each line once, for whichever trade comes first, and return the sums of this one's by kind."""
    until = {IncomeKind.FUNDING: exit_at, IncomeKind.CLEARING: exit_at + SETTLED_WITHIN}
    rows = [
        Income(
            trade=trade,
            kind=found.line.kind,
            transaction_id=found.line.transaction_id,
            amount=found.line.amount,
            asset=found.line.asset,
            value=found.value,
            at=found.line.at,
        )
        for found in income
        if trade.entry_at <= found.line.at <= until[found.line.kind]
    ]
    Income.objects.bulk_create(rows, ignore_conflicts=True)
    sums = dict.fromkeys(IncomeKind, ZERO)
    for row in trade.income.all():
        sums[IncomeKind(row.kind)] += row.value or ZERO
    return sums


def _risk(trade: Trade) -> Decimal | None:
    """Return what the planned stop would have lost; None without one."""
    return abs(trade.entry_price - trade.stop_price) * trade.quantity or None if trade.stop_price else None
