"""Life of a listen key on the stream side, on a stepped clock and without sockets."""

from typing import Any

import orjson

from paper_exchange.core.listen_keys import VALIDITY_MS
from paper_exchange.ws.connection import Connection
from paper_exchange.ws.hub import Hub
from paper_exchange.ws.names import Path
from paper_exchange.ws.user_stream import UserStream
from tests.paper_exchange.trader import Trader


class Ear(Connection):
    """A connection that keeps what it would send."""

    def __init__(self) -> None:
        super().__init__(None, None, Path.PRIVATE, combined=False, now=0)  # type: ignore[arg-type]
        self.heard: list[Any] = []

    def send(self, text: str) -> None:
        self.heard.append(orjson.loads(text))


def listen(trader: Trader) -> tuple[UserStream, Ear, str]:
    hub = Hub(lambda _: None)
    users = UserStream(trader.exchange, hub)
    trader.exchange.state.listener = users
    key = trader.exchange.listen_keys.open("paper", trader.clock.now_ms())
    ear = Ear()
    hub.subscribe(ear, key)
    return users, ear, key


def test_key_expires_after_its_hour_and_the_stream_falls_silent(trader: Trader) -> None:
    users, ear, key = listen(trader)

    trader.clock.advance(VALIDITY_MS - 1)
    users.expire_keys(trader.clock.now_ms())
    assert ear.heard == []

    trader.clock.advance(1)
    users.expire_keys(trader.clock.now_ms())
    assert ear.heard == [{"e": "listenKeyExpired", "E": trader.clock.now_ms(), "listenKey": key}]

    trader.buy("0.001")
    assert len(ear.heard) == 1


def test_keep_alive_extends_the_hour(trader: Trader) -> None:
    users, ear, _ = listen(trader)
    trader.clock.advance(VALIDITY_MS - 1)
    trader.exchange.listen_keys.renew("paper", trader.clock.now_ms())

    trader.clock.advance(VALIDITY_MS - 1)
    users.expire_keys(trader.clock.now_ms())
    trader.buy("0.001")

    assert [event["e"] for event in ear.heard][-1] == "ACCOUNT_UPDATE"


def test_fills_of_a_walk_carry_the_running_totals(trader: Trader) -> None:
    _, ear, _ = listen(trader)
    trader.account.wallet += 10_000_000
    (_, first), (_, second) = trader.market.book.depth("SELL", 2)

    trader.buy(str(first + second))

    trades = [event["o"] for event in ear.heard if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["x"] == "TRADE"]
    assert [(t["X"], t["z"]) for t in trades] == [("PARTIALLY_FILLED", str(first)), ("FILLED", str(first + second))]
    assert [t["T"] for t in trades] == [trader.clock.now_ms()] * 2
