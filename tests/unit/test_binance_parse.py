import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from execution.adapters.binance import parse
from execution.domain.outcomes import ExchangeStatus, FillReport, IncomeKind, IncomeReport, OrderReport, PositionReport
from execution.domain.trading import SymbolRules
from tests.unit.examples import BTCUSDT, levels

ORDER: dict[str, Any] = {
    "orderId": 22542179,
    "symbol": "BTCUSDT",
    "status": "PARTIALLY_FILLED",
    "clientOrderId": "es1-e-1",
    "price": "0.00",
    "avgPrice": "0.00",
    "origQty": "0.020",
    "executedQty": "0.010",
    "side": "BUY",
}
ALGO: dict[str, Any] = {
    "algoId": 2000000547321628,
    "clientAlgoId": "es1-s-1",
    "symbol": "BTCUSDT",
    "quantity": "0.005",
    "algoStatus": "NEW",
    "triggerPrice": "60500.00",
}


def exchange_info() -> dict[str, Any]:
    row = json.loads(
        """{"symbol":"BTCUSDT","status":"TRADING","quoteAsset":"USDT","marginAsset":"USDT",
        "pricePrecision":2,"quantityPrecision":3,"filters":[
        {"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.10"},
        {"filterType":"LOT_SIZE","minQty":"0.001","maxQty":"1000","stepSize":"0.001"},
        {"filterType":"MARKET_LOT_SIZE","minQty":"0.001","maxQty":"120","stepSize":"0.001"},
        {"filterType":"MAX_NUM_ORDERS","limit":200},{"filterType":"MIN_NOTIONAL","notional":"5"},
        {"filterType":"PERCENT_PRICE","multiplierUp":"1.0500"},{"filterType":"A_NEW_FILTER","x":"1"}]}"""
    )
    return dict(row)


def test_an_order() -> None:
    assert parse.order_report(ORDER) == OrderReport(
        client_order_id="es1-e-1",
        symbol="BTCUSDT",
        status=ExchangeStatus.PARTIALLY_FILLED,
        quantity=Decimal("0.020"),
        executed_quantity=Decimal("0.010"),
        order_id="22542179",
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("NEW", "NEW"),
        ("PARTIALLY_FILLED", "PARTIALLY_FILLED"),
        ("FILLED", "FILLED"),
        ("CANCELED", "CANCELED"),
        ("EXPIRED", "EXPIRED"),
        ("EXPIRED_IN_MATCH", "EXPIRED"),
        ("REJECTED", "REJECTED"),
    ],
)
def test_statuses_of_ordinary_orders(word: str, status: str) -> None:
    assert parse.order_report(ORDER | {"status": word}).status == status


def test_a_conditional_order_that_waits() -> None:
    # A placement answer has no `actualOrderId`; a query has it empty
    for row in (ALGO, ALGO | {"actualOrderId": "", "actualQty": "0.0"}):
        assert parse.algo_report(row) == OrderReport(
            client_order_id="es1-s-1",
            symbol="BTCUSDT",
            status=ExchangeStatus.NEW,
            quantity=Decimal("0.005"),
            executed_quantity=Decimal(0),
            algo_id="2000000547321628",
        )


@pytest.mark.parametrize(
    ("word", "executed", "status"),
    [
        ("NEW", "", "NEW"),
        ("TRIGGERING", "", "NEW"),
        ("TRIGGERED", "0", "TRIGGERED"),
        ("TRIGGERED", "0.002", "TRIGGERED"),
        ("FINISHED", "0.005", "FILLED"),
        ("FINISHED", "0.0", "CANCELED"),
        ("CANCELED", "", "CANCELED"),
        ("REJECTED", "", "REJECTED"),
        ("EXPIRED", "", "EXPIRED"),
    ],
)
def test_statuses_of_conditional_orders(word: str, executed: str, status: str) -> None:
    row = ALGO | {"algoStatus": word, "actualQty": executed, "actualOrderId": "839112009001"}

    report = parse.algo_report(row)

    assert report.status == status
    assert report.order_id == "839112009001"
    assert report.executed_quantity == Decimal(executed or 0)


@pytest.mark.parametrize("word", ["PENDING", "", None])
def test_a_status_that_nobody_knows_is_not_guessed(word: object) -> None:
    with pytest.raises(KeyError):
        parse.order_report(ORDER | {"status": word})
    with pytest.raises(KeyError):
        parse.algo_report(ALGO | {"algoStatus": word})


def test_the_rules_of_a_symbol_come_from_its_filters() -> None:
    banded = replace(BTCUSDT, percent_price_up=Decimal("1.0500"))
    assert parse.symbol_rules(exchange_info()) == banded
    assert parse.all_rules({"symbols": [exchange_info()]}) == {"BTCUSDT": banded}


def test_a_symbol_without_the_optional_filters() -> None:
    row = exchange_info()
    row["filters"] = [entry for entry in row["filters"] if entry["filterType"] in {"PRICE_FILTER", "LOT_SIZE"}]

    rules: SymbolRules = parse.symbol_rules(row)

    # It should hold market orders against the limit filter
    assert (rules.market_step, rules.market_max_quantity) == (Decimal("0.001"), Decimal(1000))
    assert rules.min_notional == 0


def test_a_symbol_that_is_settling_does_not_trade() -> None:
    assert parse.symbol_rules(exchange_info() | {"status": "SETTLING"}).trading is False


def test_a_quote() -> None:
    book = {"lastUpdateId": 9, "bids": [["49999.90", "1"], ["49999.80", "5"]], "asks": [["50000.00", "2"]]}
    marks = parse.mark_prices([{"symbol": "BTCUSDT", "markPrice": "50001.12345678", "lastFundingRate": "0.0001"}])

    quote = parse.quote("BTCUSDT", book, marks["BTCUSDT"])

    assert quote.bids == levels("49999.90x1", "49999.80x5")
    assert quote.asks == levels("50000x2")
    assert (quote.bid, quote.ask, quote.mark) == (Decimal("49999.90"), Decimal(50000), Decimal("50001.12345678"))


def test_a_fill() -> None:
    row = {
        "id": 698759,
        "orderId": 25851813,
        "symbol": "BTCUSDT",
        "side": "SELL",
        "buyer": False,
        "positionSide": "BOTH",
        "price": "7819.01",
        "qty": "0.002",
        "quoteQty": "15.63802",
        "realizedPnl": "-0.91539999",
        "commission": "-0.07819010",
        "commissionAsset": "BNB",
        "maker": True,
        "time": 1765855800123,
    }

    assert parse.fill_report(row) == FillReport(
        trade_id=698759,
        order_id="25851813",
        symbol="BTCUSDT",
        buyer=False,
        position_side="BOTH",
        price=Decimal("7819.01"),
        quantity=Decimal("0.002"),
        realized_pnl=Decimal("-0.91539999"),
        commission=Decimal("-0.07819010"),
        commission_asset="BNB",
        maker=True,
        at=datetime(2025, 12, 16, 3, 30, 0, 123000, tzinfo=UTC),
    )


def test_a_short_position() -> None:
    row = {
        "symbol": "ETHUSDT",
        "positionSide": "BOTH",
        "positionAmt": "-1.5",
        "entryPrice": "3000",
        "markPrice": "3010.5",
        "unRealizedProfit": "-15.75",
        "liquidationPrice": "3900",
        "notional": "-4515.75",
    }

    position = parse.position_report(row)

    assert position == PositionReport(
        symbol="ETHUSDT",
        position_side="BOTH",
        quantity=Decimal("-1.5"),
        entry_price=Decimal(3000),
        mark_price=Decimal("3010.5"),
        unrealized_pnl=Decimal("-15.75"),
        liquidation_price=Decimal(3900),
        initial_margin=Decimal(0),
        notional=Decimal("-4515.75"),
    )
    # It should read the margin where the exchange gives one
    assert parse.position_report(row | {"positionInitialMargin": "451.6"}).initial_margin == Decimal("451.6")


def test_a_line_of_income() -> None:
    row = {"symbol": "BTCUSDT", "incomeType": "FUNDING_FEE", "income": "-0.01234567", "asset": "USDT", "tranId": 7}
    row["time"] = 1765855800000

    assert parse.income_report(row) == IncomeReport(
        kind=IncomeKind.FUNDING,
        symbol="BTCUSDT",
        amount=Decimal("-0.01234567"),
        asset="USDT",
        at=datetime(2025, 12, 16, 3, 30, tzinfo=UTC),
        transaction_id="7",
    )
    # It should read a line of the whole account, too
    assert parse.income_report(row | {"symbol": "", "incomeType": "INSURANCE_CLEAR"}).symbol == ""
