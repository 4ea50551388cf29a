"""Waiting: for several things at once, and for something that gives no signal."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Found = TypeVar("Found")


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Do all at once; the first that fails cancels the others, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def poll(check: Callable[[], Awaitable[Found]], *, seconds: float, every: float = 0.05) -> Found:
    """Ask again and again and return the first true value of `check`; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            found = await check()
            if found:
                return found
            await asyncio.sleep(every)
