"""The floor: the connector's own order, paced, against the same exchange: what no service around it can beat."""

import time

from binance.um_futures import UMFutures

from execution_project.env import PAPER_KEY, PAPER_SECRET

SYMBOL = "BTCUSDT"
QUANTITY = "0.002"
ORDERS = 400
WARM_UP = 20
PACE_SECONDS = 0.03
MARK = "floor-"


def send_floor(exchange_url: str) -> dict[str, int]:
    """Send paced market orders and return when each was handed to the connector, by client order id (ns)."""
    client = UMFutures(key=PAPER_KEY, secret=PAPER_SECRET, base_url=exchange_url, timeout=10)
    sent: dict[str, int] = {}
    began = time.monotonic()
    for number in range(WARM_UP + ORDERS):
        time.sleep(max(0.0, began + number * PACE_SECONDS - time.monotonic()))
        name = f"{MARK}{number}"
        before = time.time_ns()
        # To and fro: the position stays small.
        client.new_order(
            symbol=SYMBOL,
            side="SELL" if number % 2 else "BUY",
            type="MARKET",
            quantity=QUANTITY,
            newClientOrderId=name,
        )
        if number >= WARM_UP:
            sent[name] = before
    return sent
