"""Figures behind the price: open interest, premium, index, and candles of them that agree with each other."""

from typing import Any

import pytest
from binance.um_futures import UMFutures

from paper_exchange.config import Config
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.exchange import Exchange
from tests.paper_exchange.conftest import NOON
from tests.paper_exchange.trader import BTC, D
from tests.support.paper import PaperExchange

HOUR = 3_600_000
SYMBOLS = ["BTCUSDT", "ETHUSDT", "ADAUSDT", "DOGEUSDT"]


def interest(client: UMFutures, symbol: str = BTC) -> Any:
    return D(client.open_interest(symbol)["openInterest"])


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_open_interest_is_the_market_s_and_not_the_account_s(client: UMFutures, side: str) -> None:
    before = interest(client)
    client.new_order(symbol=BTC, side=side, type="MARKET", quantity="3")
    assert before > 1000
    # Within a moment it hardly moves, whatever an account does.
    assert abs(interest(client) - before) < 1


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_open_interest_is_plausible_everywhere(paper: PaperExchange, client: UMFutures, symbol: str) -> None:
    first = interest(client, symbol)
    price, step = D(client.ticker_price(symbol)["price"]), {"BTCUSDT": "0.001", "ETHUSDT": "0.001"}.get(symbol, "1")
    assert first % D(step) == 0
    assert 1_000_000 < first * price < 1_000_000_000
    paper.control("POST", "clock", {"advance_ms": 12 * HOUR})
    later = interest(client, symbol)
    # It moves, by a few percent a day.
    assert later != first
    assert abs(later / first - 1) < D("0.15")


def test_figures_are_seeded() -> None:
    def figures(seed: int) -> list[Any]:
        exchange = Exchange(Config(seed=seed, static_prices=True), SteppedClock(NOON))
        bases = [market.basis for market in list(exchange.state.markets.values())[:4]]
        return [(basis.open_interest(NOON), basis.premium(NOON)) for basis in bases]

    assert figures(7) == figures(7)
    assert figures(7) != figures(8)
    # Each symbol has its own.
    assert len(set(figures(7))) == 4


def rows(client: UMFutures, kind: str, **terms: Any) -> list[list[Any]]:
    name = {"pair" if kind == "indexPriceKlines" else "symbol": BTC}
    found: list[list[Any]] = client.query(f"/fapi/v1/{kind}", {**name, "interval": "5m", "limit": 12} | terms)
    return found


def test_premium_candles_are_small_and_alive(client: UMFutures) -> None:
    found = rows(client, "premiumIndexKlines")
    assert len(found) == 12
    for row in found:
        opened, high, low, closed = (D(value) for value in row[1:5])
        assert low <= min(opened, closed) <= max(opened, closed) <= high
        assert max(abs(high), abs(low)) < D("0.001")
        assert (row[5], row[7], len(row)) == ("0", "0", 12)
    assert len({row[4] for row in found}) > 6
    # A past candle stays what it is.
    again = rows(client, "premiumIndexKlines", startTime=found[3][0], limit=1)
    assert again == [found[3]]


def test_index_candles_differ_from_mark_candles_by_the_premium(client: UMFutures) -> None:
    start = {"startTime": client.time()["serverTime"] - 2 * HOUR}
    mark, index, premium = (
        rows(client, f"{kind}Klines", **start) for kind in ("markPrice", "indexPrice", "premiumIndex")
    )
    assert [row[0] for row in mark] == [row[0] for row in index] == [row[0] for row in premium]
    for of_mark, of_index, of_premium in zip(mark, index, premium, strict=True):
        assert of_mark[1:5] != of_index[1:5]
        for part in (1, 4):
            wanted = D(of_index[part]) * (1 + D(of_premium[part]))
            assert abs(wanted - D(of_mark[part])) < D("0.001")
        assert D(of_index[3]) <= min(D(of_index[1]), D(of_index[4]))
        assert D(of_index[2]) >= max(D(of_index[1]), D(of_index[4]))


def test_index_price_is_not_the_mark_price(client: UMFutures) -> None:
    row = client.mark_price(BTC)
    mark, index = D(row["markPrice"]), D(row["indexPrice"])
    assert mark == 50_000
    assert 0 < abs(mark / index - 1) < D("0.001")


def test_rpi_is_listed_among_the_times_in_force(paper: PaperExchange, client: UMFutures) -> None:
    def times() -> dict[str, list[str]]:
        return {row["symbol"]: row["timeInForce"] for row in client.exchange_info()["symbols"]}

    assert times()[BTC] == ["GTC", "IOC", "FOK", "GTX", "GTD", "RPI"]
    paper.control("POST", "assumptions", {"rpi_in_times": False})
    assert times()[BTC] == ["GTC", "IOC", "FOK", "GTX", "GTD"]
    # It takes them all the same.
    client.new_order(symbol=BTC, side="BUY", type="LIMIT", timeInForce="RPI", quantity="0.010", price="49000")
