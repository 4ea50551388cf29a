"""Publishes decisions as the ai-engine does, at a pace or all at once, each for a symbol of its own."""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal

import redis.asyncio as redis

from local_stack.bus import STREAM_LENGTH, Field, stream_key, wrapped
from local_stack.decisions import EVENT_TYPE, long_decision

POSITION_SIZE_USD = 100


def entry_for(symbol: str, price: Decimal) -> dict[Field, Field]:
    decision = long_decision(symbol, price, position_size_usd=POSITION_SIZE_USD)
    return wrapped(EVENT_TYPE, decision, source="ai-engine", trace_id=f"bench-{symbol}")


async def send_paced(
    bus: "redis.Redis", symbols: Sequence[str], price: Decimal, *, per_second: float
) -> dict[str, int]:
    """Publish one decision a slot, and return when each was handed to Redis, by symbol (ns)."""
    sent: dict[str, int] = {}
    began = time.monotonic()
    for number, symbol in enumerate(symbols):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        entry = entry_for(symbol, price)
        sent[symbol] = time.time_ns()
        await bus.xadd(stream_key(EVENT_TYPE), entry, maxlen=STREAM_LENGTH, approximate=True)
    return sent


async def send_burst(bus: "redis.Redis", symbols: Sequence[str], price: Decimal) -> dict[str, int]:
    """Publish all at once, and return the one moment for each."""
    async with bus.pipeline(transaction=False) as pipe:
        for symbol in symbols:
            pipe.xadd(stream_key(EVENT_TYPE), entry_for(symbol, price), maxlen=STREAM_LENGTH, approximate=True)
        began = time.time_ns()
        await pipe.execute()
    return dict.fromkeys(symbols, began)
