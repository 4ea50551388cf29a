"""Trigger rules: let conditional orders hang, end without an order, or rest when triggered."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from paper_exchange.core.orders import AlgoOrder

# STICK hangs in TRIGGERING, IGNORE stays NEW, REST becomes an ordinary order that nothing fills; the others end it.
ACTIONS: Final = frozenset({"STICK", "IGNORE", "EXPIRE", "REJECT", "FINISH", "REST"})
HOLDING: Final = frozenset({"STICK", "IGNORE", "REST"})
# What becomes of a held order when it is let go; TRIGGER is what a trigger usually does.
RELEASES: Final = frozenset({"TRIGGER", "EXPIRE", "REJECT", "FINISH"})
# Codes that may answer the cancellation of an order that hangs.
CANCEL_CODES: Final = frozenset({-2011, -4117})


@dataclass(slots=True, kw_only=True)
class TriggerRule:
    """One rule. `left`: how many triggers it still applies to, None for ever. `for_ms`: how long it holds."""

    id: str
    action: str
    symbol: str | None = None
    key: str | None = None
    # Client id or algo id of the one order that is meant.
    order: str | None = None
    left: int | None = 1
    for_ms: int | None = None
    release: str = "TRIGGER"
    reason: str = "margin not enough"
    cancel_code: int = -2011
    hits: int = 0

    def fits(self, algo: AlgoOrder) -> bool:
        return (
            self.left != 0
            and self.symbol in {None, algo.symbol.name}
            and self.key in {None, algo.account.key}
            and self.order in {None, algo.client_id, str(algo.algo_id)}
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Hold:
    """A conditional order that a rule holds.

    `until` is when it is let go by itself (ms), None for never.
    """

    algo: AlgoOrder
    rule: TriggerRule
    until: int | None


@dataclass(slots=True, eq=False)
class Triggers:
    """The rules, oldest first, and the orders that they hold."""

    rules: list[TriggerRule] = field(default_factory=list)
    held: list[Hold] = field(default_factory=list)

    def add(self, rule: TriggerRule) -> None:
        self.rules = [known for known in self.rules if known.id != rule.id]
        self.rules.append(rule)

    def remove(self) -> int:
        """Remove all rules and return how many there were. What they hold stays held."""
        before, self.rules = len(self.rules), []
        return before

    def pick(self, algo: AlgoOrder) -> TriggerRule | None:
        """Return the rule for a trigger and count its use."""
        for rule in self.rules:
            if rule.fits(algo):
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                return rule
        return None

    def hold(self, algo: AlgoOrder, rule: TriggerRule, now: int) -> None:
        self.held.append(Hold(algo=algo, rule=rule, until=None if rule.for_ms is None else now + rule.for_ms))

    def rule_of(self, algo: AlgoOrder) -> TriggerRule | None:
        """Return the rule that holds an order now."""
        return next((hold.rule for hold in self.held if hold.algo is algo), None)

    @property
    def next_due(self) -> int | None:
        """Time at which the next held order is let go by itself (ms). None when none is."""
        return min((hold.until for hold in self.held if hold.until is not None), default=None)

    def is_due(self, now: int) -> bool:
        return any(hold.until is not None and hold.until <= now for hold in self.held)

    def due(self, now: int) -> Iterable[Hold]:
        """Take out the orders whose time is over."""
        return self._take([hold for hold in self.held if hold.until is not None and hold.until <= now])

    def let_go(self, order: str | None) -> Iterable[Hold]:
        """Take out the held orders with that client id or algo id, or all."""
        return self._take([h for h in self.held if order in {None, h.algo.client_id, str(h.algo.algo_id)}])

    def forget(self, algo: AlgoOrder) -> None:
        """Hold an order no longer that ends, with its contract for example."""
        self.held = [hold for hold in self.held if hold.algo is not algo]

    def _take(self, holds: list[Hold]) -> Iterable[Hold]:
        self.held = [hold for hold in self.held if hold not in holds]
        return holds
