"""Further assumptions, each with both of its ways; those on reducing, triggers and credits have their own files."""

import json
from contextlib import closing
from typing import Any

import pytest
import websocket
from binance.um_futures import UMFutures

from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.assumptions import assume
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import BTC, D, Trader
from tests.support.paper import PaperExchange, wait_until


def outcome(call: Any, *words: Any, **terms: Any) -> int:
    try:
        call(*words, **terms)
    except ExchangeError as error:
        return error.code
    return 0


@pytest.mark.parametrize("spared", [True, False])
@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_notional_of_closing_orders(trader: Trader, mode: Mode, *, spared: bool) -> None:
    trader.exchange.state.assumptions = assume(trader.exchange.state.assumptions, {"hedge_close_spared": spared})
    mode.prepare(trader, "0.010")
    trader.market.symbol.min_notional = D(100)
    # What carries the flag is spared in any case.
    wanted = -4164 if mode.is_hedge and not spared else 0
    assert outcome(mode.rest, trader, "0.001") == wanted
    assert outcome(mode.stop, trader, "0.001") == wanted
    assert outcome(mode.stop, trader) == 0
    order = mode.rest(trader, "0.003", 2)
    terms: dict[str, Any] = {"side": order.side, "quantity": D("0.001"), "price": order.price}
    ticket = AmendTicket(symbol=BTC, order_id=order.order_id, **terms)
    assert outcome(trader.exchange.amendments.amend, trader.account, ticket) == (-5029 if wanted else 0)
    assert outcome(trader.send, mode.closing, "MARKET", "0.001", **mode.terms) == wanted


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize(
    ("way", "status", "reason"), [("expire", "EXPIRED", ""), ("reject", "REJECTED", "Reduce Only reject")]
)
def test_close_position_without_a_position(trader: Trader, mode: Mode, way: str, status: str, reason: str) -> None:
    trader.exchange.state.assumptions = assume(trader.exchange.state.assumptions, {"close_without_position": way})
    mode.prepare(trader)
    algo = mode.stop(trader)
    trader.price(mode.against(1))
    assert (algo.status, algo.reject_reason, algo.order) == (status, reason, None)


@pytest.mark.parametrize(("too", "left"), [(False, 1), (True, 0)])
def test_countdown_and_conditional_orders(paper: PaperExchange, client: UMFutures, left: int, *, too: bool) -> None:
    paper.control("POST", "assumptions", {"countdown_conditional": too})
    stop = {"algoType": "CONDITIONAL", "symbol": BTC, "side": "SELL", "type": "STOP_MARKET"}
    client.sign_request("POST", "/fapi/v1/algoOrder", {**stop, "quantity": "0.010", "triggerPrice": "49000"})
    client.new_order(symbol=BTC, side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49000")
    client.countdown_cancel_order(BTC, 30)
    wait_until(lambda: client.get_orders() == [], what="cancel by countdown")
    assert len(client.sign_request("GET", "/fapi/v1/openAlgoOrders", {})) == left


def test_brackets_of_one_symbol(paper: PaperExchange, client: UMFutures) -> None:
    [row] = client.leverage_brackets(symbol=BTC)
    paper.control("POST", "assumptions", {"bracket_bare": True})
    assert client.leverage_brackets(symbol=BTC) == row
    assert len(client.leverage_brackets()) > 1


@pytest.mark.parametrize("place", ["/private/ws/{}", "/private/stream?streams={}", "/private/ws?listenKey={}"])
@pytest.mark.parametrize("silent", [False, True])
def test_user_stream_by_path_may_say_nothing(
    paper: PaperExchange, client: UMFutures, place: str, *, silent: bool
) -> None:
    paper.control("POST", "assumptions", {"user_path_silent": silent})
    key = client.new_listen_key()["listenKey"]
    url = f"{paper.stream_url}{place.format(key)}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        client.new_order(symbol=BTC, side="BUY", type="MARKET", quantity="0.010")
        # The answer to this comes after whatever the order has caused.
        stream.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 1}))
        heard = []
        while "result" not in (message := json.loads(stream.recv())):
            heard.append(message)
    assert message["result"] == [key]
    assert bool(heard) is not (silent and place == "/private/ws/{}")


def test_stream_of_asset_prices(paper: PaperExchange) -> None:
    url = f"{paper.stream_url}/market/ws/!assetIndex@arr"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        rows = {row["s"]: row for row in json.loads(stream.recv())}
    assert {"USDTUSD", "USDCUSD", "BTCUSD", "ETHUSD", "BNBUSD"} <= set(rows)
    assert (rows["BNBUSD"]["e"], rows["BNBUSD"]["i"], rows["BNBUSD"]["B"]) == (
        "assetIndexUpdate",
        "600.00000000",
        "570.00000000",
    )
