"""Turns the exchange's fills into rows, each once, and reads them back as amounts."""

from collections.abc import Iterable, Mapping, Sequence

from execution.domain.outcomes import FillReport
from execution.domain.pnl import FillAmounts
from execution.models import Fill, Order, Trade


def new_fills(trade: Trade, fills: Sequence[FillReport], orders: Mapping[str, Order], *, entry: bool) -> list[Fill]:
    """Return rows for the fills that are not stored yet, in the exchange's order.

    Call it with a lock on the trade's request, so that two callers cannot both find the same fill new.
    """
    known = set(trade.fills.values_list("exchange_trade_id", flat=True))
    return [
        Fill(
            symbol=fill.symbol,
            exchange_trade_id=fill.trade_id,
            exchange_order_id=fill.order_id,
            order=orders.get(fill.order_id),
            trade=trade,
            entry=entry,
            buyer=fill.buyer,
            price=fill.price,
            quantity=fill.quantity,
            realized_pnl=fill.realized_pnl,
            commission=fill.commission,
            commission_asset=fill.commission_asset,
            maker=fill.maker,
            filled_at=fill.at,
        )
        for fill in sorted(fills, key=lambda report: report.trade_id)
        if fill.trade_id not in known
    ]


def amounts_of(fills: Iterable[Fill | FillReport]) -> list[FillAmounts]:
    """Return the amounts of fills, stored or reported."""
    return [
        FillAmounts(
            price=fill.price, quantity=fill.quantity, realized_pnl=fill.realized_pnl, commission=fill.commission
        )
        for fill in fills
    ]
