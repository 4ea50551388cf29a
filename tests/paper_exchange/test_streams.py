"""WebSocket streams as clients see them: addresses, subscriptions, user events and market data."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import websocket
from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

from tests.paper_exchange.trader import D
from tests.support.paper import PaperExchange, wait_until

Connect = Callable[[str], websocket.WebSocket]


@pytest.fixture
def connect(paper: PaperExchange) -> Iterator[Connect]:
    """Open connections that the test's end closes."""
    with ExitStack() as opened:

        def open_socket(path: str) -> websocket.WebSocket:
            socket = websocket.create_connection(f"{paper.stream_url}{path}", timeout=5, http_no_proxy=["*"])
            opened.callback(socket.close)
            return socket

        yield open_socket


@pytest.fixture
def listen_key(client: UMFutures) -> str:
    return str(client.new_listen_key()["listenKey"])


def read(socket: websocket.WebSocket) -> Any:
    return json.loads(socket.recv())


def ask(socket: websocket.WebSocket, method: str, params: Any = None, identity: int = 1) -> Any:
    message = {"method": method, "id": identity} | ({} if params is None else {"params": params})
    socket.send(json.dumps(message))
    return read(socket)


def buy(client: UMFutures, client_id: str = "w:1") -> Any:
    return client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010", newClientOrderId=client_id)


@pytest.mark.parametrize(
    "path", ["/private/ws?listenKey={}", "/private/ws?listenKey={}&events=ORDER_TRADE_UPDATE/TRADE_LITE/ACCOUNT_UPDATE"]
)
def test_fill_reaches_the_user_stream(connect: Connect, client: UMFutures, listen_key: str, path: str) -> None:
    stream = connect(path.format(listen_key))
    order = buy(client)

    new, lite, trade, account = (read(stream) for _ in range(4))
    assert (new["e"], new["o"]["x"], new["o"]["X"], new["o"]["i"]) == (
        "ORDER_TRADE_UPDATE",
        "NEW",
        "NEW",
        order["orderId"],
    )
    assert (lite["e"], lite["c"], lite["l"], lite["L"]) == ("TRADE_LITE", "w:1", "0.010", "50000.1")
    filled = trade["o"]
    assert [filled[name] for name in ("x", "X", "z", "L", "n", "N", "rp", "m", "c")] == [
        "TRADE",
        "FILLED",
        "0.010",
        "50000.1",
        "0.2500005",
        "USDT",
        "0",
        False,
        "w:1",
    ]
    # It should be the trade that userTrades shows.
    [row] = client.get_account_trades("BTCUSDT")
    assert (filled["t"], filled["T"]) == (row["id"], row["time"])
    assert account["e"] == "ACCOUNT_UPDATE"
    assert account["a"]["m"] == "ORDER"
    assert account["a"]["B"] == [{"a": "USDT", "wb": "9999.74999950", "cw": "9999.74999950", "bc": "0"}]
    [position] = account["a"]["P"]
    assert (position["s"], position["pa"], position["ep"], position["ps"]) == ("BTCUSDT", "0.010", "50000.1", "BOTH")


def test_triggered_stop_tells_its_whole_life(
    connect: Connect, paper: PaperExchange, client: UMFutures, listen_key: str
) -> None:
    buy(client)
    stream = connect(f"/private/ws?listenKey={listen_key}")
    client.sign_request(
        "POST",
        "/fapi/v1/algoOrder",
        {
            "algoType": "CONDITIONAL",
            "symbol": "BTCUSDT",
            "side": "SELL",
            "type": "STOP_MARKET",
            "triggerPrice": "49000",
            "quantity": "0.010",
            "reduceOnly": "true",
            "clientAlgoId": "sl:1",
        },
    )
    paper.set_price("BTCUSDT", "48990")

    events = [read(stream) for _ in range(8)]
    told = [(event["e"], event.get("o", {}).get("X")) for event in events]
    assert told == [
        ("ALGO_UPDATE", "NEW"),
        ("ALGO_UPDATE", "TRIGGERING"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("TRADE_LITE", None),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ACCOUNT_UPDATE", None),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ALGO_UPDATE", "FINISHED"),
    ]
    order, finished = events[4]["o"], events[7]["o"]
    assert (order["c"], order["si"], order["ss"], order["st"]) == ("sl:1", finished["aid"], -1, "ALGO_CONDITION")
    assert (finished["ai"], finished["ap"], finished["aq"]) == (str(order["i"]), "48989.9", "0.010")
    assert events[5]["a"]["P"][0]["pa"] == "0"


def test_cancel_and_settings_are_told(connect: Connect, client: UMFutures, listen_key: str) -> None:
    stream = connect(f"/private/ws?listenKey={listen_key}")
    client.new_order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49000")
    client.cancel_open_orders("BTCUSDT")
    client.change_leverage("BTCUSDT", 10)
    client.change_margin_type("BTCUSDT", "ISOLATED")

    new, cancelled, leverage, margin = (read(stream) for _ in range(4))
    assert (new["o"]["X"], new["o"]["b"]) == ("NEW", "490")
    assert (cancelled["o"]["x"], cancelled["o"]["X"], cancelled["o"]["b"]) == ("CANCELED", "CANCELED", "0")
    assert (leverage["e"], leverage["ac"]) == ("ACCOUNT_CONFIG_UPDATE", {"s": "BTCUSDT", "l": 10})
    assert (margin["e"], margin["a"]["m"]) == ("ACCOUNT_UPDATE", "MARGIN_TYPE_CHANGE")


def test_path_without_a_route_carries_no_user_data(connect: Connect, client: UMFutures, listen_key: str) -> None:
    silent, heard = connect(f"/ws/{listen_key}"), connect(f"/private/ws?listenKey={listen_key}")
    buy(client)
    assert read(heard)["e"] == "ORDER_TRADE_UPDATE"
    # It should answer control messages and nothing else.
    assert ask(silent, "LIST_SUBSCRIPTIONS") == {"result": [listen_key], "id": 1}


def test_event_filter_and_wrapping(connect: Connect, client: UMFutures, listen_key: str) -> None:
    stream = connect(f"/private/stream?listenKey={listen_key}&events=ACCOUNT_UPDATE/TRADE_LITE")
    buy(client)
    first, second = read(stream), read(stream)
    assert (first["stream"], first["data"]["e"]) == (listen_key, "TRADE_LITE")
    assert second["data"]["e"] == "ACCOUNT_UPDATE"


def test_another_account_hears_nothing(connect: Connect, paper: PaperExchange, client: UMFutures) -> None:
    paper.add_account("second", "its-secret")
    other = UMFutures(key="second", secret="its-secret", base_url=paper.url, timeout=5)
    other.session.trust_env = False
    stream = connect(f"/private/ws?listenKey={other.new_listen_key()['listenKey']}")
    buy(client, "mine")
    other.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001", newClientOrderId="theirs")
    assert read(stream)["o"]["c"] == "theirs"


def test_deleted_listen_key_closes_its_stream(connect: Connect, client: UMFutures, listen_key: str) -> None:
    stream = connect(f"/private/ws?listenKey={listen_key}")
    client.close_listen_key(listen_key)
    assert stream.recv() == ""
    assert not stream.connected


def test_subscriptions_by_message(connect: Connect, paper: PaperExchange) -> None:
    socket = connect("/public/ws")
    assert ask(socket, "SUBSCRIBE", ["btcusdt@bookTicker"]) == {"result": None, "id": 1}
    assert read(socket)["e"] == "bookTicker"

    paper.set_price("BTCUSDT", "50500")
    told = read(socket)
    assert (told["b"], told["a"]) == ("50499.90", "50500.10")

    assert ask(socket, "SUBSCRIBE", ["no@such", "btcusdt@aggTrade"], 2) == {"result": None, "id": 2}
    assert ask(socket, "LIST_SUBSCRIPTIONS", identity=3)["result"] == [
        "btcusdt@aggTrade",
        "btcusdt@bookTicker",
        "no@such",
    ]
    assert ask(socket, "UNSUBSCRIBE", ["btcusdt@bookTicker"], 4) == {"result": None, "id": 4}
    # It should be silent now: aggTrade belongs to another route.
    paper.set_price("BTCUSDT", "50000")
    assert ask(socket, "GET_PROPERTY", ["combined"], 5) == {"result": False, "id": 5}
    # It should accept what the official SDK sends as id.
    uuid = "355a4122-44e4-440a-84c8-33af5a42aaea"
    socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": uuid}))
    assert read(socket) == {"result": ["btcusdt@aggTrade", "no@such"], "id": uuid}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1.5}', 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@aggTrade","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
        ('{"method":"EXPLODE","params":[],"id":1}', 2),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1),
    ],
)
def test_messages_that_make_no_sense(connect: Connect, text: str, code: int) -> None:
    socket = connect("/market/ws")
    socket.send(text)
    assert read(socket)["code"] == code


def test_set_property_wraps_from_then_on(connect: Connect) -> None:
    socket = connect("/public/ws")
    assert ask(socket, "SET_PROPERTY", ["combined", True])["result"] is None
    ask(socket, "SUBSCRIBE", ["btcusdt@bookTicker"])
    assert read(socket)["stream"] == "btcusdt@bookTicker"


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/market/ws/btcusdt@aggTrade", "aggTrade"),
        ("/public/ws/btcusdt@trade", "trade"),
        ("/ws/btcusdt@bookTicker", "bookTicker"),
        ("/market/ws/btcusdt@kline_1m", "kline"),
        ("/market/ws/btcusdt_perpetual@continuousKline_1h", "continuous_kline"),
        ("/market/ws/btcusdt@markPrice@1s", "markPriceUpdate"),
        ("/market/ws/btcusdt@miniTicker", "24hrMiniTicker"),
        ("/market/ws/btcusdt@ticker", "24hrTicker"),
        ("/public/ws/btcusdt@depth5@100ms", "depthUpdate"),
        ("/public/ws/btcusdt@depth", "depthUpdate"),
    ],
)
def test_market_streams(connect: Connect, paper: PaperExchange, path: str, event: str) -> None:
    socket = connect(path)
    ask_free_of_data = websocket.WebSocketTimeoutException
    socket.settimeout(0.3)
    for price in ("50001", "50002", "50003", "50004", "50005", "50006", "50007", "50008"):
        paper.set_price("BTCUSDT", price)
        try:
            assert read(socket)["e"] == event
        except ask_free_of_data:
            continue
        return
    pytest.fail(f"nothing on {path}")


def test_several_streams_and_arrays_on_one_connection(connect: Connect, paper: PaperExchange) -> None:
    socket = connect("/market/stream?streams=!markPrice@arr@1s/ethusdt@aggTrade")
    seen: dict[str, Any] = {}

    def both() -> bool:
        paper.set_price("ETHUSDT", "2501")
        message = read(socket)
        seen[message["stream"]] = message["data"]
        return len(seen) == 2

    wait_until(both, 5, what="both streams")
    assert {row["s"] for row in seen["!markPrice@arr@1s"]} >= {"BTCUSDT", "ETHBTC", "币安人生USDT"}
    assert seen["ethusdt@aggTrade"]["s"] == "ETHUSDT"


def test_a_thousand_streams_fit_into_one_address(connect: Connect) -> None:
    names = [f"symbol{number:04}usdt@markPrice@1s" for number in range(1000)]
    socket = connect("/market/stream?streams=" + "/".join(names))
    assert ask(socket, "LIST_SUBSCRIPTIONS")["result"] == names
    assert ask(socket, "SUBSCRIBE", [f"more{number}@aggTrade" for number in range(25)])["code"] == 2


def test_local_book_kept_by_differences_equals_the_snapshot(
    connect: Connect, paper: PaperExchange, client: UMFutures
) -> None:
    socket = connect("/public/ws/btcusdt@depth@100ms")
    snapshot = client.depth("BTCUSDT", limit=1000)
    book = {side: dict(map(tuple, snapshot[side])) for side in ("bids", "asks")}
    update_id, linked = snapshot["lastUpdateId"], None
    for price in ("50010", "49995", "50020"):
        paper.set_price("BTCUSDT", price)
        buy(client, f"d:{price}")
    client.new_order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.5", price="49999.90")

    # What was eaten grows back with the next step; after that the book stands still.
    while update_id < (final := client.depth("BTCUSDT", limit=1000))["lastUpdateId"]:
        event = read(socket)
        if event["u"] < update_id:
            continue
        # It should continue the snapshot, and then each event the one before.
        assert event["pu"] == linked if linked else event["U"] <= update_id + 1
        linked = update_id = event["u"]
        for side, changes in (("bids", event["b"]), ("asks", event["a"])):
            book[side] |= dict(map(tuple, changes))
            book[side] = {price: quantity for price, quantity in book[side].items() if D(quantity)}
    assert linked is not None
    assert update_id == final["lastUpdateId"]
    assert book == {side: dict(map(tuple, final[side])) for side in ("bids", "asks")}


def test_connectors_own_websocket_client(paper: PaperExchange, client: UMFutures, listen_key: str) -> None:
    private: list[Any] = []
    market: list[Any] = []
    errors: list[Any] = []

    def open_client(route: str, heard: list[Any]) -> UMFuturesWebsocketClient:
        return UMFuturesWebsocketClient(
            stream_url=f"{paper.stream_url}/{route}",
            on_message=lambda _, text: heard.append(json.loads(text)),
            on_error=lambda _, error: errors.append(error),
        )

    user, prices = open_client("private", private), open_client("market", market)
    user.user_data(listen_key=listen_key)
    prices.agg_trade("btcusdt")
    wait_until(lambda: private and market, what="answers to SUBSCRIBE")
    buy(client, "c:1")

    wait_until(lambda: len(private) == 5 and len(market) >= 2, what="events")
    assert [message.get("e") for message in private] == [
        None,
        "ORDER_TRADE_UPDATE",
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
    ]
    assert market[1]["e"] == "aggTrade"
    assert errors == []
    user.stop()
    prices.stop()


def test_ping_from_the_client_is_answered_with_its_payload(connect: Connect) -> None:
    socket = connect("/market/ws")
    socket.ping("are you there")
    opcode, frame = socket.recv_data_frame(control_frame=True)
    assert (opcode, frame.data) == (websocket.ABNF.OPCODE_PONG, b"are you there")


def test_too_many_messages_end_the_connection() -> None:
    with PaperExchange(limits=True) as strict:
        socket = websocket.create_connection(f"{strict.stream_url}/market/ws", timeout=5, http_no_proxy=["*"])
        for _ in range(10):
            assert ask(socket, "LIST_SUBSCRIPTIONS")["result"] == []
        with pytest.raises(ValueError, match="Expecting value"):
            ask(socket, "LIST_SUBSCRIPTIONS")


def test_old_connections_are_cut() -> None:
    with PaperExchange("--stream-life-s", "0") as short:
        socket = websocket.create_connection(f"{short.stream_url}/market/ws", timeout=5, http_no_proxy=["*"])
        assert socket.recv() == ""


def test_unrouted_paths_serve_everything_in_legacy_mode() -> None:
    with PaperExchange("--legacy-streams") as legacy:
        client = UMFutures(key=legacy.key, secret=legacy.secret, base_url=legacy.url, timeout=5)
        client.session.trust_env = False
        key = client.new_listen_key()["listenKey"]
        socket = websocket.create_connection(f"{legacy.stream_url}/ws/{key}", timeout=5, http_no_proxy=["*"])
        buy(client)
        assert read(socket)["e"] == "ORDER_TRADE_UPDATE"
        socket.close()
