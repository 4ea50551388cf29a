"""Candles of a known range on the paper exchange, for exits that are measured by the ATR."""

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.desk import Desk

# Above and below the price at rest, 50000.
HALF = 100
ATR = Decimal(2 * HALF)


def minutes_of_range(desk: "Desk", count: int, symbol: str = "BTCUSDT") -> None:
    """Let so many minutes pass, each with a true range of 200, from 49900 to 50100, and a close at 50000."""
    for _ in range(count):
        for price in (50_000 + HALF, 50_000 - HALF, 50_000):
            desk.paper.set_price(symbol, str(price))
        _go_to_next_minute(desk)


def _go_to_next_minute(desk: "Desk") -> None:
    """Let the exchange's minute end: prices that are set right after that are all of the next one, on any machine."""
    # Asked there: what a client takes for the exchange's time lags behind the last step.
    milliseconds = 60_100 - desk.person.time()["serverTime"] % 60_000
    desk.paper.control("POST", "clock", {"advance_ms": milliseconds})
    desk.clock.let_pass(milliseconds / 1000)
    desk.exchange.check()
