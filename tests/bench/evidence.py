"""What happened to each decision, by two witnesses: the exchange's ledger of requests, and our transition log."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import psycopg

from execution.domain.client_ids import PREFIX
from execution.domain.policy import MAX_POSITIONS
from local_stack.supervisor import StackError

ENTRY_PREFIX = f"{PREFIX}e"
ORDER, ALGO_ORDER = "/fapi/v1/order", "/fapi/v1/algoOrder"
FINAL_STATES = ["RECORDED", "DENIED", "REJECTED", "EXPIRED", "CANCELED", "NOT_ACCEPTED", "WRITTEN_OFF"]
COUNT_FINAL = "SELECT count(*) FROM execution_executionrequest WHERE state = ANY(%s) AND symbol = ANY(%s)"
COUNT_FAILED = """
    SELECT count(*), state, min(reason) FROM execution_executionrequest
    WHERE state <> 'RECORDED' AND symbol = ANY(%s) GROUP BY state, reason_code
"""
ALLOW_POSITIONS = """
    INSERT INTO execution_policyvalue (key, value, source, version, changed_at) VALUES (%s, %s, 'bench', 1, now())
"""
STEPS = """
    SELECT request.symbol, step.to_state, (extract(epoch FROM step.at) * 1000000000)::bigint
    FROM execution_auditevent step JOIN execution_executionrequest request ON request.id::text = step.entity_id
    WHERE step.entity = 'request' AND request.symbol = ANY(%s) ORDER BY step.id
"""


@dataclass(kw_only=True)
class Story:
    """One decision: when its entry and its stop reached the exchange, and when it entered each state (ns)."""

    symbol: str
    sent: int
    entry: int = 0
    stop: int = 0
    states: dict[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether it became a trade with a stop."""
        return bool(self.entry and self.stop and "RECORDED" in self.states)

    @property
    def to_entry_ms(self) -> float:
        return (self.entry - self.sent) / 1e6

    @property
    def to_stop_ms(self) -> float:
        """From fill to stop accepted: a market order fills as it arrives, and both answers take their call's time."""
        return (self.stop - self.entry) / 1e6


async def read_requests(http: aiohttp.ClientSession, exchange_url: str) -> list[dict[str, Any]]:
    async with http.get(f"{exchange_url}/paper/ledger", raise_for_status=True) as response:
        requests: list[dict[str, Any]] = (await response.json())["requests"]
        return requests


def accepted(requests: Iterable[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    return [row for row in requests if (row["method"], row["path"], row["status"]) == ("POST", path, 200)]


class Books:
    """Our own database, asked rarely, so that the question does not slow what it is about."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.close()

    def ended(self, symbols: Collection[str]) -> int:
        row = self._connection.execute(COUNT_FINAL, [FINAL_STATES, list(symbols)]).fetchone()
        return int(row[0]) if row else 0

    def failures(self, symbols: Collection[str]) -> list[str]:
        """Return why decisions did not become trades, one sentence a reason."""
        rows = self._connection.execute(COUNT_FAILED, [list(symbols)]).fetchall()
        return [f"{count} {state}: {reason}" for count, state, reason in rows]

    def allow_positions(self, most: int) -> None:
        """Put a limit in force that no policy service may ask for: the invented contracts have room for it."""
        self._connection.execute(ALLOW_POSITIONS, [MAX_POSITIONS, most])

    def setting(self, name: str) -> str:
        row = self._connection.execute("SELECT current_setting(%s)", [name]).fetchone()
        return str(row[0]) if row else ""

    def add_states(self, stories: dict[str, Story]) -> None:
        for symbol, state, moment in self._connection.execute(STEPS, [list(stories)]):
            stories[symbol].states.setdefault(state, moment)


def tell_stories(sent: dict[str, int], requests: Sequence[dict[str, Any]]) -> dict[str, Story]:
    """Join what was sent with what arrived; raises StackError when one decision has two entries."""
    stories = {symbol: Story(symbol=symbol, sent=moment) for symbol, moment in sent.items()}
    for row in accepted(requests, ORDER):
        story = stories.get(row["params"]["symbol"])
        if story is None or not row["params"].get("newClientOrderId", "").startswith(ENTRY_PREFIX):
            continue
        if story.entry:
            raise StackError(f"{story.symbol} has two entries at the exchange.")
        story.entry = row["t_ns"]
    for row in accepted(requests, ALGO_ORDER):
        story = stories.get(row["params"]["symbol"])
        if story is not None and row["params"].get("type") == "STOP_MARKET":
            story.stop = story.stop or row["t_ns"]
    return stories
