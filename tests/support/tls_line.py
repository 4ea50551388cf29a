"""A line to a store that ends TLS in front of it, and tells who came to it in plain text: nobody of those is served."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PIECE = 65_536
CLIENT_HELLO = b"\x16\x03"
SECONDS = 10.0


@dataclass(kw_only=True)
class TlsLine:
    """What came: what plain callers began with, and how many have proven themselves by TLS (`encrypted`)."""

    port: int = 0
    plain: list[bytes] = field(default_factory=list)
    hellos: int = 0
    encrypted: int = 0


@contextmanager
def tls_line(port: int, *, proof: ssl.SSLContext) -> Iterator[TlsLine]:
    """Run a line to a port of this machine; yields it with its own port."""
    line, loop = TlsLine(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(_open(line, port, proof), loop).result(SECONDS)
        yield line
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)


async def _open(line: TlsLine, port: int, proof: ssl.SSLContext) -> None:
    async def behind(caller: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        line.encrypted += 1
        await _join(caller, answers, port)

    async def door(caller: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        first = await caller.read(PIECE)
        if first and not first.startswith(CLIENT_HELLO):
            line.plain.append(first)
        elif first:
            line.hellos += 1
            await _join(caller, answers, inner.sockets[0].getsockname()[1], first)
        answers.close()

    inner = await asyncio.start_server(behind, HOST, 0, ssl=proof)
    outer = await asyncio.start_server(door, HOST, 0)
    line.port = outer.sockets[0].getsockname()[1]


async def _join(caller: asyncio.StreamReader, answers: asyncio.StreamWriter, port: int, first: bytes = b"") -> None:
    """Carry both directions until one end has closed."""
    server, requests = await asyncio.open_connection(HOST, port)
    requests.write(first)
    ways = [asyncio.ensure_future(_carry(caller, requests)), asyncio.ensure_future(_carry(server, answers))]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way, end in zip(ways, (requests, answers), strict=True):
        way.cancel()
        end.close()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE):
            target.write(piece)
            await target.drain()
