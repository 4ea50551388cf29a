"""Waiting for something that gives no signal: ask again until it is so, or until the time is over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")


async def poll(check: Callable[[], Awaitable[Found]], *, seconds: float, every: float = 0.05) -> Found:
    """Return the first true value of `check`; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(every)
