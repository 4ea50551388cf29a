"""Batch, amendment, countdown, forced orders, isolated margin and funding through the real connector."""

from typing import Any

import pytest
from binance.error import ClientError
from binance.um_futures import UMFutures

from tests.paper_exchange.trader import D
from tests.support.paper import PaperExchange, wait_until


def limit(price: str, client_id: str, **terms: str) -> dict[str, str]:
    return {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.010",
        "price": price,
        "newClientOrderId": client_id,
        **terms,
    }


def refusal(call: Any) -> int:
    with pytest.raises(ClientError) as caught:
        call()
    return int(caught.value.error_code)


def test_batch_answers_each_element_by_itself(client: UMFutures) -> None:
    answers = client.new_batch_order(
        [limit("49000", "b:1"), limit("49000.05", "b:2"), limit("49100", "b:3", side="NORTH")]
    )
    assert [answer.get("code", answer.get("status")) for answer in answers] == ["NEW", -4014, -1117]

    cancelled = client.cancel_batch_order("BTCUSDT", orderIdList=None, origClientOrderIdList=["b:1", "b:9"])
    assert [answer.get("code", answer.get("status")) for answer in cancelled] == ["CANCELED", -2011]


def test_batch_limits(client: UMFutures) -> None:
    assert refusal(lambda: client.new_batch_order([limit("49000", f"b:{n}") for n in range(6)])) == -4082
    assert refusal(lambda: client.cancel_batch_order("BTCUSDT", list(range(11)), None)) == -4032
    for bad in ("nonsense", "{}", "[1]"):
        call = {"batchOrders": bad}
        assert refusal(lambda call=call: client.sign_request("POST", "/fapi/v1/batchOrders", call)) == -1130


def test_lower_case_list_names_and_blanks_are_accepted(client: UMFutures) -> None:
    first, second = (client.new_order(**limit("49000", f"l:{n}"))["orderId"] for n in (1, 2))
    answers = client.sign_request(
        "DELETE", "/fapi/v1/batchOrders", {"symbol": "BTCUSDT", "orderidlist": f"[{first}, {second}]"}
    )
    assert [answer["status"] for answer in answers] == ["CANCELED", "CANCELED"]


def test_amendment_and_its_history(client: UMFutures) -> None:
    order = client.new_order(**limit("49000", "m:1"))
    changed = client.modify_order("BTCUSDT", "BUY", "0.020", "49500", orderId=order["orderId"], modifyId=5)
    assert (changed["orderId"], changed["origQty"], changed["price"], changed["modifyId"]) == (
        order["orderId"],
        "0.020",
        "49500.00",
        5,
    )
    client.modify_order("BTCUSDT", "BUY", "0.020", "49600", origClientOrderId="m:1")

    rows = client.sign_request("GET", "/fapi/v1/orderAmendment", {"symbol": "BTCUSDT", "orderId": order["orderId"]})
    # It should show the newest first.
    assert [row["amendment"]["price"]["after"] for row in rows] == ["49600.00", "49500.00"]
    assert rows[1]["amendment"] == {
        "price": {"before": "49000.00", "after": "49500.00"},
        "origQty": {"before": "0.010", "after": "0.020"},
        "count": 1,
        "modifyId": 5,
    }


def test_countdown_cancels_when_no_heartbeat_comes(client: UMFutures) -> None:
    client.new_order(**limit("49000", "c:1"))
    assert client.countdown_cancel_order("BTCUSDT", 60_000) == {"symbol": "BTCUSDT", "countdownTime": "60000"}
    client.countdown_cancel_order("BTCUSDT", 0)
    client.countdown_cancel_order("BTCUSDT", 30)
    wait_until(lambda: client.get_orders() == [], what="cancel by countdown")
    assert client.query_order("BTCUSDT", origClientOrderId="c:1")["status"] == "CANCELED"


def test_liquidation_on_request_is_seen_as_one(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    paper.control("POST", "close", {"symbol": "BTCUSDT"})

    [row] = client.force_orders(autoCloseType="LIQUIDATION")
    assert row["clientOrderId"].startswith("autoclose-")
    assert (row["status"], row["executedQty"]) == ("FILLED", "0.010")
    assert client.get_position_risk() == []
    assert client.get_income_history(incomeType="INSURANCE_CLEAR")[0]["income"] == "-6.25000000"


def test_funding_on_request(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "-0.0002"})

    [row] = client.get_income_history(incomeType="FUNDING_FEE")
    assert (row["symbol"], row["income"], row["tradeId"]) == ("BTCUSDT", "0.10000000", "")
    assert paper.summary()["funding"] == "0.10000000"
    assert client.funding_rate("BTCUSDT", limit=1)[0]["fundingRate"] == "-0.00020000"


def test_stepped_time_pays_funding_and_accepts_both_clocks(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    paper.control("POST", "clock", {"advance_ms": 8 * 3_600_000})
    assert len(client.get_income_history(incomeType="FUNDING_FEE")) == 1
    stepped = client.time()["serverTime"]
    paper.reset()
    # It should be back at the computer's time after a reset.
    assert stepped - client.time()["serverTime"] > 8 * 3_600_000 - 10_000


def test_isolated_margin(client: UMFutures) -> None:
    client.change_margin_type("BTCUSDT", "ISOLATED")
    call = {"symbol": "BTCUSDT", "amount": "10", "type": 1}
    assert refusal(lambda: client.modify_isolated_position_margin(**call)) == -4054
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")

    assert client.modify_isolated_position_margin(**call)["msg"] == "Successfully modify position margin."
    [row] = client.get_position_risk(symbol="BTCUSDT")
    assert D(row["isolatedWallet"]) == D("35.00005")
    [change] = client.get_position_margin_history("BTCUSDT")
    assert (change["amount"], change["type"], change["deltaType"]) == ("10", 1, "USER_ADJUST")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/fapi/v1/continuousKlines", {"pair": "BTCUSDT", "contractType": "PERPETUAL", "interval": "1m", "limit": 3}),
        ("/fapi/v1/markPriceKlines", {"symbol": "BTCUSDT", "interval": "1h", "limit": 3}),
        ("/fapi/v1/indexPriceKlines", {"pair": "BTCUSDT", "interval": "1d", "limit": 3}),
        ("/fapi/v1/premiumIndexKlines", {"symbol": "BTCUSDT", "interval": "5m", "limit": 3}),
    ],
)
def test_other_candles(client: UMFutures, path: str, params: dict[str, Any]) -> None:
    rows = client.query(path, params)
    assert [len(row) for row in rows] == [12, 12, 12]


def test_small_account_endpoints(client: UMFutures) -> None:
    assert client.get_bnb_burn() == {"feeBurn": False}
    assert client.toggle_bnb_burn("true")["code"] == 200
    assert client.get_bnb_burn() == {"feeBurn": True}
    # Not enforced here, and published so.
    assert client.query_user_rate_limit()[0]["limit"] == 1_000_000
    assert client.adl_quantile() == []
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert client.adl_quantile() == [{"symbol": "BTCUSDT", "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 1}}]
    assert client.api_trading_status()["indicators"] == {}


def test_margin_assets_and_what_they_are_worth(client: UMFutures) -> None:
    rows = {row["symbol"]: row for row in client.query("/fapi/v1/assetIndex")}
    assert list(rows) == ["USDTUSD", "USDCUSD", "BTCUSD", "ETHUSD", "BNBUSD", "BNFCRUSD"]
    # It should know every asset that contracts are margined in.
    assert {row["marginAsset"] for row in client.exchange_info()["symbols"]} <= {name[:-3] for name in rows}
    row, bnb, bitcoin = rows["USDTUSD"], rows["BNBUSD"], rows["BTCUSD"]
    assert (bitcoin["index"], rows["USDCUSD"]["index"]) == ("50000.00000000", "1.00000000")
    assert (bnb["symbol"], bnb["index"], bnb["bidBuffer"]) == ("BNBUSD", "600.00000000", "0.05000000")
    assert (row["symbol"], row["index"], row["bidBuffer"]) == ("USDTUSD", "1.00000000", "0.00000000")
    alone = client.query("/fapi/v1/assetIndex", {"symbol": "USDTUSD"})
    assert {**alone, "time": 0} == {**row, "time": 0}
    assert refusal(lambda: client.query("/fapi/v1/assetIndex", {"symbol": "NONEUSD"})) == -1121
