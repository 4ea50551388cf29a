"""One row at one number of workers: what its story can do, and the judgement afterwards."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from tests.chaos import invariants, timeline
from tests.chaos.bounds import USUAL_SECONDS
from tests.chaos.evidence import Evidence
from tests.chaos.world import World
from tests.support import oracle
from tests.support.decisions import decision
from tests.support.ledger import ORDER, Ledger
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn
from tests.support.stack import CeleryStack, children_of, state_of
from tests.support.stop_plans import booked_stops
from tests.support.waiting import eventually

Value = TypeVar("Value")
EVERY_SECONDS = 0.1
HEALTHY_WITHIN_SECONDS = 8.0
LONG, SHORT = "long", "short"
# As a decision names the sides of its entry.
ENTRY_SIDES = {LONG: "buy", SHORT: "sell"}
SIGNS = {"buy": 1, "sell": -1}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a row allows: time until every decision has its outcome, and orders that stay UNKNOWN.

    For how long a position may be without its stop is in `tests.chaos.bounds`.
    """

    settle_seconds: float = 25.0
    may_stay_unknown: bool = False


@dataclass
class Cell(Evidence):
    """What a story works with; `side` is that of its trades, long or short, unless the story names another."""

    world: World
    bounds: Bounds
    random: Random
    side: str = LONG
    unprotected_seconds: float = USUAL_SECONDS
    decisions: list[str] = field(default_factory=list)
    # Symbols that a person trades by hand in this story: their positions are not ours to protect.
    foreign: set[str] = field(default_factory=set)
    # Reasons with which health rightly goes on after this story.
    told_by_health: list[str] = field(default_factory=list)
    # Violations that the service's own oracle rightly counts in this story, by kind.
    expected_violations: set[str] = field(default_factory=set)
    # Events that were on the bus when a cell made Redis lose it.
    lost_events: set[str] = field(default_factory=set)
    # The stops that decisions were published with, None without one, by the identity of the decision in the books.
    asked_stops: dict[str, Decimal | None] = field(default_factory=dict)
    # 1 for symbols in which this story goes long, -1 for those in which it goes short.
    signs: dict[str, int] = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """Return 1 when this cell trades long, -1 when it trades short."""
        return SIGNS[ENTRY_SIDES[self.side]]

    @property
    def entry_side(self) -> str:
        """Return the side of this cell's entries, as a decision names it."""
        return ENTRY_SIDES[self.side]

    @property
    def stack(self) -> CeleryStack:
        return self.world.stack

    @property
    def paper(self) -> PaperExchange:
        return self.world.paper

    @property
    def risk(self) -> RiskSafetyStandIn:
        return self.world.stack.risk

    @property
    def symbols(self) -> Sequence[str]:
        return self.world.symbols

    @property
    def ledger(self) -> Ledger:
        return Ledger.of(self.paper)

    # Decisions

    def decision(self, symbol: str, **fields: Any) -> dict[str, Any]:
        """Return a decision of 100 USD on this cell's side."""
        usual: dict[str, Any] = {"side": self.entry_side, "position_size_usd": 100.0}
        return decision(symbol, **(usual | fields))

    def decide(self, count: int, *, first: int = 0, **fields: Any) -> list[str]:
        """Publish decisions of 100 USD on this cell's side, each for a symbol of its own; return the symbols."""
        chosen = list(self.symbols)[first : first + count]
        self.publish([self.decision(symbol, **fields) for symbol in chosen])
        return chosen

    def publish(self, payloads: Sequence[dict[str, Any]]) -> None:
        """Put decisions on the bus, and remember that each needs an outcome."""
        self.decisions += [payload["event_id"] for payload in payloads]
        for payload in payloads:
            self._remember(payload)
        self.stack.publish(payloads)

    def publish_one(self, payload: dict[str, Any]) -> None:
        """Publish one decision; it counts only when the bus has taken it."""
        self._remember(payload)
        self.stack.publish([payload])
        self.decisions.append(payload["event_id"])

    def _remember(self, payload: dict[str, Any]) -> None:
        """Keep what the judge asks for later: the books may have it wrong."""
        stop = payload["stop_loss"]
        self.asked_stops[f"event:{payload['event_id']}"] = None if stop is None else Decimal(str(stop))
        self.signs[payload["symbol"]] = SIGNS.get(payload["side"], self.sign)

    def opened(self, count: int = 1, *, first: int = 0, **fields: Any) -> list[str]:
        """Publish decisions and wait until their trades are open and covered; the arrangement of many stories."""
        known = self.outcomes()["RECORDED"]
        symbols = self.decide(count, first=first, **fields)
        self.wait(lambda: self.outcomes()["RECORDED"] >= known + count, "the trades are open")
        self.wait(lambda: self._rest(symbols), "stops and targets rest")
        return symbols

    def _rest(self, symbols: Sequence[str]) -> bool:
        ledger = self.ledger
        return all(ledger.live("STOP_MARKET", name) and ledger.live("TAKE_PROFIT_MARKET", name) for name in symbols)

    # Looking

    def wait(self, probe: Callable[[], Value], what: str, *, within: float = 20.0) -> Value:
        return eventually(probe, within=within, what=what, every=EVERY_SECONDS)

    def outcomes(self) -> Counter[str]:
        """Return the number of requests by state."""
        return Counter(self.stack.states())

    def reasons(self) -> Counter[str]:
        """Return the number of requests by reason code."""
        rows = self.rows("SELECT reason_code FROM execution_executionrequest WHERE reason_code <> ''")
        return Counter(row[0] for row in rows)

    def state_of(self, symbol: str) -> str:
        """Return where the newest request for a symbol stands."""
        query = "SELECT state FROM execution_executionrequest WHERE symbol = %s ORDER BY received_at DESC LIMIT 1"
        return str(self.rows(query, symbol)[0][0])

    def closed(self) -> dict[str, str]:
        """Return the close reasons of closed trades by symbol."""
        return dict(self.rows("SELECT symbol, close_reason FROM execution_trade WHERE state = 'CLOSED'"))

    def entries(self) -> Counter[str]:
        """Return our entries at the exchange by symbol."""
        ours = [order for order in self.ledger.entries if order["clientOrderId"].startswith("es1-")]
        return Counter(order["symbol"] for order in ours)

    def entries_sent(self) -> int:
        """Return how many requests for an entry reached the exchange, answered or not."""
        return len(self.ledger.entries_sent)

    def sent(self, method: str, path: str) -> int:
        """Return how many requests of a kind reached the exchange, answered or not."""
        return len(self.ledger.sent(method, path))

    def price(self, symbol: str) -> Decimal:
        """Return the mark price."""
        return Decimal(self.world.mark_price(symbol))

    def move_price(self, symbol: str, *, fraction: float) -> Decimal:
        """Move last and mark price by a fraction in favour of what this story trades in the symbol, and keep it there.

        A negative fraction moves the price against it: down for a long position, up for a short one.
        """
        return self.shift_price(symbol, fraction=fraction * self.signs.get(symbol, self.sign))

    def shift_price(self, symbol: str, *, fraction: float) -> Decimal:
        """Move last and mark price at once, up by a positive fraction whatever is held, and keep it there."""
        price = self._on_tick(symbol, fraction)
        self.paper.set_price(symbol, format(price, "f"))
        self.world.prices_moved = True
        return price

    def price_away(self, symbol: str, *, fraction: float) -> Decimal:
        """Return the price that lies a fraction away in favour of this cell's side; a negative one is a better entry.

        It is on the symbol's tick.
        """
        return self._on_tick(symbol, fraction * self.sign)

    def _on_tick(self, symbol: str, fraction: float) -> Decimal:
        tick = Decimal(self._filters(symbol)["PRICE_FILTER"]["tickSize"])
        wanted = self.price(symbol) * (1 + Decimal(str(fraction)))
        return (wanted / tick).to_integral_value() * tick

    def base_quantity(self, symbol: str, *, usd: int = 100) -> str:
        """Return a quantity of the base asset, on the symbol's step, as REST wants it."""
        step = Decimal(self._filters(symbol)["MARKET_LOT_SIZE"]["stepSize"])
        return format((Decimal(usd) / self.price(symbol) / step).to_integral_value() * step, "f")

    def _filters(self, symbol: str) -> dict[str, dict[str, Any]]:
        return self.world.terms[symbol]

    def repeats(self) -> int:
        """Return how many events came to the reader more than once."""
        return sum(number > 1 for number in self.world.reader.snapshot()[1].values())

    def stopped_processes(self) -> list[int]:
        """Return our processes that a signal has stopped."""
        mains = [process.pid for process in self.stack.processes.values()]
        everybody = [*mains, *(child for main in mains for child in children_of(main))]
        return [pid for pid in everybody if state_of(pid) == "T"]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.stack.rows(query, *parameters)

    # The judgement

    def settle(self) -> None:
        """Wait until every decision has its outcome and every event is with the reader."""
        self.wait(self._is_settled, "everything has settled", within=self.bounds.settle_seconds)

    def judge(self) -> None:
        """Check every invariant; cover and books may need the monitor's next cycles."""
        self.has_struck()
        self.settle()
        self.has_traded()
        self.wait(self._holds, "the invariants hold", within=self.bounds.settle_seconds)
        self.wait(self.is_healthy, "I12: health says OK", within=HEALTHY_WITHIN_SECONDS)
        ledger, worst = self.ledger, self._longest_unprotected()
        limit = self.unprotected_seconds
        assert worst.seconds <= limit, f"I4: {worst.seconds:.1f} s without its stop > {limit:g} s: {worst.why}"
        assert not (counted := self.counted_by_oracle()), f"I13: the oracle counted {counted}"
        self._report(ledger, worst.seconds)

    def counted_by_oracle(self) -> str:
        """Return the violations that the service's own oracle has counted, but for those that the story expects."""
        with self.stack.cursor() as cursor:
            counted = oracle.violations_counted(cursor)
        return ", ".join(
            f"{kind} {number}" for kind, number in sorted(counted.items()) if kind not in self.expected_violations
        )

    def _longest_unprotected(self) -> timeline.Unprotected:
        with self.stack.cursor() as cursor:
            stops, ticks = booked_stops(cursor), self._ticks()
        plans = {stop.entry: replace(stop.plan(past=True), tick=ticks[stop.symbol]) for stop in stops}
        ignored = frozenset(self.foreign)
        return timeline.longest_unprotected(self.ledger, plans, now_ms=self.exchange_ms(), ignored=ignored)

    def _is_settled(self) -> bool:
        with self.stack.cursor() as cursor:
            self._have_outcomes(cursor)
            invariants.events_reached_the_reader(cursor, self.world.reader, lost=frozenset(self.lost_events))
        return True

    def _holds(self) -> bool:
        ledger = self.ledger
        with self.stack.cursor() as cursor:
            oracle.assert_invariants(cursor, ledger, foreign=self.foreign)
            self._have_outcomes(cursor)
            invariants.plans_are_the_decisions(cursor, ledger, published=self.asked_stops, ticks=self._ticks())
            invariants.one_executed_entry_a_decision(ledger)
            invariants.positions_never_flip(ledger)
            invariants.stories_are_walks(cursor)
            invariants.events_reached_the_reader(cursor, self.world.reader, lost=frozenset(self.lost_events))
            invariants.fills_are_the_exchanges(cursor, ledger, foreign=frozenset(self.foreign))
            invariants.profit_is_the_sum_of_fills(cursor)
            invariants.orders_keep_the_exchanges_limits(ledger)
            invariants.nothing_holds_the_secret(cursor, self.stack.redis, self.world.folder)
        return True

    def _have_outcomes(self, cursor: Any) -> None:
        invariants.decisions_have_outcomes(cursor, self.decisions, may_stay_unknown=self.bounds.may_stay_unknown)

    def is_healthy(self) -> bool:
        """Whether health says OK, but for what the story has left behind; an AssertionError with the reasons if not."""
        health = self.world.health()
        # That entries beside a foreign position are held is the truth about it, not a fault.
        known = [*self.told_by_health, *(f"entries: {symbol} held: POSITION_NOT_OURS" for symbol in self.foreign)]
        reasons = [why for why in health.get("reasons") or [] if not any(why.startswith(one) for one in known)]
        assert health["status"] == "OK" or (known and not reasons), f"{health['status']}: {reasons}"
        return True

    def part_is_healthy(self, name: str) -> bool:
        """Whether health calls one of its components healthy."""
        return bool(self.world.health()["components"][name]["healthy"])

    def _ticks(self) -> dict[str, Decimal]:
        """Return the venue's present tick sizes by symbol: a story may have changed one."""
        rows = self.stack.person.exchange_info()["symbols"]
        terms = {row["symbol"]: {term["filterType"]: term for term in row["filters"]} for row in rows}
        return {symbol: Decimal(found["PRICE_FILTER"]["tickSize"]) for symbol, found in terms.items()}

    def sides_traded(self) -> str:
        """Return the sides of the entries that have executed, or where none has, of the decisions: for the table."""
        ours = (order for order in self.ledger.entries if order["clientOrderId"].startswith("es1-e"))
        filled = {order["side"] for order in ours if Decimal(order["executedQty"]) > 0}
        found = {LONG if side == "BUY" else SHORT for side in filled}
        if not found:
            asked = self.rows("SELECT DISTINCT direction FROM execution_executionrequest")
            found = {str(row[0]).lower() for row in asked}
        return "both" if len(found) > 1 else "".join(found)

    def exchange_ms(self) -> int:
        """Return the exchange's time."""
        return int(self.paper.control("GET", "status")["now_ms"])

    def _report(self, ledger: Ledger, unprotected: float) -> None:
        outcomes = ", ".join(f"{number} {state}" for state, number in sorted(self.outcomes().items()))
        sent = len([row for row in ledger.requests if (row["method"], row["path"]) == ("POST", ORDER)])
        repeats = sum(number - 1 for number in self.world.reader.snapshot()[1].values())
        self.saw(f"{outcomes or 'no request'}; {sum(self.entries().values())} entries, {sent} orders sent")
        if repeats:
            self.saw(f"{repeats} events twice")
        if ledger.fills:
            self.saw(f"unprotected <= {unprotected:.2f} s")


def pause(seconds: float) -> None:
    """Let a fault last; nothing can be polled for, because nothing is to happen."""
    time.sleep(seconds)
