"""Decisions as the ai-engine service publishes them, for the samples of `make run` and the trade of `make demo`."""

from decimal import ROUND_HALF_EVEN, Decimal
from uuid import uuid4

import redis.asyncio as redis

from local_stack.bus import STREAM_LENGTH, stream_key, utc_now, wrapped

# Not BTCUSDT: one trade a symbol, and the first order that a newcomer types is for it.
SAMPLE_SYMBOLS = ("ETHUSDT", "1000PEPEUSDT", "SOLUSDT", "币安人生USDT", "XRPUSDT")
STOP_DISTANCE = Decimal("0.02")
TARGET_DISTANCE = Decimal("0.03")
EVENT_TYPE = "ai.decision.made"


def long_decision(symbol: str, price: Decimal, *, position_size_usd: int = 500) -> dict[str, object]:
    """Return a decision to go long at about `price`, with a stop 2 % below and a target 3 % above."""
    return {
        "symbol": symbol,
        "side": "long",
        "confidence": 0.85,
        "entry_price": float(price),
        "quantity": float(position_size_usd),
        "leverage": 5,
        "stop_loss": float(_beside(price, -STOP_DISTANCE)),
        "take_profit": float(_beside(price, TARGET_DISTANCE)),
        "trail_percent": None,
        "model": "ensemble",
        "ensemble_confidence": 0.85,
        "strategy": "sample",
        "meta_strategy": None,
        "regime": "unknown",
        "position_size_usd": float(position_size_usd),
        "timestamp": utc_now(),
    }


def _beside(price: Decimal, fraction: Decimal) -> Decimal:
    """Return a level as far from `price` as asked, with as many decimals as the price itself."""
    return (price * (1 + fraction)).quantize(price, ROUND_HALF_EVEN)


async def publish(bus: "redis.Redis", decision: dict[str, object]) -> str:
    """Put the decision on the bus and return the trace id by which its consequences can be told."""
    trace_id = str(uuid4())
    entry = wrapped(EVENT_TYPE, decision, source="ai-engine", trace_id=trace_id)
    await bus.xadd(stream_key(EVENT_TYPE), entry, maxlen=STREAM_LENGTH, approximate=True)
    return trace_id
