"""Injected faults: rules that change how chosen requests are answered, for tests of clients."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from paper_exchange.errors import STATUS, TEXTS
from paper_exchange.http.holding import reduces
from paper_exchange.http.params import Params
from paper_exchange.http.presets import PRESETS, Preset

REFUSE_REDUCING: Final = "refuse_reducing"
# As the path of a rule: everything of the Algo Service, which places, cancels, shows and lists conditional orders.
ALGO_SERVICE: Final = "algo-service"
ALGO_PATHS: Final = frozenset(
    {"/fapi/v1/algoOrder", "/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders", "/fapi/v1/algoOpenOrders"}
)
ACTIONS: Final = frozenset(
    {"delay", "drop_before", "drop_after", "reply", "refuse", REFUSE_REDUCING, "hide", "hang", "late"}
)
# Codes for a reducing order that finds nothing left to reduce, or less than the smallest order.
HELD_CODES: Final = (-4118, -2022, -4164)
# A ban without an end.
_FAR: Final = 4_102_444_800_000
_BANNED: Final = frozenset({418, 429})


# Decides whether resting orders hold the quantity of the order that a request asks for.
Held = Callable[[str | None, Params], bool]


class FaultError(ValueError):
    """A fault rule that cannot be understood."""


@dataclass(slots=True, kw_only=True, eq=False)
class Fault:
    """One rule. `left` is how often it still applies, None for ever."""

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
    # For "hide": the one order, by any of its ids, that reads do not see; None hides all.
    order: str | None = None
    spares_reducing: bool = False
    # Moment of time.monotonic() at which the rule ends by itself.
    ends: float | None = None
    hits: int = 0
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    def fits(self, method: str, path: str, key: str | None, params: Params, held: Held) -> bool:
        if self.is_over() or (self.action == REFUSE_REDUCING and not held(key, params)):
            return False
        if self.left == 0 or self.method not in {None, method} or self.key not in {None, key}:
            return False
        if self.spares_reducing and reduces(params):
            return False
        return self._is_of(path) and all(params.values.get(name) == value for name, value in self.match.items())

    def _is_of(self, path: str) -> bool:
        if self.path == ALGO_SERVICE:
            return path in ALGO_PATHS
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path

    def is_over(self) -> bool:
        return self.ends is not None and time.monotonic() >= self.ends

    async def hold(self) -> None:
        """Wait until the rule's time, or the rule itself, is over."""
        limits = [self.ms / 1000] if self.ms else []
        limits += [] if self.ends is None else [max(0.0, self.ends - time.monotonic())]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.removed.wait(), min(limits, default=None))

    def seconds_left(self) -> int | None:
        """Whole seconds until the rule ends by itself. None for one without an end."""
        return None if self.ends is None else max(1, math.ceil(self.ends - time.monotonic()))

    def scripted(self, now_ms: int) -> tuple[object, dict[str, str]]:
        """Return body and headers of a reply. A limit reports how long it lasts."""
        left, headers, body = self.seconds_left(), dict(self.headers), self.body
        if left is not None and self.status in _BANNED:
            headers.setdefault("Retry-After", str(left))
        if isinstance(body, dict) and "{until}" in str(body.get("msg")):
            until = _FAR if left is None else now_ms + left * 1000
            body = {**body, "msg": str(body["msg"]).replace("{until}", str(until))}
        return body, headers

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
            "order": self.order,
        }


class Faults:
    """The rules in force, oldest first. The first that fits a request is used."""

    def __init__(self, seed: int, held: Held) -> None:
        self._held = held
        self.rules: list[Fault] = []
        # Grows with each reset: what was held back before it is not executed after it.
        self.era = 0
        self._random = Random(f"faults/{seed}")  # noqa: S311 - chance, not secrets
        self._ids = count(1)

    def add(self, wanted: Mapping[str, object]) -> Fault:
        fault = _read(wanted, f"fault-{next(self._ids)}")
        self.rules = [rule for rule in self.rules if rule.id != fault.id]
        self.rules.append(fault)
        return fault

    def remove(self, fault_id: str | None = None) -> int:
        """Remove one rule or all, and return how many there were."""
        gone = [rule for rule in self.rules if fault_id in {None, rule.id}]
        self.rules = [rule for rule in self.rules if rule not in gone]
        for rule in gone:
            rule.removed.set()
        return len(gone)

    def reset(self) -> None:
        self.era += 1
        self.remove()

    def pick(self, method: str, path: str, key: str | None, params: Params) -> Fault | None:
        """Return the rule for a request and count its use."""
        for rule in self.rules:
            if rule.fits(method, path, key, params, self._held) and self._random.random() < rule.probability:
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                return rule
        return None


def _read(wanted: Mapping[str, object], fault_id: str) -> Fault:
    action, path = wanted.get("action"), wanted.get("path")
    if action not in ACTIONS:
        raise FaultError(f"action must be one of {', '.join(sorted(ACTIONS))}")
    if not isinstance(path, str) or not (path == ALGO_SERVICE or path.startswith(("/", "*"))):
        raise FaultError(f"path must be a path, the start of one followed by *, or {ALGO_SERVICE}")
    # A rule with an end applies to all requests until then.
    times = wanted.get("count", None if "for_ms" in wanted else 1)
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise FaultError("count must be a positive integer, or null for ever")
    method, key, order = wanted.get("method"), wanted.get("key"), wanted.get("order")
    preset = _refusal(wanted) if action in {"refuse", REFUSE_REDUCING} else _preset(wanted)
    return Fault(
        id=str(wanted.get("id") or fault_id),
        path=path,
        action=str(action),
        method=str(method).upper() if method else None,
        key=str(key) if key else None,
        match={str(name): str(value) for name, value in _mapping(wanted, "match").items()},
        left=times,
        probability=number(wanted, "probability", 1.0),
        ms=int(number(wanted, "ms", 0)),
        status=int(number(wanted, "status", preset.status if preset else 503)),
        body=wanted.get("body", preset.body if preset else None),
        headers={str(name): str(value) for name, value in _mapping(wanted, "headers").items()},
        execute=bool(wanted.get("execute", False)),
        order=None if order is None else str(order),
        spares_reducing=bool(preset and preset.spares_reducing),
        ends=time.monotonic() + number(wanted, "for_ms", 0) / 1000 if "for_ms" in wanted else None,
    )


def _preset(wanted: Mapping[str, object]) -> Preset | None:
    name = wanted.get("preset")
    if name is None:
        return None
    if name not in PRESETS:
        raise FaultError(f"preset must be one of {', '.join(sorted(PRESETS))}")
    return PRESETS[str(name)]


def _refusal(wanted: Mapping[str, object]) -> Preset:
    """Answer of a refusal by its code alone, with the exchange's own text unless one is given."""
    code = wanted.get("code", HELD_CODES[0] if wanted.get("action") == REFUSE_REDUCING else None)
    if wanted.get("action") == REFUSE_REDUCING and code not in HELD_CODES:
        raise FaultError(f"code must be one of {', '.join(map(str, HELD_CODES))}")
    if isinstance(code, bool) or not isinstance(code, int) or code >= 0:
        raise FaultError("code must be a negative integer")
    text = str(wanted.get("msg", TEXTS.get(code, "Refused."))).format_map(_Names())
    return Preset(STATUS.get(code, 400), {"code": code, "msg": text})


class _Names(dict[str, str]):
    """Placeholders without a value stand for themselves."""

    def __missing__(self, name: str) -> str:
        return name


def _mapping(wanted: Mapping[str, object], name: str) -> Mapping[object, object]:
    value = wanted.get(name) or {}
    if not isinstance(value, Mapping):
        raise FaultError(f"{name} must be an object")
    return value


def number(wanted: Mapping[str, object], name: str, default: float) -> float:
    """Return a number of a rule that must not be negative."""
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise FaultError(f"{name} must be a number that is not negative")
    return value
