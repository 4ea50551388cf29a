"""Fill rules: prescribe which share of an order executes, in how many parts, and how far apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from typing import Final

from paper_exchange.core.money import floor_to
from paper_exchange.core.orders import POST_ONLY, Order

# What becomes of the quantity that a rule leaves over; NORMAL follows the order's time in force.
RESTS: Final = frozenset({"NORMAL", "EXPIRED", "CANCELED"})


@dataclass(slots=True, kw_only=True)
class FillRule:
    """One rule. `left` is the number of orders it still applies to, None for ever."""

    id: str
    symbol: str | None = None
    key: str | None = None
    client_id: str | None = None
    fraction: Decimal = Decimal(1)
    parts: int = 1
    every_ms: int = 0
    rest: str = "NORMAL"
    left: int | None = 1
    hits: int = 0

    def fits(self, order: Order) -> bool:
        return (
            self.left != 0
            and self.symbol in {None, order.symbol.name}
            and self.key in {None, order.account.key}
            and self.client_id in {None, order.client_id}
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Plan:
    """How one order is to be filled: the executed quantities at which its parts end, the next one last."""

    order: Order
    rule: FillRule
    targets: list[Decimal]


class FillRules:
    def __init__(self) -> None:
        self.rules: list[FillRule] = []
        self._waiting: list[tuple[int, int, Plan]] = []
        self._numbers = 0

    def add(self, rule: FillRule) -> None:
        self.rules = [known for known in self.rules if known.id != rule.id]
        self.rules.append(rule)

    def remove(self) -> int:
        """Remove all rules and return how many there were. Orders that are being filled by one go on."""
        before, self.rules = len(self.rules), []
        return before

    def plan(self, order: Order) -> Plan | None:
        """Return how a new order shall be filled, if a rule fits. All-or-nothing orders are left alone."""
        if order.time_in_force == "FOK" or order.time_in_force in POST_ONLY:
            return None
        for rule in self.rules:
            if rule.fits(order):
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                return Plan(order=order, rule=rule, targets=_targets(order, rule))
        return None

    def wait(self, plan: Plan, now: int) -> None:
        """Let the next part of a plan come later."""
        self._numbers += 1
        heappush(self._waiting, (now + plan.rule.every_ms, self._numbers, plan))

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def next_due(self) -> int | None:
        """Time of the next part (ms). None when nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def is_due(self, now: int) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= now

    def due(self, now: int) -> Iterable[Plan]:
        while self.is_due(now):
            yield heappop(self._waiting)[2]


def _targets(order: Order, rule: FillRule) -> list[Decimal]:
    step = order.symbol.step
    total = floor_to(order.quantity * rule.fraction, step)
    ends = (floor_to(total * part / rule.parts, step) for part in range(1, rule.parts + 1))
    return sorted({end for end in ends if end}, reverse=True)
