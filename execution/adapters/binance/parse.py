"""Reads the exchange's JSON into domain values. Unknown fields and filters are ignored."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import structlog

from execution.adapters.binance.rows import Row
from execution.domain.candles import Candle
from execution.domain.client_ids import is_ours
from execution.domain.depth import Level
from execution.domain.equity import WalletLine, Wallets
from execution.domain.external import ForeignOrder
from execution.domain.liquidation import MarginBracket
from execution.domain.money import ZERO
from execution.domain.outcomes import (
    ExchangeStatus,
    FillReport,
    FundingRate,
    IncomeKind,
    IncomeReport,
    OrderReport,
    PositionReport,
    RestingTerms,
)
from execution.domain.quote_index import AccountMargin
from execution.domain.rate_limits import Limits
from execution.domain.trading import InstrumentFilters, PositionSide, Quote

log = structlog.get_logger(__name__)
UNREADABLE_ROW = (KeyError, TypeError, ValueError, InvalidOperation)

ORDER_STATUSES = {
    "NEW": ExchangeStatus.NEW,
    "PARTIALLY_FILLED": ExchangeStatus.PARTIALLY_FILLED,
    "FILLED": ExchangeStatus.FILLED,
    "CANCELED": ExchangeStatus.CANCELED,
    "EXPIRED": ExchangeStatus.EXPIRED,
    "EXPIRED_IN_MATCH": ExchangeStatus.EXPIRED,
    "REJECTED": ExchangeStatus.REJECTED,
}
# TRIGGERING: its price was reached, so it waits no more, whether an order comes of it or not.
# FINISHED means that the order made by the trigger has ended, filled or not: its quantity shows which.
ALGO_STATUSES = {
    "NEW": ExchangeStatus.NEW,
    "TRIGGERING": ExchangeStatus.TRIGGERED,
    "TRIGGERED": ExchangeStatus.TRIGGERED,
    "CANCELED": ExchangeStatus.CANCELED,
    "EXPIRED": ExchangeStatus.EXPIRED,
    "REJECTED": ExchangeStatus.REJECTED,
}


def from_milliseconds(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def order_report(row: Row) -> OrderReport:
    """Read an answer of `/fapi/v1/order` and its relatives."""
    return OrderReport(
        client_order_id=str(row["clientOrderId"]),
        symbol=str(row["symbol"]),
        status=ORDER_STATUSES[row["status"]],
        quantity=Decimal(row["origQty"]),
        executed_quantity=Decimal(row["executedQty"]),
        order_id=str(row["orderId"]),
        created_at=_created(row, "time"),
    )


def cancelled_algo(row: Row, symbol: str) -> OrderReport:
    """Read the answer to a conditional order's cancel. An order that could be cancelled has not triggered.

    Raises:
        ValueError: the answer does not confirm the cancel.

    """
    if str(row.get("code")) != "200":
        raise ValueError(f"not cancelled: code={row.get('code')}")
    return OrderReport(
        client_order_id=str(row["clientAlgoId"]),
        symbol=symbol,
        status=ExchangeStatus.CANCELED,
        quantity=ZERO,
        executed_quantity=ZERO,
        algo_id=str(row["algoId"]),
    )


def algo_report(row: Row) -> OrderReport:
    """Read an answer of `/fapi/v1/algoOrder` and its relatives.

    The ordinary order's id and executed quantity appear once the order has triggered.
    """
    executed = Decimal(row.get("actualQty") or 0)
    if row["algoStatus"] == "FINISHED":
        status = ExchangeStatus.FILLED if executed > 0 else ExchangeStatus.CANCELED
    else:
        status = ALGO_STATUSES[row["algoStatus"]]
    return OrderReport(
        client_order_id=str(row["clientAlgoId"]),
        symbol=str(row["symbol"]),
        status=status,
        quantity=Decimal(row.get("quantity") or 0),
        executed_quantity=executed,
        order_id=str(row.get("actualOrderId") or ""),
        algo_id=str(row["algoId"]),
        created_at=_created(row, "createTime"),
    )


def _created(row: Row, name: str) -> datetime | None:
    """Return when the exchange created an order.

    The answer to a placement contains only the time of the last change, which is the same then.
    """
    made = row.get(name) or (row.get("updateTime") if row.get("status", row.get("algoStatus")) == "NEW" else None)
    return from_milliseconds(int(made)) if made else None


def as_triggered(report: OrderReport) -> OrderReport:
    """Return an ordinary order's report as that of the conditional order whose trigger has made it.

    While the ordinary order is open, the conditional one is TRIGGERED.
    """
    resting = report.status in {ExchangeStatus.NEW, ExchangeStatus.PARTIALLY_FILLED}
    return replace(report, status=ExchangeStatus.TRIGGERED) if resting else report


def all_rules(information: Row) -> dict[str, InstrumentFilters]:
    """Read the filters of `exchangeInfo`, by symbol.

    A symbol that cannot be read is left out and not traded.
    """
    rules: dict[str, InstrumentFilters] = {}
    for row in information["symbols"]:
        try:
            rules[row["symbol"]] = symbol_rules(row)
        except UNREADABLE_ROW as error:
            log.warning("symbol_unreadable", symbol=str(row.get("symbol")), error=repr(error))
    return rules


def listing(answer: Row) -> tuple[dict[str, InstrumentFilters], Limits]:
    """Read `exchangeInfo`: the rules of every symbol, and the limits of requests and orders."""
    return all_rules(answer), limits(answer.get("rateLimits", ()))


def limits(rows: Iterable[Row]) -> Limits:
    """Read `rateLimits`. A limit that is not published stays as documented."""
    published = {(row["rateLimitType"], row["interval"], int(row["intervalNum"])): int(row["limit"]) for row in rows}
    documented = Limits()
    return Limits(
        weight=published.get(("REQUEST_WEIGHT", "MINUTE", 1), documented.weight),
        orders_10s=published.get(("ORDERS", "SECOND", 10), documented.orders_10s),
        orders_1m=published.get(("ORDERS", "MINUTE", 1), documented.orders_1m),
    )


def our_orders(rows: Iterable[Row]) -> list[OrderReport]:
    """Read the open orders with our prefix.

    The orders of other clients are skipped, so that none of them can make the answer unreadable.
    """
    return [replace(order_report(row), terms=terms_of(row)) for row in rows if is_ours(str(row["clientOrderId"]))]


def our_algo_orders(rows: Iterable[Row]) -> list[OrderReport]:
    """Read the open algo orders with our prefix."""
    return [replace(algo_report(row), terms=terms_of(row)) for row in rows if is_ours(str(row["clientAlgoId"]))]


def terms_of(row: Row) -> RestingTerms:
    """Read the terms of an open order of either service. A field that is missing stays empty.

    They are read to be checked: a field that cannot be read must not make the order itself unreadable.
    """
    try:
        trigger = Decimal(row.get("triggerPrice") or row.get("stopPrice") or ZERO)
    except UNREADABLE_ROW:
        trigger = ZERO
    return RestingTerms(
        kind=str(row.get("orderType") or row.get("type") or ""),
        side=str(row.get("side") or ""),
        position_side=str(row.get("positionSide") or PositionSide.BOTH),
        reduces=_reduces(row),
        whole=str(row.get("closePosition")).lower() == "true",
        trigger_type=str(row.get("workingType") or ""),
        trigger_price=trigger or None,
    )


def orders_of_others(rows: Iterable[Row]) -> list[ForeignOrder]:
    """Read the open orders of other clients, ordinary and conditional ones."""
    return [foreign_order(row) for row in rows if not is_ours(str(row.get("clientAlgoId") or row.get("clientOrderId")))]


def foreign_order(row: Row) -> ForeignOrder:
    return ForeignOrder(
        kind=str(row.get("orderType") or row.get("type") or ""),
        side=str(row.get("side") or ""),
        position_side=str(row.get("positionSide") or ""),
        quantity=Decimal(row.get("quantity") or row.get("origQty") or 0),
        closes_all=str(row.get("closePosition")).lower() == "true",
        order_id=str(row.get("algoId") or row.get("orderId") or ""),
        conditional=bool(row.get("algoId")),
        reduces=_reduces(row),
    )


def _reduces(row: Row) -> bool:
    """Whether an order can only reduce: by its flags, or in hedge mode by its side."""
    flags = {str(row.get("reduceOnly")).lower(), str(row.get("closePosition")).lower()}
    return "true" in flags or (row.get("positionSide"), row.get("side")) in {("LONG", "SELL"), ("SHORT", "BUY")}


def symbol_rules(row: Row) -> InstrumentFilters:
    """Read one symbol of `exchangeInfo`. Precision fields are not steps and are not used as such."""
    filters = {entry["filterType"]: entry for entry in row["filters"]}
    price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
    percent = filters.get("PERCENT_PRICE", {})
    market = filters.get("MARKET_LOT_SIZE", lot)
    return InstrumentFilters(
        symbol=str(row["symbol"]),
        trading=row["status"] == "TRADING",
        quote_asset=str(row["quoteAsset"]),
        margin_asset=str(row["marginAsset"]),
        tick_size=Decimal(price["tickSize"]),
        min_price=Decimal(price["minPrice"]),
        max_price=Decimal(price["maxPrice"]),
        limit_step=Decimal(lot["stepSize"]),
        limit_min_quantity=Decimal(lot["minQty"]),
        limit_max_quantity=Decimal(lot["maxQty"]),
        market_step=Decimal(market["stepSize"]),
        market_min_quantity=Decimal(market["minQty"]),
        market_max_quantity=Decimal(market["maxQty"]),
        min_notional=Decimal(filters.get("MIN_NOTIONAL", {"notional": "0"})["notional"]),
        percent_price_up=Decimal(percent.get("multiplierUp", ZERO)),
        percent_price_down=Decimal(percent.get("multiplierDown", ZERO)),
    )


def margin_brackets(rows: Iterable[Row]) -> dict[str, tuple[MarginBracket, ...]]:
    """Read `leverageBracket` of all symbols, by symbol. Its amounts are JSON numbers."""
    return {
        str(row["symbol"]): tuple(
            MarginBracket(
                notional_cap=Decimal(str(bracket["notionalCap"])),
                rate=Decimal(str(bracket["maintMarginRatio"])),
                deduction=Decimal(str(bracket["cum"])),
            )
            for bracket in row["brackets"]
        )
        for row in rows
    }


def mark_prices(rows: Sequence[Row]) -> dict[str, Decimal]:
    """Read `premiumIndex` of all symbols, by symbol."""
    return {row["symbol"]: Decimal(row["markPrice"]) for row in rows}


def multi_assets(row: Row) -> bool:
    """Read `multiAssetsMargin`."""
    return str(row["multiAssetsMargin"]).lower() == "true"


def account_margin(row: Row, *, multi_assets: bool) -> AccountMargin:
    """Read `account`, whose totals are in USD in multi-assets mode and of one asset alone without it."""
    return AccountMargin(
        total_usd=Decimal(row["totalMarginBalance"]) if multi_assets else None,
        by_asset={str(asset["asset"]): Decimal(asset["marginBalance"]) for asset in row["assets"]},
    )


def wallets(row: Row) -> Wallets:
    """Read the assets of `account` that hold something or have an open result."""
    held = [row for row in row["assets"] if Decimal(row["walletBalance"]) or Decimal(row["unrealizedProfit"])]
    return Wallets(
        balances={str(row["asset"]): Decimal(row["walletBalance"]) for row in held},
        unrealized={str(row["asset"]): profit for row in held if (profit := Decimal(row["unrealizedProfit"]))},
    )


def asset_index(rows: Sequence[Row]) -> dict[str, Decimal]:
    """Read `assetIndex` of all assets: what one unit is worth in USD, by asset."""
    return {str(row["symbol"]).removesuffix("USD"): Decimal(row["index"]) for row in rows}


def quote(symbol: str, book: Row, mark: Decimal) -> Quote:
    """Read `depth` of one symbol, which does not name it."""
    return Quote(symbol=symbol, bids=_levels(book["bids"]), asks=_levels(book["asks"]), mark=mark)


def _levels(rows: Iterable[Sequence[str]]) -> tuple[Level, ...]:
    return tuple(Level(price=Decimal(price), quantity=Decimal(quantity)) for price, quantity in rows)


def fill_report(row: Row) -> FillReport:
    """Read one row of `userTrades`."""
    return FillReport(
        trade_id=int(row["id"]),
        order_id=str(row["orderId"]),
        symbol=str(row["symbol"]),
        buyer=row["side"] == "BUY",
        position_side=str(row["positionSide"]),
        price=Decimal(row["price"]),
        quantity=Decimal(row["qty"]),
        realized_pnl=Decimal(row["realizedPnl"]),
        commission=Decimal(row["commission"]),
        commission_asset=str(row["commissionAsset"]),
        pnl_asset=str(row.get("marginAsset") or ""),
        maker=bool(row["maker"]),
        at=from_milliseconds(row["time"]),
    )


def position_report(row: Row) -> PositionReport:
    """Read one row of `positionRisk` v3."""
    return PositionReport(
        symbol=str(row["symbol"]),
        position_side=str(row["positionSide"]),
        quantity=Decimal(row["positionAmt"]),
        entry_price=Decimal(row["entryPrice"]),
        mark_price=Decimal(row["markPrice"]),
        unrealized_pnl=Decimal(row["unRealizedProfit"]),
        liquidation_price=Decimal(row["liquidationPrice"]),
        initial_margin=Decimal(row.get("positionInitialMargin") or ZERO),
        notional=Decimal(row["notional"]),
        updated_at=from_milliseconds(row["updateTime"]) if row.get("updateTime") else None,
    )


def income_report(row: Row) -> IncomeReport:
    """Read one row of `income`."""
    return IncomeReport(
        kind=IncomeKind(row["incomeType"]),
        symbol=str(row.get("symbol") or ""),
        amount=Decimal(row["income"]),
        asset=str(row["asset"]),
        at=from_milliseconds(row["time"]),
        transaction_id=str(row["tranId"]),
    )


def wallet_line(row: Row) -> WalletLine:
    """Read one row of `income`, of whatever kind."""
    return WalletLine(
        kind=str(row["incomeType"]),
        symbol=str(row.get("symbol") or ""),
        amount=Decimal(row["income"]),
        asset=str(row["asset"]),
        at=from_milliseconds(row["time"]),
        transaction_id=str(row["tranId"]),
    )


def funding_rate(row: Row) -> FundingRate:
    """Read one row of `fundingRate`. The oldest rows have no mark price."""
    return FundingRate(
        rate=Decimal(row["fundingRate"]),
        mark=Decimal(row.get("markPrice") or ZERO),
        at=from_milliseconds(int(row["fundingTime"])),
    )


def candles(rows: Sequence[Sequence[str | int]]) -> list[Candle]:
    """Read `klines`, oldest first."""
    return [
        Candle(
            at=from_milliseconds(int(row[0])),
            open=Decimal(row[1]),
            high=Decimal(row[2]),
            low=Decimal(row[3]),
            close=Decimal(row[4]),
        )
        for row in rows
    ]


def closed_candles(rows: Sequence[Sequence[str | int]], now_ms: int) -> list[Candle]:
    """Read the rows of `klines` that have closed by the exchange's clock, oldest first."""
    return candles([row for row in rows if int(row[6]) < now_ms])


def opening_price(rows: Sequence[Sequence[str | int]]) -> Decimal | None:
    """Read the opening price of the first candle of `klines`. None when there is none."""
    return Decimal(rows[0][1]) if rows else None
