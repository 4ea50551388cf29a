"""--mirror: one paper exchange follows the public streams of another, freezes when it is gone, and finds it again."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange, wait_until

BTC = "BTCUSDT"


@pytest.fixture
def source() -> Iterator[PaperExchange]:
    with PaperExchange() as running:
        yield running


def price(paper: PaperExchange, path: str = "ticker/price", field: str = "price") -> Decimal:
    answer = requests.get(f"{paper.url}/fapi/v1/{path}", params={"symbol": BTC}, timeout=5)
    return Decimal(answer.json()[field])


def mirror_status(paper: PaperExchange) -> Any:
    return paper.control("GET", "status")["mirror"]


def connected(paper: PaperExchange) -> bool:
    return bool(mirror_status(paper)["connected"])


def test_trades_marks_and_quotes_of_the_source_come_over(source: PaperExchange) -> None:
    with PaperExchange("--mirror", source.stream_url, static_prices=False) as copy:
        wait_until(lambda: connected(copy), what="the connection")
        client = UMFutures(key=copy.key, secret=copy.secret, base_url=copy.url, timeout=5)
        client.session.trust_env = False
        bid = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        order = client.new_order(**bid, quantity="0.010", price="49500.00")

        source.set_price(BTC, "49480.5")

        wait_until(lambda: price(copy) == Decimal("49480.5"), what="the price")
        wait_until(lambda: price(copy, "premiumIndex", "markPrice") == Decimal("49480.5"), what="the mark price")
        wait_until(lambda: price(copy, "ticker/bookTicker", "askPrice") == Decimal("49480.6"), what="the quote")
        # It should fill the order that the price went through.
        assert client.query_order(BTC, orderId=order["orderId"])["status"] == "FILLED"
        assert mirror_status(copy)["silent"] is False


def test_a_source_that_is_gone_freezes_prices_and_is_found_again(source: PaperExchange) -> None:
    port = source.url.rpartition(":")[2]
    with PaperExchange("--mirror", source.stream_url, static_prices=False) as copy:
        wait_until(lambda: connected(copy), what="the connection")
        source.set_price(BTC, "50300")
        wait_until(lambda: price(copy) == Decimal(50300), what="the price")

        source.stop()

        wait_until(lambda: mirror_status(copy)["silent"], 15, what="the silence")
        assert (price(copy), connected(copy)) == (Decimal(50300), False)

        with PaperExchange("--port", port) as returned:
            wait_until(lambda: connected(copy), 20, what="the reconnection")
            returned.set_price(BTC, "50700")
            wait_until(lambda: price(copy) == Decimal(50700), what="the new price")
            assert mirror_status(copy)["reconnects"] > 0
            assert mirror_status(copy)["silent"] is False


def test_an_exchange_of_its_own_prices_says_so(paper: PaperExchange) -> None:
    assert paper.control("GET", "status")["mirror"] is None
