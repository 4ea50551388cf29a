"""Sends signed market orders to the paper exchange over a few keep-alive connections, at a pace or at full speed.

The bytes are prepared beforehand and answers are hardly read, so that the exchange is the limit and not this client.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from local_stack.supervisor import StackError

# Prepared orders may wait for their turn as long as the exchange allows.
RECEIVE_WINDOW_MS = 60_000
LENGTH = b"content-length:"


def signed_orders(symbols: Sequence[str], count: int, key: str, secret: str, quantity: str) -> list[bytes]:
    """Return whole requests: to and fro over the symbols, so that positions stay small."""
    requests = []
    for number in range(count):
        symbol, turn = symbols[number // 2 % len(symbols)], ("BUY", "SELL")[number % 2]
        query = (
            f"symbol={symbol}&side={turn}&type=MARKET&quantity={quantity}"
            f"&recvWindow={RECEIVE_WINDOW_MS}&timestamp={time.time_ns() // 1_000_000}"
        )
        signature = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        requests.append(
            f"POST /fapi/v1/order?{query}&signature={signature} HTTP/1.1\r\n"
            f"Host: exchange\r\nX-MBX-APIKEY: {key}\r\nContent-Length: 0\r\n\r\n".encode()
        )
    return requests


class Lane(asyncio.Protocol):
    """One connection with one request under way at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head) and self._answer is not None and not self._answer.done():
            self._buffer = b""
            self._answer.set_result(head + end + body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(StackError(f"the paper exchange hung up: {exc}"))

    async def ask(self, request: bytes) -> None:
        """Send one request and wait for its answer; raises StackError for any refusal."""
        if self._transport is None:
            raise StackError("the paper exchange is not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await self._answer
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise StackError(f"the paper exchange refused an order: {answer[-300:]!r}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.index(LENGTH) + len(LENGTH)
    return int(lowered[start:].split(b"\r\n", 1)[0])


async def open_lanes(url: str, count: int) -> list[Lane]:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Lane, address.hostname or "", address.port or 0) for _ in range(count)]
    return [lane for _, lane in made]


async def send_all(lanes: Sequence[Lane], requests: Sequence[bytes]) -> float:
    """Send as fast as the answers come, and return the seconds that took."""
    waiting = iter(requests)

    async def work(lane: Lane) -> None:
        for request in waiting:
            await lane.ask(request)

    began = time.perf_counter()
    await asyncio.gather(*(work(lane) for lane in lanes))
    return time.perf_counter() - began


async def send_at_pace(lanes: Sequence[Lane], requests: Sequence[bytes], *, per_second: float) -> list[float]:
    """Send at fixed moments whatever the answers do, and return each one's time to its answer (ms).

    The time counts from when an order was due, so an exchange that stalls is charged for all that wait behind it.
    """
    began = time.perf_counter() + 0.05
    times: list[float] = []

    async def work(first: int, lane: Lane) -> None:
        free = began
        for number in range(first, len(requests), len(lanes)):
            due = began + number / per_second
            await asyncio.sleep(due - time.perf_counter())
            # What our own loop woke up late is not the exchange's; what a slow answer before delayed, is.
            sent = time.perf_counter() if due >= free else due
            await lane.ask(requests[number])
            free = time.perf_counter()
            times.append((free - sent) * 1000)

    await asyncio.gather(*(work(number, lane) for number, lane in enumerate(lanes)))
    return times
