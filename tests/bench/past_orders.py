"""What an order costs in the core of the paper exchange when few or many came before it: in process, processor time."""

import gc
import time
from decimal import Decimal
from statistics import median

from paper_exchange.__main__ import spare_pauses
from paper_exchange.config import AccountConfig, Config
from paper_exchange.core.clock import SystemClock
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.orders import Ticket

FEW, MANY = 1_000, 100_000
BLOCK, BLOCKS = 400, 9
SYMBOL, QUANTITY = "BTCUSDT", Decimal("0.002")
# Below the market: it rests until it is cancelled.
RESTING_PRICE = Decimal(49_000)


def cost_by_past() -> dict[int, float]:
    """Return the microseconds an order takes after FEW and after MANY orders: the median of blocks taken in turn.

    Both exchanges live at once and their blocks alternate, so that a slow moment of the machine meets both.
    """
    exchanges = {past: _exchange_after(past) for past in (FEW, MANY)}
    thresholds = gc.get_threshold()
    # As in production: the past is frozen, the collector on.
    spare_pauses()
    try:
        blocks: dict[int, list[float]] = {past: [] for past in exchanges}
        for _ in range(BLOCKS):
            for past, exchange in exchanges.items():
                blocks[past].append(_time_block(exchange))
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    return {past: median(times) for past, times in blocks.items()}


def _exchange_after(past: int) -> Exchange:
    account = AccountConfig(key="bench", secret="bench", balance=Decimal(1_000_000))
    exchange = Exchange(Config(static_prices=True, accounts=(account,)), SystemClock())
    for number in range(past):
        _trade(exchange, number)
    return exchange


def _time_block(exchange: Exchange) -> float:
    began = time.process_time_ns()
    for number in range(BLOCK):
        _trade(exchange, number)
    return (time.process_time_ns() - began) / 1000 / BLOCK


def _trade(exchange: Exchange, number: int) -> None:
    """Buy and sell in turn; every third order rests and is cancelled again."""
    account = exchange.state.accounts["bench"]
    if number % 3 == 2:
        ticket = Ticket(symbol=SYMBOL, side="BUY", type="LIMIT", quantity=QUANTITY, price=RESTING_PRICE)
        order = exchange.orders.place(account, ticket)
        exchange.orders.cancel(account, SYMBOL, order.order_id, None)
    else:
        exchange.orders.place(
            account, Ticket(symbol=SYMBOL, side="SELL" if number % 3 else "BUY", type="MARKET", quantity=QUANTITY)
        )
    # What eats the book comes back with each price step.
    exchange.state.markets[SYMBOL].book.refill()
