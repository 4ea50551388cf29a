"""Rows of the positions table, and what a reading adds to the trades of those positions."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from uuid import UUID

from django.db import connection

from execution.models import Position

# One statement for all trades; greatest() and least() pass over what is not known yet.
WIDEN = """
    UPDATE execution_trade SET highest_price = greatest(highest_price, mark), lowest_price = least(lowest_price, mark)
    FROM unnest(%s::uuid[], %s::numeric[]) AS seen (trade_id, mark)
    WHERE id = trade_id AND (mark BETWEEN lowest_price AND highest_price) IS NOT TRUE
"""
# Of a trade that began while its quote asset had no known price; its margin in USD follows.
PRICE_LATE = """
    WITH priced AS (
        UPDATE execution_trade SET quote_index = seen.price, margin_usd = margin * seen.price
        FROM unnest(%s::uuid[], %s::numeric[]) AS seen (trade_id, price)
        WHERE id = trade_id AND quote_index IS NULL
    )
    UPDATE execution_executionrequest SET quote_index = seen.price
    FROM unnest(%s::uuid[], %s::numeric[]) AS seen (request_id, price)
    WHERE id = request_id AND quote_index IS NULL
"""
SHOWN = [
    "quote_asset",
    "quote_index",
    "direction",
    "trade",
    "quantity",
    "entry_price",
    "mark_price",
    "unrealized_pnl",
    "initial_margin",
    "liquidation_price",
    "observed_at",
]


def positions_by_side() -> dict[tuple[str, str], Position]:
    """Return every stored position by symbol and position side."""
    return {(row.symbol, row.position_side): row for row in Position.objects.all()}


def store_positions(rows: Sequence[Position]) -> None:
    """Insert these positions, or update the rows of the same symbol and side: one statement."""
    Position.objects.bulk_create(
        rows, update_conflicts=True, update_fields=SHOWN, unique_fields=["symbol", "position_side"]
    )


def delete_positions(keys: Collection[int]) -> None:
    """Delete the positions of these primary keys."""
    Position.objects.filter(pk__in=keys).delete()


def delete_position_of(symbol: str, position_side: str) -> None:
    """Delete the position of one symbol and side."""
    Position.objects.filter(symbol=symbol, position_side=position_side).delete()


def widen_price_ranges(seen: Sequence[tuple[UUID, Decimal]]) -> None:
    """Widen the highest and lowest mark price of these trades, by trade id.

    `updated_at` stays as it is: a reading is no change of the trade.
    """
    with connection.cursor() as cursor:
        cursor.execute(WIDEN, [[pk for pk, _ in seen], [price for _, price in seen]])


def price_trades_late(prices: Sequence[tuple[UUID, Decimal]]) -> None:
    """Give trades and their requests the index price of the quote asset where they have none, by trade id."""
    keys, amounts = [pk for pk, _ in prices], [price for _, price in prices]
    with connection.cursor() as cursor:
        cursor.execute(PRICE_LATE, [keys, amounts, keys, amounts])
