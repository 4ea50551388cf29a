"""A WSGI application for the tests of the web worker: `/api/execution/order` waits until a file appears.

`/dashboard/stream` answers at once, and does not end before that.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

WAITS = "/api/execution/order"
STREAM = "/dashboard/stream"
LONGEST_WAIT_SECONDS = 60.0


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == WAITS:
        wait_for(Path(os.environ["RELEASE_FILE"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == STREAM:
        return stream(Path(os.environ["RELEASE_FILE"]))
    if environ["PATH_INFO"] == "/long":
        return [b"x" * 1_000_000] * int(body or b"1")
    return [f"{environ['PATH_INFO']} {len(body)}".encode()]


def stream(file: Path) -> Iterator[bytes]:
    yield b"first"
    wait_for(file)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
