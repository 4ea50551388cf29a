"""What has to hold after every attack: cycles go on, a restart works, the held position is protected and closes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import requests

from tests.support.ledger import Ledger
from tests.support.stack import CeleryStack
from tests.support.waiting import eventually

HELD, TRADED = "ETHUSDT", "SOLUSDT"
WITHIN = 45.0
# What must have finished work since the attack, by its own heartbeat.
PARTS = ("monitor", "protector", "bridge", "relay")


@dataclass(frozen=True, kw_only=True)
class Api:
    """The web server of a running stack, called as a client calls it."""

    url: str
    session: requests.Session

    @classmethod
    def of(cls, stack: CeleryStack) -> Self:
        session = requests.Session()
        session.trust_env = False
        return cls(url=stack.programs["web"].ready_url.removesuffix("/health/live"), session=session)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request to a path below the root and return its answer, whatever its status."""
        return self.session.request(method, f"{self.url}{path}", timeout=20, **options)

    def order(self, payload: Mapping[str, Any], **options: Any) -> requests.Response:
        """POST an order as JSON."""
        return self.call("POST", "/api/execution/order", json=payload, **options)

    def await_answer(self) -> None:
        """Wait until the server answers at all."""

        def answers() -> bool:
            try:
                return self.call("GET", "/health/live").status_code == 200
            except requests.ConnectionError:
                return False

        eventually(answers, within=WITHIN, what="the web server answers", every=0.1)


@dataclass(frozen=True, kw_only=True)
class HeldPosition:
    """A position with its stop, as the exchange's ledger shows both."""

    symbol: str
    stops: frozenset[int]

    def is_protected(self, stack: CeleryStack) -> bool:
        """Whether the position is open and the stop of its opening still rests: it was never without one."""
        ledger = Ledger.of(stack.paper)
        live = {row["algoId"] for row in ledger.live("STOP_MARKET", self.symbol)}
        return self.symbol in ledger.positions and self.stops <= live


def hold_position(stack: CeleryStack, symbol: str = HELD) -> HeldPosition:
    """Open a position through the service and wait for its stop."""
    trade(stack, symbol)
    return HeldPosition(
        symbol=symbol, stops=frozenset(row["algoId"] for row in Ledger.of(stack.paper).live("STOP_MARKET", symbol))
    )


def trade(stack: CeleryStack, symbol: str) -> None:
    """Publish a decision and wait for its open, protected trade."""
    stack.decide([symbol])

    def stands() -> bool:
        ledger = Ledger.of(stack.paper)
        open_trades = stack.rows("SELECT count(*) FROM execution_trade WHERE symbol = %s AND state = 'OPEN'", symbol)
        return open_trades == [(1,)] and bool(ledger.live("STOP_MARKET", symbol))

    eventually(stands, within=WITHIN, what=f"a protected trade of {symbol}", every=0.1)


def parts_work(stack: CeleryStack, *, since: datetime) -> None:
    """Wait until every periodic part has finished a run that began after `since`."""

    def all_have() -> bool:
        rows = stack.rows("SELECT part FROM execution_heartbeat WHERE at > %s AND healthy", since)
        return {part for (part,) in rows}.issuperset(PARTS)

    eventually(all_have, within=WITHIN, what=f"healthy runs of {', '.join(PARTS)}", every=0.2)


def now_of(stack: CeleryStack) -> datetime:
    """Return the database's time, by which heartbeats are compared."""
    [(now,)] = stack.rows("SELECT clock_timestamp()")
    moment: datetime = now
    return moment


def trading_goes_on(stack: CeleryStack, held: HeldPosition, *, restart: bool = True) -> None:
    """Check all that an attack must not have broken; afterwards everything is closed and the books agree."""
    assert held.is_protected(stack), "the held position has lost its stop"
    parts_work(stack, since=now_of(stack))
    if restart:
        stack.kill_workers()
        stack.start_workers()
        parts_work(stack, since=now_of(stack))
    trade(stack, TRADED)
    assert held.is_protected(stack), "the held position has lost its stop"
    stack.close_everything_by_hand()
    stack.check()


def reason_of(stack: CeleryStack, entry_id: str, *, within: float) -> str:
    """Wait for the dead letter of an entry and return its code."""

    def found() -> str:
        rows = stack.rows("SELECT reason_code FROM execution_deadletter WHERE entry_id = %s", entry_id)
        return str(rows[0][0]) if rows else ""

    return eventually(found, within=within, what=f"a dead letter of {entry_id}", every=0.1)


def entries_of(stack: CeleryStack, symbol: str) -> int:
    """Return how many entries in a symbol have reached the exchange."""
    return sum(order["symbol"] == symbol for order in Ledger.of(stack.paper).entries)
