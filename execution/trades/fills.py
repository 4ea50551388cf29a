"""Turns the exchange's fills into rows, each once, and reads them back as amounts."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from execution.domain.money import ZERO, plain
from execution.domain.outcomes import FillReport
from execution.domain.pnl import FillAmounts
from execution.models import Fill, Order, Trade
from execution.store.fills import fills_of_trades, insert_fills


def fill_rows(trade: Trade, fills: Sequence[FillReport], orders: Mapping[str, Order], *, entry: bool) -> list[Fill]:
    """Return these fills as rows, unsaved, in the exchange's order.

    They are those that are not booked, read under a lock on the trade's request: else two callers could both find the
    same fill new.
    """
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
            pnl_asset=fill.pnl_asset,
            pnl_value=fill.pnl_value,
            commission=fill.commission,
            commission_asset=fill.commission_asset,
            fee_value=fill.fee_value,
            maker=fill.maker,
            filled_at=fill.at,
        )
        for fill in sorted(fills, key=lambda report: report.trade_id)
    ]


def booked_quantities(trade: Trade) -> dict[int, Decimal]:
    """Return how much of each fill is in the trade's books."""
    return dict(trade.fills.values_list("exchange_trade_id", "quantity"))


def store(fills: Sequence[Fill]) -> None:
    """Store rows of `fill_rows`.

    The rest of a fill that was booked in part is added to its row.
    """
    known = {row.exchange_trade_id: row for row in fills_of_trades({fill.trade_id for fill in fills})}
    insert_fills([fill for fill in fills if fill.exchange_trade_id not in known])
    for rest in fills:
        row = known.get(rest.exchange_trade_id)
        if row:
            row.quantity += rest.quantity
            row.commission += rest.commission
            row.fee_value = None if row.fee_value is None or rest.fee_value is None else row.fee_value + rest.fee_value
            row.save(update_fields=["quantity", "commission", "fee_value"])


def amounts_of(fills: Iterable[Fill | FillReport]) -> list[FillAmounts]:
    """Return the amounts of fills, stored or reported."""
    return [
        FillAmounts(
            price=fill.price,
            quantity=fill.quantity,
            realized_pnl=(fill.pnl_value or ZERO) if fill.pnl_asset else fill.realized_pnl,
            commission=fill.fee_value or ZERO,
        )
        for fill in fills
    ]


def unvalued_fees(fills: Iterable[Fill]) -> dict[str, str]:
    """Return the fees with no known value in the quote asset, by the asset that they were paid in."""
    return by_asset((fill.commission_asset, fill.commission) for fill in fills if fill.fee_value is None)


def unvalued_pnl(fills: Iterable[Fill]) -> list[tuple[str, Decimal]]:
    """Return the realised PnL with no known value in the quote asset, each with its asset."""
    strange = (fill for fill in fills if fill.pnl_asset and fill.pnl_value is None and fill.realized_pnl)
    return [(fill.pnl_asset, fill.realized_pnl) for fill in strange]


def by_asset(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, str]:
    """Sum amounts by their asset, as JSON keeps them."""
    sums: dict[str, Decimal] = {}
    for asset, amount in amounts:
        sums[asset] = sums.get(asset, ZERO) + amount
    return {asset: plain(amount) for asset, amount in sorted(sums.items())}
