"""Attributes the fills that reduce a position to our trade or to other clients of the account."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport

# Finer than any asset's fees, coarser than what the database keeps.
FEE_GRID = Decimal("0.000000000001")


def exits_of_trade(
    open_quantity: Decimal, ours: Sequence[FillReport], others: Sequence[FillReport], held: Decimal
) -> list[FillReport]:
    """Return the fills that closed a trade, oldest first.

    The last fills are split where they close more than the trade had open.

    Args:
        open_quantity: what of the trade is not booked as closed.
        ours: fills of our own exits, all of them the trade's.
        others: fills in the closing direction by all other clients of the account.
        held: what the exchange still holds in the trade's direction, read before the fills.

    What an operator closes is taken from what was added by hand first: only what the position falls short of our trade
    has closed it, and the newest fills are those that made it so.

    """
    taken = _up_to(open_quantity, sorted(ours, key=_by_id))
    left = open_quantity - sum((fill.quantity for fill in taken), ZERO)
    short = max(ZERO, left - held)
    return sorted([*taken, *_up_to(short, sorted(others, key=_by_id, reverse=True))], key=_by_id)


def part_of_fill(fill: FillReport, quantity: Decimal) -> FillReport:
    """Return the part of a fill that closed our trade.

    The fee is shared by quantity. The rest of the fill belongs to a position that is not ours. A fill that turns a
    position round realises its PnL on the closing part only, so the PnL stays whole.
    """
    return replace(
        fill,
        quantity=quantity,
        commission=_share(fill.commission, quantity, fill),
        fee_value=None if fill.fee_value is None else _share(fill.fee_value, quantity, fill),
    )


def unbooked_fills(fills: Sequence[FillReport], booked: Mapping[int, Decimal]) -> list[FillReport]:
    """Return what is not yet booked of these fills.

    The PnL of a fill that is booked in part was booked with that part.

    Args:
        fills: as the exchange has them.
        booked: quantities by fill.

    """
    left = [(fill, fill.quantity - booked.get(fill.trade_id, ZERO)) for fill in fills]
    return [
        replace(part_of_fill(fill, rest), realized_pnl=ZERO, pnl_value=ZERO) if fill.trade_id in booked else fill
        for fill, rest in left
        if rest > 0
    ]


def _share(amount: Decimal, quantity: Decimal, fill: FillReport) -> Decimal:
    return (amount * quantity / fill.quantity).quantize(FEE_GRID)


def _up_to(quantity: Decimal, fills: Sequence[FillReport]) -> list[FillReport]:
    taken: list[FillReport] = []
    left = quantity
    for fill in fills:
        if left <= 0:
            break
        taken.append(fill if fill.quantity <= left else part_of_fill(fill, left))
        left -= taken[-1].quantity
    return taken


def _by_id(fill: FillReport) -> int:
    return fill.trade_id
