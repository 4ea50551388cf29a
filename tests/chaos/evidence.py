"""Evidence that the fault of a row has struck, and how often; a row without any proves nothing, and fails.

Each number comes from who has seen the fault: the paper exchange's counters and ledger, a store's own statistics, the
kernel's list of processes, or what the service itself has written about it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support import oracle
from tests.support.paper import PaperExchange
from tests.support.stack import is_running

# Where the control API lists rules with their hits, and under which name.
REQUESTS, STREAMS, PORTIONS, TRIGGERS = "faults", "streams/faults", "portions", "triggers"
LISTED: Final[Mapping[str, str]] = {REQUESTS: "faults", STREAMS: "faults", PORTIONS: "rules", TRIGGERS: "rules"}


@dataclass(kw_only=True)
class Evidence(ABC):
    """What a story has proved so far; a Cell is one. Faults that were injected have to be counted before it ends."""

    # For the table's last column.
    notes: list[str] = field(default_factory=list)
    strikes: dict[str, int] = field(default_factory=dict)
    # Injected and not yet counted: which list holds the rule, and what it does.
    uncounted: dict[str, tuple[str, str]] = field(default_factory=dict)
    _injected: dict[str, str] = field(default_factory=dict)

    @property
    @abstractmethod
    def paper(self) -> PaperExchange:
        """The exchange that faults are injected into."""

    @abstractmethod
    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what the service's database answers."""

    def saw(self, note: str) -> None:
        """Add a note to the table's last column."""
        self.notes.append(note)

    # Injecting and counting

    def fault(self, path: str, action: str, **fields: Any) -> str:
        """Inject a fault of requests and return its id."""
        return self._inject(REQUESTS, {"path": path, "action": action, **fields})

    def stream_fault(self, action: str, **fields: Any) -> str:
        """Inject a fault of the user stream and return its id."""
        return self._inject(STREAMS, {"action": action, **fields})

    def portion(self, **fields: Any) -> str:
        """Prescribe how the next orders fill, and return the rule's id."""
        return self._inject(PORTIONS, fields)

    def trigger(self, **fields: Any) -> str:
        """Prescribe what becomes of the next triggers, and return the rule's id."""
        return self._inject(TRIGGERS, fields)

    def _inject(self, kind: str, rule: Mapping[str, Any]) -> str:
        found = str(self.paper.control("POST", kind, dict(rule))["id"])
        self.uncounted[found] = (kind, " ".join(map(str, rule.values())))
        self._injected[found] = kind
        return found

    def hits(self, fault_id: str) -> int:
        """Return how often a fault has struck.

        Raises:
            AssertionError: the exchange has no such rule any more; it has to be counted before it is removed.

        """
        kind = self._injected[fault_id]
        rules = self.paper.control("GET", kind)[LISTED[kind]]
        found = [int(rule["hits"]) for rule in rules if rule["id"] == fault_id]
        assert found, f"{kind} {fault_id} is gone and was not counted"
        self.uncounted.pop(fault_id, None)
        return found[0]

    # Proving

    def struck(
        self, what: str, times: int, *, exactly: int | None = None, between: tuple[int, int] | None = None
    ) -> None:
        """Record how often something struck, and fail when the story says otherwise.

        Args:
            what: what was counted, in words that follow the number.
            times: what was counted where the fault can be seen.
            exactly: the number, where the story fixes it.
            between: lowest and highest number, where chance decides; the lowest is at least one.

        Raises:
            AssertionError: it struck more or less often.
            ValueError: no bounds, or bounds that a fault which never struck would satisfy.

        """
        if (exactly is None) == (between is None):
            raise ValueError(f"{what}: say either exactly or between")
        low, high = between or (exactly or 0, exactly or 0)
        if not 1 <= low <= high:
            raise ValueError(f"{what}: a fault that may strike {low} to {high} times proves nothing")
        wanted = f"{low}" if low == high else f"{low} to {high}"
        assert low <= times <= high, f"the fault did not strike as it should: {times} {what}, not {wanted}"
        self.strikes[what] = times
        self.saw(f"{times} {what}")

    def has_struck(self) -> None:
        """Fail when a story has proved no fault, or has injected one and not counted it."""
        assert self.strikes, "the row proved no fault"
        assert not self.uncounted, f"injected and never counted: {[rule for _, rule in self.uncounted.values()]}"

    def has_traded(self) -> None:
        """Fail when the books hold no fill of a decision or order: every invariant holds where nothing happens."""
        query = (
            "SELECT count(*) FROM execution_executionrequest r WHERE r.state = 'RECORDED'"
            " AND EXISTS (SELECT FROM execution_fill f WHERE f.trade_id = r.id AND f.entry)"
        )
        [(traded,)] = self.rows(query)
        assert traded, "nothing was traded, so the invariants show nothing"

    # Looking

    def came_to(self, total: int, *, but_for: Mapping[str, int] | None = None) -> None:
        """Fail unless there are `total` requests, all of them recorded but for at most so many in other states.

        Args:
            total: how many requests there are.
            but_for: the most that may have ended in a state, by state; all others are RECORDED.

        """
        found = dict(self.rows("SELECT state, count(*) FROM execution_executionrequest GROUP BY state"))
        allowed = but_for or {}
        others = {state: number for state, number in found.items() if state != "RECORDED"}
        assert sum(found.values()) == total, f"{sum(found.values())} requests, not {total}: {found}"
        assert all(number <= allowed.get(state, 0) for state, number in others.items()), f"{found}, allowed: {allowed}"

    def unfinished(self) -> int:
        """Return how many requests are in the books and have no outcome yet."""
        query = "SELECT count(*) FROM execution_executionrequest WHERE NOT state = ANY(%s)"
        [(number,)] = self.rows(query, [*oracle.FINAL])
        return int(number)


def ended(pids: Collection[int]) -> int:
    """Return how many of these processes the kernel no longer runs."""
    return sum(not is_running(pid) for pid in pids)
