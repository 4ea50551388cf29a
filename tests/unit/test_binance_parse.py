import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from execution.adapters.binance import parse
from execution.domain.external import ForeignOrder
from execution.domain.liquidation import MarginBracket
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
from execution.domain.trading import InstrumentFilters
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
        ("TRIGGERING", "", "TRIGGERED"),
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

    rules: InstrumentFilters = parse.symbol_rules(row)

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


# Every field, present and absent

MADE = 1765855800123
MADE_AT = datetime(2025, 12, 16, 3, 30, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "made"),
    [
        ({"time": MADE, "updateTime": MADE + 5}, MADE_AT),
        ({"time": str(MADE)}, MADE_AT),
        # The answer to a placement tells its last change only, which is the same.
        ({"status": "NEW", "updateTime": MADE}, MADE_AT),
        ({"status": "PARTIALLY_FILLED", "updateTime": MADE}, None),
        ({}, None),
    ],
)
def test_when_an_order_was_made(fields: dict[str, Any], made: datetime | None) -> None:
    assert parse.order_report(ORDER | fields).created_at == made
    words = {"createTime" if name == "time" else name: value for name, value in fields.items() if name != "status"}
    algo = ALGO | words | {"algoStatus": "NEW" if fields.get("status") == "NEW" or "time" in fields else "CANCELED"}
    assert parse.algo_report(algo).created_at == made


def test_a_conditional_order_that_has_lost_its_quantity_has_none() -> None:
    for quantity in ("", None, "0"):
        assert parse.algo_report(ALGO | {"quantity": quantity}).quantity == 0
    assert parse.algo_report({name: value for name, value in ALGO.items() if name != "quantity"}).quantity == 0


def test_a_cancelled_conditional_order() -> None:
    answer = {"algoId": 7, "clientAlgoId": "es1-s-1", "code": "200", "msg": "success"}

    assert parse.cancelled_algo(answer, "ETHUSDT") == OrderReport(
        client_order_id="es1-s-1",
        symbol="ETHUSDT",
        status=ExchangeStatus.CANCELED,
        quantity=Decimal(0),
        executed_quantity=Decimal(0),
        algo_id="7",
    )
    assert parse.cancelled_algo(answer | {"code": 200}, "ETHUSDT").algo_id == "7"
    for code in ("400", "", None):
        with pytest.raises(ValueError, match=f"not cancelled: code={code}"):
            parse.cancelled_algo(answer | {"code": code}, "ETHUSDT")


@pytest.mark.parametrize(
    ("status", "becomes"),
    [("NEW", "TRIGGERED"), ("PARTIALLY_FILLED", "TRIGGERED"), ("FILLED", "FILLED"), ("CANCELED", "CANCELED")],
)
def test_what_a_conditional_order_has_become(status: str, becomes: str) -> None:
    report = parse.order_report(ORDER | {"status": status})

    assert parse.as_triggered(report) == replace(report, status=ExchangeStatus(becomes))


def test_open_orders_are_ours_by_their_prefix() -> None:
    others = ORDER | {"clientOrderId": "web_1", "status": "A_WORD_OF_2027"}
    [order] = parse.our_orders([others, ORDER, others])
    assert order == replace(parse.order_report(ORDER), terms=parse.terms_of(ORDER))
    other_algo = ALGO | {"clientAlgoId": "web_1", "algoStatus": "A_WORD_OF_2027"}
    [stop] = parse.our_algo_orders([other_algo, ALGO, other_algo])
    assert stop == replace(parse.algo_report(ALGO), terms=parse.terms_of(ALGO))


def test_what_an_open_order_would_do() -> None:
    stop = ALGO | {
        "orderType": "STOP_MARKET",
        "side": "SELL",
        "positionSide": "BOTH",
        "reduceOnly": True,
        "closePosition": False,
        "workingType": "MARK_PRICE",
    }
    wanted = RestingTerms(
        kind="STOP_MARKET",
        side="SELL",
        position_side="BOTH",
        reduces=True,
        trigger_type="MARK_PRICE",
        trigger_price=Decimal(60500),
    )
    hedged = {"reduceOnly": False, "positionSide": "LONG"}

    assert parse.terms_of(stop) == wanted
    assert parse.terms_of(stop | {"reduceOnly": "true"}) == wanted
    assert parse.terms_of(stop | {"reduceOnly": False}) == replace(wanted, reduces=False)
    assert parse.terms_of(stop | {"closePosition": True}) == replace(wanted, whole=True)
    # In hedge mode the position side makes an order reducing.
    assert parse.terms_of(stop | hedged) == replace(wanted, position_side="LONG")
    assert parse.terms_of(stop | hedged | {"side": "BUY"}) == replace(
        wanted, position_side="LONG", side="BUY", reduces=False
    )
    limit = {"type": "LIMIT", "side": "BUY", "stopPrice": "0", "workingType": "CONTRACT_PRICE"}
    assert parse.terms_of(limit).trigger_price is None
    # It should tell nothing rather than fail.
    assert parse.terms_of(stop | {"triggerPrice": "a word"}) == replace(wanted, trigger_price=None)
    assert parse.terms_of({}) == RestingTerms(kind="", side="", position_side="BOTH", reduces=False)


@pytest.mark.parametrize(("position_side", "side"), [("LONG", "SELL"), ("SHORT", "BUY")])
def test_what_an_open_order_of_the_other_book_would_do(position_side: str, side: str) -> None:
    ordinary = {"type": "STOP_MARKET", "side": side, "positionSide": position_side, "stopPrice": "61000.5"}
    wanted = RestingTerms(
        kind="STOP_MARKET", side=side, position_side=position_side, reduces=True, trigger_price=Decimal("61000.5")
    )

    assert parse.terms_of(ordinary) == wanted
    # It should go by the words of the conditional order where both are there
    both = ordinary | {"orderType": "TAKE_PROFIT", "triggerPrice": "60000"}
    assert parse.terms_of(both) == replace(wanted, kind="TAKE_PROFIT", trigger_price=Decimal(60000))
    assert parse.terms_of(ordinary | {"closePosition": "TRUE"}) == replace(wanted, whole=True)
    assert parse.terms_of(ordinary | {"closePosition": "false"}) == wanted
    # It should read what is empty as what is not told
    for empty in ("", None, 0):
        nothing = dict.fromkeys(["triggerPrice", "stopPrice", "workingType", "orderType", "type", "side"], empty)
        assert parse.terms_of(nothing | {"positionSide": empty}) == RestingTerms(
            kind="", side="", position_side="BOTH", reduces=False
        )
    entry = {"positionSide": position_side, "side": {"SELL": "BUY", "BUY": "SELL"}[side]}
    assert not parse.terms_of(entry).reduces
    for words in ({"reduceOnly": "TRUE"}, {"closePosition": True}):
        assert parse.terms_of(entry | words).reduces


@pytest.mark.parametrize("broken", ["a word", [], {}, "1e", object()])
def test_a_trigger_price_that_cannot_be_read_keeps_no_order_from_being_read(broken: object) -> None:
    [stop] = parse.our_algo_orders([ALGO | {"triggerPrice": broken}])

    assert stop.terms is not None
    assert stop.terms.trigger_price is None


def test_orders_of_others_are_read_of_both_kinds() -> None:
    stop = {
        "clientAlgoId": "web_1",
        "algoId": 71,
        "clientOrderId": "es1-s-9",
        "orderType": "STOP_MARKET",
        "type": "LIMIT",
        "side": "SELL",
        "positionSide": "LONG",
        "quantity": "0.004",
        "origQty": "0.005",
        "closePosition": False,
    }
    target = {
        "clientOrderId": "web_2",
        "orderId": 72,
        "reduceOnly": True,
        "type": "TAKE_PROFIT",
        "side": "BUY",
        "positionSide": "BOTH",
        "origQty": "0.003",
    }
    whole = {"clientOrderId": "web_3", "type": "STOP", "side": "BUY", "closePosition": "True"}

    rows = [stop, ORDER, ALGO, target, whole, {"clientOrderId": "web_4"}]
    assert parse.orders_of_others(rows) == [
        ForeignOrder(
            kind="STOP_MARKET",
            side="SELL",
            position_side="LONG",
            quantity=Decimal("0.004"),
            closes_all=False,
            order_id="71",
            conditional=True,
            # In hedge mode it can only reduce, by its side.
            reduces=True,
        ),
        ForeignOrder(
            kind="TAKE_PROFIT",
            side="BUY",
            position_side="BOTH",
            quantity=Decimal("0.003"),
            closes_all=False,
            order_id="72",
            reduces=True,
        ),
        ForeignOrder(kind="STOP", side="BUY", position_side="", quantity=Decimal(0), closes_all=True, reduces=True),
        ForeignOrder(kind="", side="", position_side="", quantity=Decimal(0), closes_all=False),
    ]


def test_limits_are_those_that_are_published_and_else_those_that_are_documented() -> None:
    rows: list[dict[str, Any]] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": "1", "limit": "2401"},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1201},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 301},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 2, "limit": 7},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 1, "limit": 8},
    ]

    found = parse.limits(rows)
    assert (found.weight, found.orders_10s, found.orders_1m) == (2401, 301, 1201)
    assert parse.limits(rows[3:]) == Limits() == Limits(weight=2400, orders_10s=300, orders_1m=1200)
    rules, limits = parse.listing({"symbols": [exchange_info()], "rateLimits": rows})
    assert (list(rules), limits) == (["BTCUSDT"], found)
    assert parse.listing({"symbols": []}) == ({}, Limits())


def test_a_symbol_that_cannot_be_read_keeps_no_other_from_it() -> None:
    broken = exchange_info() | {"symbol": "BROKEN", "filters": []}

    assert list(parse.all_rules({"symbols": [broken, exchange_info(), {}]})) == ["BTCUSDT"]


def test_both_sides_of_the_band_and_each_market_filter_are_read() -> None:
    row = exchange_info()
    row["filters"] = [
        {"filterType": "PRICE_FILTER", "minPrice": "1", "maxPrice": "9", "tickSize": "0.5"},
        {"filterType": "LOT_SIZE", "minQty": "2", "maxQty": "8", "stepSize": "0.2"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "3", "maxQty": "7", "stepSize": "0.3"},
        {"filterType": "MIN_NOTIONAL", "notional": "6"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.1", "multiplierDown": "0.9"},
    ]
    row |= {"quoteAsset": "USDC", "marginAsset": "BNFCR"}

    assert parse.symbol_rules(row) == InstrumentFilters(
        symbol="BTCUSDT",
        trading=True,
        quote_asset="USDC",
        margin_asset="BNFCR",
        tick_size=Decimal("0.5"),
        min_price=Decimal(1),
        max_price=Decimal(9),
        limit_step=Decimal("0.2"),
        limit_min_quantity=Decimal(2),
        limit_max_quantity=Decimal(8),
        market_step=Decimal("0.3"),
        market_min_quantity=Decimal(3),
        market_max_quantity=Decimal(7),
        min_notional=Decimal(6),
        percent_price_up=Decimal("1.1"),
        percent_price_down=Decimal("0.9"),
    )


def test_what_stands_behind_the_account() -> None:
    row = {
        "totalMarginBalance": "120.5",
        "assets": [{"asset": "USDT", "marginBalance": "100"}, {"asset": "BTC", "marginBalance": "-0.5"}],
    }
    by_asset = {"USDT": Decimal(100), "BTC": Decimal("-0.5")}

    assert parse.account_margin(row, multi_assets=True) == AccountMargin(total_usd=Decimal("120.5"), by_asset=by_asset)
    assert parse.account_margin(row, multi_assets=False) == AccountMargin(total_usd=None, by_asset=by_asset)
    assert [parse.multi_assets({"multiAssetsMargin": word}) for word in (True, "true", False, "false")] == [
        True,
        True,
        False,
        False,
    ]
    index = [{"symbol": "USDCUSD", "index": "0.9998"}, {"symbol": "BTCUSD", "index": "50000.5"}]
    assert parse.asset_index(index) == {"USDC": Decimal("0.9998"), "BTC": Decimal("50000.5")}


def test_a_fill_tells_in_which_asset_its_result_is() -> None:
    row = {
        "id": "1", "orderId": 2, "symbol": "BTCUSDT", "side": "BUY", "positionSide": "SHORT", "price": "1", "qty": "2",
        "realizedPnl": "3", "commission": "4", "commissionAsset": "USDT", "marginAsset": "BNFCR", "maker": False,
        "time": MADE,
    }  # fmt: skip
    found = parse.fill_report(row)

    assert (found.buyer, found.maker, found.pnl_asset, found.position_side) == (True, False, "BNFCR", "SHORT")
    assert parse.fill_report(row | {"marginAsset": None}).pnl_asset == ""


def test_the_brackets_of_each_symbol() -> None:
    rows: list[dict[str, Any]] = [
        {
            "symbol": "BTCUSDT",
            "brackets": [
                {"bracket": 1, "notionalCap": 300000, "maintMarginRatio": 0.004, "cum": 0.0},
                {"bracket": 2, "notionalCap": 800000, "maintMarginRatio": 0.005, "cum": 300.5},
            ],
        },
        {"symbol": "ETHUSDT", "brackets": []},
    ]

    assert parse.margin_brackets(rows) == {
        "BTCUSDT": (
            MarginBracket(notional_cap=Decimal(300000), rate=Decimal("0.004"), deduction=Decimal(0)),
            MarginBracket(notional_cap=Decimal(800000), rate=Decimal("0.005"), deduction=Decimal("300.5")),
        ),
        "ETHUSDT": (),
    }


def test_when_a_position_has_changed() -> None:
    row = {
        "symbol": "ETHUSDT", "positionSide": "SHORT", "positionAmt": "-1", "entryPrice": "1", "markPrice": "2",
        "unRealizedProfit": "3", "liquidationPrice": "4", "notional": "5",
    }  # fmt: skip

    assert parse.position_report(row | {"updateTime": MADE}).updated_at == MADE_AT
    assert parse.position_report(row | {"updateTime": 0}).updated_at is None
    assert parse.position_report(row).updated_at is None


def test_a_funding_rate_and_a_candle() -> None:
    row = {"symbol": "BTCUSDT", "fundingRate": "-0.0001", "fundingTime": str(MADE), "markPrice": "50000.5"}

    assert parse.funding_rate(row) == FundingRate(rate=Decimal("-0.0001"), mark=Decimal("50000.5"), at=MADE_AT)
    for mark in ("", None):
        assert parse.funding_rate(row | {"markPrice": mark}).mark == 0
    assert parse.opening_price([[0, "1.5", "2"], [1, "3.5", "4"]]) == Decimal("1.5")
    assert parse.opening_price([]) is None
    line = {"incomeType": "FUNDING_FEE", "income": "1", "asset": "USDT", "tranId": 7, "time": MADE}
    assert parse.income_report(line).symbol == parse.income_report(line | {"symbol": None}).symbol == ""
