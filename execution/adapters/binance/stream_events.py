"""Reads the user-data stream's JSON into stream news. An unreadable message becomes `Unread` news."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

from execution.adapters.binance.parse import ALGO_STATUSES, ORDER_STATUSES, from_milliseconds
from execution.adapters.binance.rows import Row
from execution.domain.client_ids import is_ours
from execution.domain.outcomes import ExchangeStatus, FillReport, OrderReport
from execution.domain.stream import (
    AccountNews,
    AlgoNews,
    HandOn,
    HeldAmount,
    Ignored,
    KeyExpired,
    MarginCall,
    OrderNews,
    SettingNews,
    StreamNews,
    Unread,
)

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, InvalidOperation)
NOT_JSON = "not JSON"


def read_event(text: str | bytes) -> StreamNews:
    """Read one message of the stream, plain or wrapped with its stream's name."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Unread(kind=NOT_JSON, why=type(error).__name__)
    if isinstance(row, dict) and isinstance(row.get("data"), dict):
        row = row["data"]
    if not isinstance(row, dict):
        return Unread(kind=NOT_JSON, why=f"a {type(row).__name__}")
    kind = str(row.get("e", "no kind"))[:40]
    reader = READERS.get(kind)
    if reader is None:
        return Unread(kind=kind, why="unknown kind")
    try:
        return reader(kind, row)
    except UNREADABLE as error:
        return Unread(kind=kind, why=repr(error))


def order_news(kind: str, row: Row) -> OrderNews:
    """Read an ORDER_TRADE_UPDATE.

    `z` is the cumulative quantity, `si` the id of the conditional order behind a triggered one.
    """
    order = row["o"]
    client_order_id, algo_id = str(order["c"]), str(order.get("si") or "")
    status = ORDER_STATUSES.get(order["X"])
    if status is None and is_ours(client_order_id):
        raise ValueError(f"status {order['X']}")
    # A triggered order is a new one to the exchange, and to us the conditional order in its next state.
    if algo_id and status is ExchangeStatus.NEW:
        status = ExchangeStatus.TRIGGERED
    return OrderNews(
        kind=kind,
        sent_at=from_milliseconds(row["E"]),
        client_order_id=client_order_id,
        symbol=str(order["s"]),
        buyer=order["S"] == "BUY",
        position_side=str(order["ps"]),
        report=_order_report(order, status, algo_id) if status else None,
        fill_id=int(order.get("t") or 0),
        algo_id=algo_id,
        fill=_fill(order),
    )


def _fill(order: Row) -> FillReport | None:
    """Read the fill that an event reports. One that it reports incompletely is left to the list of fills.

    An event has no margin asset, and neither a fee nor its asset where nothing was charged.
    """
    try:
        fill = FillReport(
            trade_id=int(order["t"]),
            order_id=str(order["i"]),
            symbol=str(order["s"]),
            buyer=order["S"] == "BUY",
            position_side=str(order["ps"]),
            price=_quantity(order["L"]),
            quantity=_quantity(order["l"]),
            realized_pnl=_amount(order["rp"]),
            commission=_amount(order["n"]),
            commission_asset=str(order["N"]),
            maker=bool(order["m"]),
            at=from_milliseconds(order["T"]),
        )
    except UNREADABLE:
        return None
    complete = fill.trade_id > 0 and fill.quantity > 0 and fill.price > 0 and order["N"]
    return fill if complete else None


def _order_report(order: Row, status: ExchangeStatus, algo_id: str) -> OrderReport:
    return OrderReport(
        client_order_id=str(order["c"]),
        symbol=str(order["s"]),
        status=status,
        quantity=_quantity(order["q"]),
        executed_quantity=_quantity(order["z"]),
        order_id=str(order["i"]),
        algo_id=algo_id,
        created_at=from_milliseconds(order["T"]) if status is ExchangeStatus.NEW and order.get("T") else None,
    )


def algo_news(kind: str, row: Row) -> AlgoNews:
    """Read an ALGO_UPDATE.

    `aq` and `ai` appear with the trigger. FINISHED without an executed quantity means cancelled.
    """
    order = row["o"]
    executed = _quantity(order.get("aq") or 0)
    if order["X"] == "FINISHED":
        status = ExchangeStatus.FILLED if executed > 0 else ExchangeStatus.CANCELED
    else:
        status = ALGO_STATUSES[order["X"]]
    report = OrderReport(
        client_order_id=str(order["caid"]),
        symbol=str(order["s"]),
        status=status,
        quantity=_quantity(order.get("q") or 0),
        executed_quantity=executed,
        order_id=str(order.get("ai") or ""),
        algo_id=str(order["aid"]),
        created_at=from_milliseconds(row["T"]) if order["X"] == "NEW" and row.get("T") else None,
    )
    return AlgoNews(kind=kind, sent_at=from_milliseconds(row["E"]), report=report, reason=str(order.get("rm") or ""))


def account_news(kind: str, row: Row) -> AccountNews:
    change = row["a"]
    held = tuple(
        HeldAmount(symbol=str(each["s"]), position_side=str(each["ps"]), quantity=_amount(each["pa"]))
        for each in change.get("P") or ()
    )
    return AccountNews(kind=kind, sent_at=from_milliseconds(row["E"]), reason=str(change.get("m", "")), held=held)


def setting_news(kind: str, row: Row) -> SettingNews:
    leverage = row.get("ac")
    if leverage is None:
        return SettingNews(kind=kind, sent_at=from_milliseconds(row["E"]))
    return SettingNews(
        kind=kind, sent_at=from_milliseconds(row["E"]), symbol=str(leverage["s"]), leverage=int(leverage["l"])
    )


def margin_call_news(kind: str, row: Row) -> MarginCall:
    symbols = sorted({str(each["s"]) for each in row.get("p") or ()})
    return MarginCall(kind=kind, sent_at=from_milliseconds(row["E"]), symbols=tuple(symbols))


def key_expired_news(kind: str, row: Row) -> KeyExpired:
    return KeyExpired(kind=kind, sent_at=from_milliseconds(row["E"]), key=str(row.get("listenKey") or ""))


def hand_on_news(kind: str, row: Row) -> HandOn:
    return HandOn(kind=kind, sent_at=from_milliseconds(row["E"]))


def ignored_news(kind: str, row: Row) -> Ignored:
    return Ignored(kind=kind, sent_at=from_milliseconds(row["E"]))


def _amount(value: object) -> Decimal:
    amount = Decimal(str(value))
    if not amount.is_finite():
        raise ValueError(f"amount {value}")
    return amount


def _quantity(value: object) -> Decimal:
    quantity = _amount(value)
    if quantity < 0:
        raise ValueError(f"quantity {value}")
    return quantity


READERS: Mapping[str, Callable[[str, Row], StreamNews]] = MappingProxyType(
    {
        "ORDER_TRADE_UPDATE": order_news,
        "ALGO_UPDATE": algo_news,
        "ACCOUNT_UPDATE": account_news,
        "ACCOUNT_CONFIG_UPDATE": setting_news,
        "MARGIN_CALL": margin_call_news,
        "listenKeyExpired": key_expired_news,
        # The former event for a conditional order that was refused at its trigger. It has no client order id.
        "CONDITIONAL_ORDER_TRIGGER_REJECT": hand_on_news,
        # The same fill follows as ORDER_TRADE_UPDATE with its cumulative quantity, status and fee. Without them a fill
        # and its repetition look alike.
        "TRADE_LITE": ignored_news,
        # Grids that an operator runs on the exchange's own pages.
        "STRATEGY_UPDATE": ignored_news,
        "GRID_UPDATE": ignored_news,
    }
)
