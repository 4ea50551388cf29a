"""Books of any size, made by SQL in a few statements: closed trades with their decisions, orders, fills and events."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection

# The newest trade was entered at this time; each is a minute older than the next.
NEWEST = datetime(2026, 3, 1, tzinfo=UTC)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ETHUSDC")
FILLS_A_TRADE = 5
# An id that is known by the number of its trade: `n`.
IDENTITY = "md5('trade' || n)::uuid"
AT = "%(newest)s::timestamptz - n * interval '1 minute'"
SYMBOL = "(%(symbols)s::text[])[(1 + n %% 5)::int]"


def columns_of(table: str) -> dict[str, str]:
    """Return a table's columns that must have a value and have no default, with their types."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'",
            [table],
        )
        return dict(cursor.fetchall())


# What a column has that is not named below, by its type.
NOTHING = {
    "character varying": "''",
    "text": "''",
    "boolean": "false",
    "jsonb": "'{}'::jsonb",
    "numeric": "0",
    "integer": "0",
    "smallint": "0",
    "bigint": "0",
    "timestamp with time zone": AT,
    "uuid": IDENTITY,
}
KINDS = "ARRAY['ENTRY', 'STOP', 'TARGET']"
# Above what the tests' own rows get.
ORDER_ID = "1000000000 + 3 * n"
PRICE = "(50000 + n %% 1000)"
TABLES: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "execution_inboxevent",
        "n",
        {
            "id": "1000000000 + n",
            "event_type": "'ai.decision.made'",
            "identity": "'history:' || n",
            "outcome": "'REQUESTED'",
        },
    ),
    (
        "execution_executionrequest",
        "n",
        {
            "id": IDENTITY,
            "inbox_id": "1000000000 + n",
            "source": "'ai.decision.made'",
            "symbol": SYMBOL,
            "direction": "'LONG'",
            "order_type": "'MARKET'",
            "notional_usd": "500",
            "leverage": "5",
            "strategy": "'strategy-' || n %% 7",
            "quote_asset": "'USDT'",
            "quote_index": "1",
            "quantity": "0.01",
            "approved_at": AT,
            "state": "'RECORDED'",
        },
    ),
    (
        "execution_order",
        f"n, unnest({KINDS}) AS kind",
        {
            "id": f"{ORDER_ID} + array_position({KINDS}, kind)",
            "request_id": IDENTITY,
            "purpose": "kind",
            "sequence": "1",
            "client_order_id": "'es1-' || lower(left(kind, 1)) || 'h' || n",
            "service": "CASE kind WHEN 'ENTRY' THEN 'STANDARD' ELSE 'ALGO' END",
            "exchange_order_id": "CASE kind WHEN 'ENTRY' THEN (8000000000 + n)::text ELSE '' END",
            "algo_id": "CASE kind WHEN 'ENTRY' THEN '' ELSE (9000000000 + 2 * n + length(kind) %% 2)::text END",
            "symbol": SYMBOL,
            "side": "CASE kind WHEN 'ENTRY' THEN 'BUY' ELSE 'SELL' END",
            "position_side": "'BOTH'",
            "order_type": (
                "CASE kind WHEN 'ENTRY' THEN 'MARKET' WHEN 'STOP' THEN 'STOP_MARKET' ELSE 'TAKE_PROFIT_MARKET' END"
            ),
            "quantity": "0.01",
            "state": "CASE kind WHEN 'STOP' THEN 'CANCELED' ELSE 'FILLED' END",
            "executed_quantity": "CASE kind WHEN 'STOP' THEN 0 ELSE 0.01 END",
        },
    ),
    (
        "execution_trade",
        "n",
        {
            "id": IDENTITY,
            "request_id": IDENTITY,
            "symbol": SYMBOL,
            "direction": "'LONG'",
            "position_side": "'BOTH'",
            "state": "'CLOSED'",
            "quote_asset": "'USDT'",
            "quote_index": "1",
            "quantity": "0.01",
            "exited_quantity": "0.01",
            "leverage": "5",
            "entry_price": PRICE,
            "exit_price": f"{PRICE} + 100",
            "exit_at": f"{AT} + interval '10 minutes'",
            "updated_at": f"{AT} + interval '10 minutes'",
            "checked_at": f"{AT} + interval '12 minutes'",
            "close_reason": "CASE WHEN n %% 3 = 0 THEN 'SL' ELSE 'TP' END",
            "reference_price": PRICE,
            "entry_fees": "0.25",
            "exit_fees": "0.25",
            "gross_pnl": "1",
            "net_pnl": "0.5",
            "net_pnl_usd": "0.5",
        },
    ),
    (
        "execution_fill",
        "n, generate_series(0, 4) AS part",
        {
            "symbol": SYMBOL,
            "exchange_trade_id": "7000000000 + 5 * n + part",
            "exchange_order_id": "(8000000000 + n)::text",
            "trade_id": IDENTITY,
            "order_id": f"CASE WHEN part < 3 THEN {ORDER_ID} + 1 ELSE {ORDER_ID} + 3 END",
            "entry": "part < 3",
            "buyer": "part < 3",
            "price": f"{PRICE} + part",
            "quantity": "CASE WHEN part < 2 THEN 0.003 WHEN part = 2 THEN 0.004 ELSE 0.005 END",
            "realized_pnl": "CASE WHEN part < 3 THEN 0 ELSE 0.5 END",
            "commission": "0.1",
            "commission_asset": "'USDT'",
            "fee_value": "0.1",
        },
    ),
    (
        "execution_outboxevent",
        "n",
        {
            "event_id": "md5('event' || n)::uuid",
            "event_type": "'trade.closed'",
            "aggregate": f"({IDENTITY})::text",
            "sequence": "1",
            "sent_at": AT,
        },
    ),
    (
        "execution_auditevent",
        "n",
        {
            "entity": "'trade'",
            "entity_id": f"({IDENTITY})::text",
            "to_state": "'CLOSED'",
            "trigger": "'all_exited'",
        },
    ),
)


def make_history(trades: int, *, begin: int = 1) -> None:
    """Insert this many closed trades with all that belongs to them, then let the planner know the tables.

    Args:
        trades: their number.
        begin: the number of the first; a history can be made in parts.

    """
    parameters: dict[str, Any] = {"begin": begin, "end": begin + trades - 1, "newest": NEWEST, "symbols": list(SYMBOLS)}
    with connection.cursor() as cursor:
        for table, each, given in TABLES:
            needed = {name: NOTHING[kind] for name, kind in columns_of(table).items() if name not in given}
            values = {**given, **needed}
            names = ", ".join(f'"{name}"' for name in values)
            made = f"SELECT {each} FROM generate_series(%(begin)s::bigint, %(end)s::bigint) AS n"  # noqa: S608 -- constants of this file
            statement = f"INSERT INTO {table} ({names}) SELECT {', '.join(values.values())} FROM ({made}) AS made"  # noqa: S608 -- as above
            cursor.execute(statement, parameters)
        for table, *_ in TABLES:
            cursor.execute(f"ANALYZE {table}")
