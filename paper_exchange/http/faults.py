"""Injected faults: rules that change how chosen requests are answered, for tests of clients."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from paper_exchange.http.params import Params
from paper_exchange.http.presets import PRESETS, Preset

ACTIONS: Final = frozenset({"delay", "drop_before", "drop_after", "reply", "hide"})


class FaultError(ValueError):
    """A fault rule that cannot be understood."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule; `left` is how often it still applies, None for ever."""

    id: str
    path: str
    action: str
    method: str | None = None
    key: str | None = None
    match: Mapping[str, str] = field(default_factory=dict)
    left: int | None = 1
    probability: float = 1.0
    ms: int = 0
    status: int = 503
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    execute: bool = False
    spares_reducing: bool = False
    # Moment of time.monotonic() at which the rule ends by itself.
    ends: float | None = None
    hits: int = 0

    def fits(self, method: str, path: str, key: str | None, params: Params) -> bool:
        if self.ends is not None and time.monotonic() >= self.ends:
            return False
        if self.left == 0 or self.method not in {None, method} or self.key not in {None, key}:
            return False
        if self.spares_reducing and _reduces(params):
            return False
        same = path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path
        return same and all(params.values.get(name) == value for name, value in self.match.items())

    def view(self) -> dict[str, object]:
        return {
            "id": self.id,
            "path": self.path,
            "action": self.action,
            "method": self.method,
            "key": self.key,
            "match": dict(self.match),
            "count": self.left,
            "probability": self.probability,
            "hits": self.hits,
        }


class Faults:
    """The rules in force, oldest first; the first that fits a request is used."""

    def __init__(self, seed: int) -> None:
        self.rules: list[Fault] = []
        self._random = Random(f"faults/{seed}")  # noqa: S311 - chance, not secrets
        self._ids = count(1)

    def add(self, wanted: Mapping[str, object]) -> Fault:
        fault = _read(wanted, f"fault-{next(self._ids)}")
        self.rules = [rule for rule in self.rules if rule.id != fault.id]
        self.rules.append(fault)
        return fault

    def remove(self, fault_id: str | None = None) -> int:
        """Remove one rule or all, and return how many there were."""
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if fault_id is not None and rule.id != fault_id]
        return before - len(self.rules)

    def pick(self, method: str, path: str, key: str | None, params: Params) -> Fault | None:
        """Return the rule for a request and count its use."""
        for rule in self.rules:
            if rule.fits(method, path, key, params) and self._random.random() < rule.probability:
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                return rule
        return None


def _read(wanted: Mapping[str, object], fault_id: str) -> Fault:
    action, path = wanted.get("action"), wanted.get("path")
    if action not in ACTIONS:
        raise FaultError(f"action must be one of {', '.join(sorted(ACTIONS))}")
    if not isinstance(path, str) or not path.startswith(("/", "*")):
        raise FaultError("path must be a path, or the start of one followed by *")
    # A rule with an end applies to all requests until then.
    times = wanted.get("count", None if "for_ms" in wanted else 1)
    if times is not None and (not isinstance(times, int) or times < 1):
        raise FaultError("count must be a positive integer, or null for ever")
    method, key, preset = wanted.get("method"), wanted.get("key"), _preset(wanted)
    return Fault(
        id=str(wanted.get("id") or fault_id),
        path=path,
        action=str(action),
        method=str(method).upper() if method else None,
        key=str(key) if key else None,
        match={str(name): str(value) for name, value in _mapping(wanted, "match").items()},
        left=times,
        probability=_number(wanted, "probability", 1.0),
        ms=int(_number(wanted, "ms", 0)),
        status=int(_number(wanted, "status", preset.status if preset else 503)),
        body=wanted.get("body", preset.body if preset else None),
        headers={str(name): str(value) for name, value in _mapping(wanted, "headers").items()},
        execute=bool(wanted.get("execute", False)),
        spares_reducing=bool(preset and preset.spares_reducing),
        ends=time.monotonic() + _number(wanted, "for_ms", 0) / 1000 if "for_ms" in wanted else None,
    )


def _reduces(params: Params) -> bool:
    """Tell whether an order closes by its parameters: the flags, or a closing side in hedge mode."""
    flags = (params.values.get("reduceOnly", ""), params.values.get("closePosition", ""))
    hedge = (params.values.get("positionSide"), params.values.get("side"))
    return "true" in {flag.lower() for flag in flags} or hedge in {("LONG", "SELL"), ("SHORT", "BUY")}


def _preset(wanted: Mapping[str, object]) -> Preset | None:
    name = wanted.get("preset")
    if name is None:
        return None
    if name not in PRESETS:
        raise FaultError(f"preset must be one of {', '.join(sorted(PRESETS))}")
    return PRESETS[str(name)]


def _mapping(wanted: Mapping[str, object], name: str) -> Mapping[object, object]:
    value = wanted.get(name) or {}
    if not isinstance(value, Mapping):
        raise FaultError(f"{name} must be an object")
    return value


def _number(wanted: Mapping[str, object], name: str, default: float) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise FaultError(f"{name} must be a number that is not negative")
    return value
