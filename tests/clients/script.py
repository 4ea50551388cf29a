"""The frame of every client script: arguments, no way out of this machine, one JSON line per capability."""

import argparse
import ipaddress
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from tests.clients import scenarios
from tests.clients.capabilities import CAPABILITIES
from tests.clients.control import Control
from tests.clients.ports import Client

TIMEOUT_S = 40


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a client finds the exchange: `rest` is http://host:port, `streams` ws://host:port."""

    rest: str
    streams: str
    key: str
    secret: str


class Outside:
    """Refuses connections that leave this machine and remembers them: a client that tries one has a red capability."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[object, ...]) -> None:
        host = None
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        if host is not None and not is_loopback(host):
            self.tried.append(str(host))
            raise ConnectionRefusedError(f"{host} is not on this machine")


def is_loopback(host: object) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return text == "localhost"


def main(connect: Callable[[Target], Client]) -> None:
    """Run all scenarios with the client that `connect` makes."""
    parser = argparse.ArgumentParser()
    for name in ("rest", "streams", "key", "secret"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only", action="append", choices=CAPABILITIES, help="only this capability")
    options = vars(parser.parse_args())
    only = options.pop("only") or CAPABILITIES
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGALRM, _time_is_up)
    outside = Outside()
    target = Target(**options)
    exchange = Control(url=target.rest)
    client = connect(target)
    for capability in only:
        print(json.dumps(run(capability, client, exchange, outside)), flush=True)  # noqa: T201 - the runner reads it


def run(capability: str, client: Client, exchange: Control, outside: Outside) -> dict[str, object]:
    """Return the outcome; `ok` is null when the client has no such call."""
    if reason := client.missing.get(capability):
        return {"capability": capability, "ok": None, "detail": reason}
    outside.tried.clear()
    detail = attempt(getattr(scenarios, capability), client, exchange)
    if outside.tried:
        detail = f"tried to reach {', '.join(sorted(set(outside.tried)))}. {detail}".strip()
    return {"capability": capability, "ok": not detail, "detail": detail}


def attempt(scenario: scenarios.Scenario, client: Client, exchange: Control) -> str:
    """Return what went wrong, nothing when all is well."""
    signal.alarm(TIMEOUT_S)
    try:
        exchange.reset()
        scenario(client, exchange)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is its outcome
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return ""


def _time_is_up(_: int, __: FrameType | None) -> None:
    raise TimeoutError(f"not done within {TIMEOUT_S} s")
