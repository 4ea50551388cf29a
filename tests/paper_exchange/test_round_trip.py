"""A whole trade through the real connector: entry, stop, target, trigger, fills, income, PnL to the last digit."""

import time
from typing import Any

import pytest
from binance.error import ClientError
from binance.um_futures import UMFutures

from tests.paper_exchange.trader import D
from tests.support.paper import PaperExchange


def protect(client: UMFutures, kind: str, trigger: str, client_id: str) -> Any:
    return client.sign_request(
        "POST",
        "/fapi/v1/algoOrder",
        {
            "algoType": "CONDITIONAL",
            "symbol": "BTCUSDT",
            "side": "SELL",
            "type": kind,
            "triggerPrice": trigger,
            "quantity": "0.010",
            "reduceOnly": "true",
            "workingType": "MARK_PRICE",
            "clientAlgoId": client_id,
        },
    )


def test_whole_trade(paper: PaperExchange, client: UMFutures) -> None:
    entry = client.new_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010", newClientOrderId="e:1", newOrderRespType="RESULT"
    )
    assert (entry["status"], entry["executedQty"], entry["clientOrderId"]) == ("FILLED", "0.010", "e:1")
    # It should carry no prices of fills: those come from queries.
    assert not {"avgPrice", "cumQuote"} & set(entry)

    stop = protect(client, "STOP_MARKET", "49000", "sl:1")
    target = protect(client, "TAKE_PROFIT_MARKET", "51000", "tp:1")
    assert (stop["algoStatus"], target["algoStatus"]) == ("NEW", "NEW")
    [row] = client.get_position_risk(symbol="BTCUSDT")
    assert (row["positionAmt"], row["entryPrice"]) == ("0.010", "50000.1")

    paper.set_price("BTCUSDT", "51200")

    # It should have closed the position under the target's id, and left the stop waiting.
    closed = client.sign_request("GET", "/fapi/v1/algoOrder", {"clientAlgoId": "tp:1"})
    assert (closed["algoStatus"], closed["actualQty"], closed["actualPrice"]) == ("FINISHED", "0.010", "51199.90")
    exit_order = client.query_order("BTCUSDT", origClientOrderId="tp:1")
    assert (str(exit_order["orderId"]), exit_order["status"]) == (closed["actualOrderId"], "FILLED")
    waiting = client.sign_request("GET", "/fapi/v1/openAlgoOrders", {"symbol": "BTCUSDT"})
    assert [algo["clientAlgoId"] for algo in waiting] == ["sl:1"]
    assert client.get_position_risk(symbol="BTCUSDT") == []

    # It should tell the same money in trades, income, balance and the arbiter's summary.
    trades = client.get_account_trades("BTCUSDT")
    assert [(t["price"], t["realizedPnl"], t["commission"]) for t in trades] == [
        ("50000.10", "0", "0.25000050"),
        ("51199.90", "11.99800000", "0.25599950"),
    ]
    income = client.get_income_history()
    assert [(i["incomeType"], i["income"]) for i in income] == [
        ("COMMISSION", "-0.25000050"),
        ("REALIZED_PNL", "11.99800000"),
        ("COMMISSION", "-0.25599950"),
    ]
    wallet = D("10000") + sum(D(i["income"]) for i in income)
    assert wallet == D("10011.49200000")
    assert D(client.balance()[0]["balance"]) == wallet
    summary = paper.summary()
    assert (summary["wallet"], summary["realized_pnl"], summary["commission"]) == (
        "10011.49200000",
        "11.99800000",
        "0.50600000",
    )
    assert summary["positions"] == []


def test_look_ups_and_lists_of_orders(client: UMFutures) -> None:
    first = client.new_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49000"
    )
    second = client.new_order(
        symbol="ETHUSDT", side="SELL", type="LIMIT", timeInForce="GTX", quantity="1", price="2550"
    )
    assert client.get_open_orders("BTCUSDT", orderId=first["orderId"])["price"] == "49000.00"
    assert [order["orderId"] for order in client.get_orders()] == [first["orderId"], second["orderId"]]
    assert [order["orderId"] for order in client.get_orders(symbol="ETHUSDT")] == [second["orderId"]]

    cancelled = client.cancel_order("BTCUSDT", orderId=first["orderId"])
    assert (cancelled["status"], cancelled["executedQty"]) == ("CANCELED", "0.000")
    assert client.cancel_open_orders("ETHUSDT")["code"] == 200

    # It should still know them, but not as open ones.
    assert client.query_order("BTCUSDT", orderId=first["orderId"])["status"] == "CANCELED"
    assert [order["status"] for order in client.get_all_orders("ETHUSDT")] == ["CANCELED"]
    with pytest.raises(ClientError) as caught:
        client.get_open_orders("BTCUSDT", orderId=first["orderId"])
    assert (caught.value.status_code, caught.value.error_code) == (400, -2013)
    with pytest.raises(ClientError) as caught:
        client.cancel_order("BTCUSDT", orderId=first["orderId"])
    assert (caught.value.error_code, caught.value.error_message) == (-2011, "Unknown order sent.")


def test_acknowledgement_shows_the_order_before_matching(client: UMFutures) -> None:
    order = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert (order["status"], order["executedQty"]) == ("NEW", "0.000")
    assert client.query_order("BTCUSDT", orderId=order["orderId"])["avgPrice"] == "50000.10"


def test_trades_are_paged_by_id_and_by_order(client: UMFutures) -> None:
    orders = [client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001") for _ in range(3)]
    trades = client.get_account_trades("BTCUSDT")
    assert [trade["orderId"] for trade in trades] == [order["orderId"] for order in orders]

    assert client.get_account_trades("BTCUSDT", fromId=trades[1]["id"]) == trades[1:]
    assert client.get_account_trades("BTCUSDT", orderId=orders[2]["orderId"]) == trades[2:]
    assert client.get_account_trades("BTCUSDT", limit=2) == trades[1:]
    assert client.get_account_trades("BTCUSDT", startTime=trades[0]["time"], limit=1) == trades[:1]


def test_conditional_types_are_refused_on_the_ordinary_endpoint(client: UMFutures) -> None:
    with pytest.raises(ClientError) as caught:
        client.new_order(symbol="BTCUSDT", side="SELL", type="STOP_MARKET", quantity="0.010", stopPrice="49000")
    assert caught.value.error_code == -4120


def test_order_test_changes_nothing(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order_test(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert paper.ledger()["orders"] == []
    with pytest.raises(ClientError) as caught:
        client.new_order_test(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.0001")
    assert caught.value.error_code == -1111


def test_settings(client: UMFutures) -> None:
    assert client.change_leverage("BTCUSDT", 50) == {
        "leverage": 50,
        "maxNotionalValue": "12000000",
        "symbol": "BTCUSDT",
    }
    assert client.change_margin_type("BTCUSDT", "ISOLATED") == {"code": 200, "msg": "success"}
    [config] = client.symbol_configuration(symbol="BTCUSDT")
    assert (config["leverage"], config["marginType"]) == (50, "ISOLATED")
    assert client.get_position_mode() == {"dualSidePosition": False}
    assert client.change_position_mode("true") == {"code": 200, "msg": "success"}
    assert client.get_position_mode() == {"dualSidePosition": True}
    assert client.get_multi_asset_mode() == {"multiAssetsMargin": False}


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("change_leverage", ("BTCUSDT", 126), -4028),
        ("change_margin_type", ("BTCUSDT", "CROSSED"), -4046),
        ("change_position_mode", ("false",), -4059),
        ("change_multi_asset_mode", ("false",), -4171),
    ],
)
def test_settings_that_cannot_be_or_are_already_so(
    client: UMFutures, method: str, arguments: tuple[Any, ...], code: int
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(client, method)(*arguments)
    assert caught.value.error_code == code


def refused_as(client: UMFutures, method: str, *arguments: str) -> int | None:
    with pytest.raises(ClientError) as caught:
        getattr(client, method)(*arguments)
    code: int | None = caught.value.error_code
    return code


def test_modes_are_fixed_while_orders_or_positions_exist(client: UMFutures) -> None:
    client.new_order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49000")
    assert refused_as(client, "change_position_mode", "true") == -4067
    assert refused_as(client, "change_margin_type", "BTCUSDT", "ISOLATED") == -4047

    client.cancel_open_orders("BTCUSDT")
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert refused_as(client, "change_position_mode", "true") == -4068
    assert refused_as(client, "change_margin_type", "BTCUSDT", "ISOLATED") == -4048


def test_market_data_in_the_shapes_of_the_reference(client: UMFutures) -> None:
    info = client.exchange_info()
    bitcoin = next(row for row in info["symbols"] if row["symbol"] == "BTCUSDT")
    filters = {row["filterType"]: row for row in bitcoin["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert filters["LOT_SIZE"] == {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"}
    assert filters["MIN_NOTIONAL"]["notional"] == "50"
    assert client.ticker_price("BTCUSDT")["price"] == "50000.00"
    assert client.mark_price("BTCUSDT")["markPrice"] == "50000.00000000"
    book = client.book_ticker("BTCUSDT")
    assert (book["bidPrice"], book["askPrice"]) == ("49999.90", "50000.10")
    depth = client.depth("BTCUSDT", limit=5)
    assert [level[0] for level in depth["asks"]] == ["50000.10", "50001.00", "50002.00", "50003.00", "50004.00"]
    candles = client.klines("BTCUSDT", "1m", limit=3)
    assert len(candles) == 3
    assert candles[-1][0] <= time.time() * 1000 <= candles[-1][6]
    assert len(client.book_ticker()) == len(info["symbols"])
    assert client.leverage_brackets(symbol="BTCUSDT")[0]["brackets"][0]["initialLeverage"] == 125
    assert client.commission_rate("BTCUSDT")["takerCommissionRate"] == "0.000500"


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": "7"}, -4021),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("/fapi/v1/ticker/price", {"symbol": "NOPE"}, -1121),
        ("/fapi/v1/depth", {}, -1102),
    ],
)
def test_market_data_refusals(client: UMFutures, path: str, params: dict[str, str], code: int) -> None:
    with pytest.raises(ClientError) as caught:
        client.query(path, params)
    assert (caught.value.status_code, caught.value.error_code) == (400, code)


def test_listen_key_is_kept_until_it_is_closed(client: UMFutures) -> None:
    key = client.new_listen_key()["listenKey"]
    assert len(key) == 64
    assert client.new_listen_key()["listenKey"] == key
    assert client.renew_listen_key(key) == {"listenKey": key}
    assert client.close_listen_key(key) == {}
    with pytest.raises(ClientError) as caught:
        client.renew_listen_key(key)
    assert caught.value.error_code == -1125
    assert client.new_listen_key()["listenKey"] != key
