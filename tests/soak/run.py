"""Hours of market time in one process: the walk, the decisions, the monitor's cycles, and what is held against it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from django.db import connection

from execution.models import ExecutionRequest, Trade
from tests.chaos.timeline import Unprotected, flips, longest_unprotected
from tests.soak.market import STEP_SECONDS, Market
from tests.soak.report import Figure
from tests.soak.traders import Traders
from tests.support.desk import Desk
from tests.support.oracle import all_requests_are_final, broken_invariant, violations_counted, violations_told
from tests.support.stop_plans import booked_stops

SYMBOLS = 20
CYCLE_SECONDS = 10
# Nobody listens to the stream here: an entry that the price fills waits for the next cycle, and for its repairs.
UNPROTECTED_SECONDS = 12.0
CHECK_SECONDS = 600
SETTLE_CYCLES = 12
# Below this, the soak has not looked at much.
TRADES_A_MINUTE = 1


@dataclass(kw_only=True)
class Soak:
    """One run; the same seed sends the same prices and wishes."""

    desk: Desk
    minutes: float
    seed: int
    say: Callable[[str], None]
    cycle_seconds: list[float] = field(default_factory=list)
    failed_repairs: int = 0
    broken: list[str] = field(default_factory=list)
    checks: int = 0

    def __post_init__(self) -> None:
        # Our clock is the desk's: it goes as fast as the exchange's.
        self.desk.server_clock._wall = lambda: self.desk.clock().timestamp()
        random = Random(f"soak/{self.seed}")  # noqa: S311 -- chance, not secrets
        listed = [row["symbol"] for row in self.desk.person.exchange_info()["symbols"]]
        self.market = Market.of(self.desk, listed[:SYMBOLS], random)
        self.traders = Traders(desk=self.desk, market=self.market, random=random)

    def run(self) -> list[Figure]:
        """Trade for as long as asked, end everything, and tell the figures."""
        while self.market.passed_seconds < self.minutes * 60:
            self.market.step()
            if self.market.passed_seconds % CYCLE_SECONDS < STEP_SECONDS:
                self.traders.act()
                self._watch()
            if self.market.passed_seconds % CHECK_SECONDS < STEP_SECONDS:
                self._check()
        self._end_everything()
        return self._figures()

    def _watch(self) -> None:
        began = time.perf_counter()
        self.failed_repairs += self.desk.cycle().failed
        self.cycle_seconds.append(time.perf_counter() - began)
        self.desk.relay()

    def _check(self) -> None:
        """Let the prices stand still until what is under way has settled, then hold the books against the exchange."""
        self._settle(lambda: self._invariants() == "")
        self.checks += 1
        if broken := self._invariants():
            self.broken.append(f"{self.market.passed_seconds // 60} min: {broken}")
        trades = Counter(Trade.objects.values_list("state", flat=True))
        self.say(f"{self.market.passed_seconds / 60:.0f} of {self.minutes:g} min: {dict(trades)} {broken}")

    def _settle(self, is_settled: Callable[[], bool]) -> None:
        for _ in range(SETTLE_CYCLES):
            if is_settled():
                return
            self.market.let_pass(CYCLE_SECONDS)
            self._watch()

    def _invariants(self) -> str:
        with connection.cursor() as cursor:
            return broken_invariant(cursor, self.desk.ledger)

    def _end_everything(self) -> None:
        """End the entries that rest and close every position, as a person would."""
        ledger = self.desk.ledger
        for order in ledger.entries:
            if order["status"] in {"NEW", "PARTIALLY_FILLED"}:
                self.desk.paper.control("POST", "orders/end", {"order": order["clientOrderId"]})
        for symbol in ledger.positions:
            # Reduce-only, as a person's close is: what is left may be below the least notional of an opening order.
            body = {"symbol": symbol, "amount": "0", "reduce_only": True}
            self.desk.paper.control("POST", "position", body)
        self._settle(self._is_over)
        self._check()

    def _is_over(self) -> bool:
        with connection.cursor() as cursor:
            final = all_requests_are_final(cursor)
        return final and not Trade.objects.exclude(state="CLOSED").exists() and not self.desk.ledger.live()

    def _longest_unprotected(self) -> Unprotected:
        """Return the longest time that a position had no stop at a price that its plan has named."""
        with connection.cursor() as cursor:
            plans = {stop.entry: stop.plan(past=True) for stop in booked_stops(cursor)}
        now_ms = int(self.desk.paper.control("GET", "status")["now_ms"])
        return longest_unprotected(self.desk.ledger, plans, now_ms=now_ms)

    def _figures(self) -> list[Figure]:
        ledger = self.desk.ledger
        closed = list(Trade.objects.filter(state="CLOSED").values_list("net_pnl", "close_reason"))
        net = sum((pnl for pnl, _ in closed if pnl is not None), Decimal(0))
        earned = Decimal(ledger.summary["wallet"]) - Decimal(ledger.summary["deposits"])
        turned = flips(ledger)
        worst = self._longest_unprotected()
        unfinished = Trade.objects.exclude(state="CLOSED").count()
        least = int(self.minutes * TRADES_A_MINUTE)
        reasons = Counter(reason for _, reason in closed)
        requests = ExecutionRequest.objects.values_list("state", "reason_code")
        states = Counter(" ".join(filter(None, row)) for row in requests)
        return [
            Figure(name="trades closed", got=str(len(closed)), aim=f">= {least}", ok=len(closed) >= least),
            Figure(name="trades by their end", got=told(reasons)),
            Figure(name="decisions by their end", got=told(states)),
            Figure(name="by others", got=told(self.traders.done)),
            Figure(name="net of all books, USDT", got=f"{net:f}", aim=f"= {earned:f} of the wallet", ok=net == earned),
            Figure(
                name="longest without its stop, s",
                got=f"{worst.seconds:.3f}",
                aim=f"<= {UNPROTECTED_SECONDS:g}",
                ok=worst.seconds <= UNPROTECTED_SECONDS,
            ),
            Figure(name="orders that wait at the end", got=str(len(ledger.live())), aim="= 0", ok=not ledger.live()),
            Figure(name="trades open at the end", got=str(unfinished), aim="= 0", ok=not unfinished),
            Figure(name="fills that turned a position", got=str(len(turned)), aim="= 0", ok=not turned),
            Figure(
                name=f"invariants broken in {self.checks} checks",
                got="; ".join(self.broken) or "0",
                aim="= 0",
                ok=not self.broken,
            ),
            oracle_figure(),
            Figure(name="repairs that failed", got=str(self.failed_repairs), aim="= 0", ok=not self.failed_repairs),
            Figure(name="cycles; slowest, ms", got=f"{len(self.cycle_seconds)}; {max(self.cycle_seconds) * 1000:.0f}"),
        ]


def oracle_figure() -> Figure:
    """Return what the service's own oracle has counted: read as rows, by nobody's rule but its own."""
    with connection.cursor() as cursor:
        counted, sentences = violations_counted(cursor), violations_told(cursor)
    got = "; ".join([told(counted), *sentences])
    return Figure(name="violations by the service's oracle", got=got, aim="none", ok=not counted)


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items())) or "none"
