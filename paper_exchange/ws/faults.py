"""Faults of the user stream: events that get lost, come late, come twice or in the wrong order."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from paper_exchange.http.faults import FaultError, number

ACTIONS: Final = frozenset({"silent", "duplicate", "delay", "swap", "shuffle"})
_SHUFFLED: Final = 4
_SHUFFLE_WAIT_MS: Final = 250


@dataclass(slots=True, kw_only=True)
class StreamFault:
    """One rule. `left` is the number of events it still applies to, None for ever."""

    id: str
    action: str
    event: str | None = None
    key: str | None = None
    left: int | None = 1
    probability: float = 1.0
    ms: int = 0
    # How many events are shuffled among each other.
    size: int = _SHUFFLED
    # Moment of time.monotonic() at which the rule ends by itself.
    ends: float | None = None
    hits: int = 0

    def fits(self, key: str, event: str) -> bool:
        if self.ends is not None and time.monotonic() >= self.ends:
            return False
        return self.left != 0 and self.event in {None, event} and self.key in {None, key}

    def view(self) -> dict[str, object]:
        return {
            "id": self.id,
            "action": self.action,
            "event": self.event,
            "key": self.key,
            "count": self.left,
            "probability": self.probability,
            "ms": self.ms,
            "hits": self.hits,
        }


class StreamFaults:
    """The rules in force. The first that fits an event is used."""

    def __init__(self, seed: int) -> None:
        self.rules: list[StreamFault] = []
        self.random = Random(f"stream-faults/{seed}")  # noqa: S311 - chance, not secrets
        self._ids = count(1)

    def add(self, wanted: Mapping[str, object]) -> StreamFault:
        fault = _read(wanted, f"stream-fault-{next(self._ids)}")
        self.rules = [rule for rule in self.rules if rule.id != fault.id]
        self.rules.append(fault)
        return fault

    def remove(self, fault_id: str | None = None) -> int:
        """Remove one rule or all, and return how many there were."""
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if fault_id is not None and rule.id != fault_id]
        return before - len(self.rules)

    def pick(self, key: str, event: str) -> StreamFault | None:
        for rule in self.rules:
            if not rule.fits(key, event) or self.random.random() >= rule.probability:
                continue
            rule.hits += 1
            if rule.left is not None:
                rule.left -= 1
            return rule
        return None


def _read(wanted: Mapping[str, object], fault_id: str) -> StreamFault:
    action, times = wanted.get("action"), wanted.get("count", None if "for_ms" in wanted else 1)
    if action not in ACTIONS:
        raise FaultError(f"action must be one of {', '.join(sorted(ACTIONS))}")
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise FaultError("count must be a positive integer, or null for ever")
    event, key = wanted.get("event"), wanted.get("key")
    return StreamFault(
        id=str(wanted.get("id") or fault_id),
        action=str(action),
        event=str(event) if event else None,
        key=str(key) if key else None,
        # Less than all events of a group cannot be shuffled.
        left=None if action == "shuffle" and "count" not in wanted else times,
        probability=number(wanted, "probability", 1.0),
        ms=int(number(wanted, "ms", _SHUFFLE_WAIT_MS if action == "shuffle" else 0)),
        size=max(2, int(number(wanted, "size", _SHUFFLED))),
        ends=time.monotonic() + number(wanted, "for_ms", 0) / 1000 if "for_ms" in wanted else None,
    )
