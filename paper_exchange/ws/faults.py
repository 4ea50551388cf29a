"""Faults of the user stream: events that get lost, come late, come twice or in the wrong order."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

from paper_exchange.http.faults import FaultError

ACTIONS: Final = frozenset({"silent", "duplicate", "delay", "swap"})


@dataclass(slots=True, kw_only=True)
class StreamFault:
    """One rule; `left` is the number of events it still applies to, None for ever."""

    id: str
    action: str
    event: str | None = None
    key: str | None = None
    left: int | None = 1
    ms: int = 0
    hits: int = 0

    def view(self) -> dict[str, object]:
        return {
            "id": self.id,
            "action": self.action,
            "event": self.event,
            "key": self.key,
            "count": self.left,
            "ms": self.ms,
            "hits": self.hits,
        }


class StreamFaults:
    """The rules in force; the first that fits an event is used."""

    def __init__(self) -> None:
        self.rules: list[StreamFault] = []
        self._ids = count(1)

    def add(self, wanted: Mapping[str, object]) -> StreamFault:
        fault = _read(wanted, f"stream-fault-{next(self._ids)}")
        self.rules = [rule for rule in self.rules if rule.id != fault.id]
        self.rules.append(fault)
        return fault

    def clear(self) -> int:
        before = len(self.rules)
        self.rules = []
        return before

    def pick(self, key: str, event: str) -> StreamFault | None:
        for rule in self.rules:
            if rule.left == 0 or rule.event not in {None, event} or rule.key not in {None, key}:
                continue
            rule.hits += 1
            if rule.left is not None:
                rule.left -= 1
            return rule
        return None


def _read(wanted: Mapping[str, object], fault_id: str) -> StreamFault:
    action, times, ms = wanted.get("action"), wanted.get("count", 1), wanted.get("ms", 0)
    if action not in ACTIONS:
        raise FaultError(f"action must be one of {', '.join(sorted(ACTIONS))}")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise FaultError("count must be a positive integer, or null for ever")
    if isinstance(ms, bool) or not isinstance(ms, int) or ms < 0:
        raise FaultError("ms must be an integer that is not negative")
    event, key = wanted.get("event"), wanted.get("key")
    return StreamFault(
        id=str(wanted.get("id") or fault_id),
        action=str(action),
        event=str(event) if event else None,
        key=str(key) if key else None,
        left=times,
        ms=ms,
    )
