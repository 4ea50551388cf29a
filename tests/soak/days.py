"""The long soak: weeks of market time in minutes, with everything that changes in weeks, and the judge beside it.

A market day is a hundred moments: seventy, twenty minutes apart, and a quarter of an hour of half minutes. At each some
prices move, the stream tells, decisions and other people come, and the monitor's cycles run ten seconds apart until all
is quiet. Only quiet time is skipped. The venue's clock, ours and the age of what Redis keeps go together.
"""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from django.db import connection

from execution.domain.money import plain
from tests.soak.accounts import ZERO, audit, sorted_out
from tests.soak.board import Board, Contract, chosen, is_perpetual
from tests.soak.changes import MAX_POSITIONS, MAX_STOP, Change, Changes
from tests.soak.evidence import Evidence
from tests.soak.hands import Hands
from tests.soak.judge import Bounds, Kind, Violation, Watch
from tests.soak.outcomes import judged_outcomes
from tests.soak.report import Figure
from tests.soak.run import oracle_figure
from tests.soak.wishes import DAY, HOUR, Wishes
from tests.soak.world import World, moment
from tests.support.house import House
from tests.support.oracle import FINAL, violations_told

CONTRACTS, FOREIGN = 26, 2
CYCLE_SECONDS, FAR_SECONDS, NEAR_SECONDS, BUSY_SECONDS = 10, 1200, 30, 900
# From a cycle to the protector's next look that counts.
GUARD_SECONDS = 4
# A cycle and what the stop's own placement may take; for the rest two minutes of cycles.
BOUNDS = Bounds(naked_seconds=12.0, cycles=12, ghost_seconds=3.0 * HOUR)
QUIET_CYCLES = BOUNDS.cycles + 2
# Two thirds of the run, so 40 days of 60.
LONGEST_SHARE, NEARLY = 2 / 3, 0.75
MOVES, DECISION_CHANCE, HAND_CHANCE = 9, 0.4, 0.04
DEPOSITS = {"BNB": "5", "USDC": "200000", "BTC": "3", "FDUSD": "100000"}
# Below this a run has not looked at much.
TRADES_A_DAY = 8
SHOWN = 40


@dataclass(kw_only=True)
class DaysSoak:
    """One run; the same seed draws the same prices, wishes and changes."""

    house: House
    days: float
    seed: int
    hedge: bool
    say: Callable[[str], None]
    watch: Watch = field(default_factory=lambda: Watch(bounds=BOUNDS))
    violations: list[Violation] = field(default_factory=list)
    known: set[tuple[str, str, str]] = field(default_factory=set)
    # To each violation, what our log said of its symbol then.
    stories: list[list[str]] = field(default_factory=list)
    oracle_lines: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.world = World(house=self.house, raised=self._raised)
        self.start_ms = 0
        self.evidence = Evidence(desk=self.world.desk, hedge=self.hedge)
        self.board = self._board()
        self.evidence.foreign = frozenset(row.symbol for row in self.board.contracts if row.foreign)
        self.random = self._chance("moments")
        self.wishes = Wishes(
            world=self.world,
            board=self.board,
            random=self._chance("wishes"),
            longest_seconds=self.seconds * LONGEST_SHARE,
        )
        self.hands = Hands(world=self.world, board=self.board, evidence=self.evidence, random=self._chance("hands"))
        self.changes = Changes(
            world=self.world,
            board=self.board,
            wishes=self.wishes,
            hands=self.hands,
            evidence=self.evidence,
            random=self._chance("changes"),
            whole_seconds=self.seconds,
            down=self._down,
            coarse={},
        )
        self.ends: Counter[str] = Counter()

    @property
    def seconds(self) -> float:
        return self.days * DAY

    @property
    def market_ms(self) -> int:
        """Time by what was leapt: how fast this computer is must not make a bound break."""
        return self.start_ms + round(self.world.passed_seconds * 1000)

    def run(self, *, until: float | None = None) -> list[Figure]:
        """Trade for as long as asked, or until a market day is over, end everything, and tell the figures."""
        self._arrange()
        changes, day = self.changes.drawn(), 1
        for at in self._moments():
            while changes and changes[0].at <= at:
                self._change(changes.pop(0))
            self._moment(at)
            if at >= day * DAY:
                self._checkpoint(f"day {day} of {self.days:g}")
                day += 1
            if until is not None and at >= until * DAY:
                break
        self._end_everything()
        self._checkpoint("end")
        figures = self._figures()
        self.world.close()
        return figures

    def _change(self, change: Change) -> None:
        left = change.at - self.world.passed_seconds
        if left > 0:
            self.world.let_pass(left)
        self.hands.attempt(change.name, change.act)

    # Time

    def _moments(self) -> Iterator[float]:
        """Yield the market seconds at which prices move: every twenty minutes, and a busy quarter of an hour a day."""
        at, busy = 0.0, self.random.uniform(0, DAY - BUSY_SECONDS)
        while at < self.seconds:
            in_day = at % DAY
            near = busy <= in_day < busy + BUSY_SECONDS
            at += NEAR_SECONDS if near else FAR_SECONDS
            if at % DAY < in_day:
                busy = self.random.uniform(0, DAY - BUSY_SECONDS)
            yield at

    def _moment(self, at: float) -> None:
        left = at - self.world.passed_seconds
        if left > 0:
            self.world.let_pass(left)
        self._move_prices()
        self.world.hear()
        self._look()
        if self.random.random() < DECISION_CHANCE:
            self._decide()
        if self.random.random() < HAND_CHANCE:
            self.hands.act()
        self._until_quiet()

    def _decide(self) -> None:
        try:
            self.wishes.decide()
        except AssertionError as refused:
            # It was put among the dead letters: no decision of ours is malformed.
            self._tell([self._violation(Kind.LOST_DECISION, "intake", str(refused)[:300])])

    def _move_prices(self) -> None:
        for contract in self.board.moves(MOVES, self.world.passed_seconds):
            if not contract.halted:
                price = format(contract.price, "f")
                self.hands.attempt("prices", lambda s=contract.symbol, p=price: self.world.paper.set_price(s, p))  # type: ignore[misc]

    def _until_quiet(self) -> None:
        """Run cycles until the judge has nothing to wait for, at most for a little longer than its bounds."""
        for _ in range(QUIET_CYCLES):
            self.world.hear()
            self.world.watch()
            self._hear_the_oracle()
            self._look()
            if not self.watch.waits:
                return
            self._until_next_cycle()

    def _until_next_cycle(self) -> None:
        """Let the protector look between two cycles: in the service it does so every two seconds."""
        self.world.let_pass(GUARD_SECONDS)
        self.world.hear()
        self.world.guard()
        self.world.let_pass(CYCLE_SECONDS - GUARD_SECONDS)

    def _down(self, seconds: float) -> None:
        """Stop our processes, let the market go on without them for a while, and start new ones."""
        if seconds:
            self.world.let_pass(seconds)
            self._move_prices()
            # Nobody of ours is there to cover what is filled meanwhile.
            self.watch.forgive()
        self.world.restart()
        self.evidence.desk = self.world.desk

    # The judge

    def _look(self) -> None:
        halted = frozenset(row.symbol for row in self.board.contracts if row.halted)
        steps = {row.symbol: row.step for row in self.board.contracts}
        sample = self.evidence.sample(at_ms=self.market_ms, cycle=self.world.cycles, halted=halted, steps=steps)
        self._tell(self.watch.look(sample))

    def _checkpoint(self, name: str) -> None:
        """Audit the books and the outcomes of the day, tell how far it is, and let old rows go."""
        self.changes.refresh()
        self.world.tidy_up()
        self._tell(self._audited())
        spent = time.monotonic() - self.began
        self.say(
            f"{name}: trades {self._trades()}; {self.wishes.number} decisions, {self.world.cycles} cycles, "
            f"{len(self.violations)} violations, {spent:.0f} s"
        )

    def _hear_the_oracle(self) -> None:
        """Print what the service's own oracle has journaled, with its symbol's story, before retention deletes them."""
        with connection.cursor() as cursor:
            told = [line for line in violations_told(cursor) if line not in self.oracle_lines]
        self.oracle_lines.update(told)
        for line in told:
            self.say(f"  ORACLE {line}")
            for step in self.evidence.story(symbol_of(line)):
                self.say(f"    {step}")

    def _audited(self) -> list[Violation]:
        now_ms = self.market_ms
        self.evidence.read_lines()
        books = self.evidence.books(self._margin_assets())
        money = audit(
            list(self.evidence.lines.values()),
            books,
            began=self.evidence.began,
            wallet=self.evidence.wallet(),
            foreign=self.evidence.foreign,
            at_ms=now_ms,
        )
        sent = self.wishes.unjudged
        known = [row for row in self.evidence.outcomes() if row.id in sent]
        outcomes = judged_outcomes(sent, known, at_ms=now_ms)
        # Those that rest are judged again when they have ended; what has ended may be deleted as too old.
        ended = [row for row in known if row.state in FINAL]
        self.ends.update(f"{row.state} {row.reason_code}".strip() for row in ended)
        self.wishes.unjudged = {row.id for row in known} - {row.id for row in ended}
        unsent = self.evidence.unsent_events()
        late = [self._violation(Kind.UNSENT_EVENT, "outbox", f"{unsent} events wait")] if unsent else []
        return [*money, *outcomes, *late]

    def _tell(self, found: Sequence[Violation]) -> None:
        """Note what is new of it, and say so at once."""
        for violation in found:
            key = (violation.kind.value, violation.symbol, violation.subject)
            if key in self.known:
                continue
            self.known.add(key)
            self.violations.append(violation)
            self.stories.append(self.evidence.story(violation.symbol))
            what = f"{violation.kind}: {violation.symbol} {violation.subject}: {violation.sentence}"
            self.say(f"  RED {self._when(violation)} {what}")

    def _when(self, violation: Violation) -> str:
        passed = (violation.at_ms - self.start_ms) / 1000
        return f"day {int(passed // DAY) + 1} {moment(violation.at_ms)}"

    def _violation(self, kind: Kind, subject: str, sentence: str) -> Violation:
        return Violation(at_ms=self.market_ms, kind=kind, symbol="", subject=subject, sentence=sentence)

    def _raised(self, error: Exception) -> None:
        """Keep an exception of the service: nothing that the venue answers may raise one."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/execution/" in frame.filename] or list(frames)
        place = f"{ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}"
        self._tell([self._violation(Kind.RAISED, f"{type(error).__name__} at {place}", str(error)[:300])])

    # Beginning and end

    def _board(self) -> Board:
        listing = self.evidence.listing()
        names = chosen(listing, CONTRACTS + FOREIGN, self._chance("listing"))
        strangers = [name for name in names if is_perpetual(listing[name])][-FOREIGN:]
        contracts = [
            Contract(row=listing[name], price=self.evidence.price(name), foreign=name in strangers) for name in names
        ]
        return Board(random=self._chance("prices"), contracts=contracts)

    def _chance(self, name: str) -> Random:
        """Return chance of its own for each actor: what one draws does not shift the others'."""
        return Random(f"soak/{self.seed}/{name}")  # noqa: S311 -- chance, not secrets

    def _arrange(self) -> None:
        """Begin at midnight, bring money in every asset, choose the mode, and let the first cycle take the account."""
        self.world.let_pass(DAY - self.world.clock().timestamp() % DAY)
        self.evidence.begin()
        for asset, amount in DEPOSITS.items():
            self.hands.attempt(f"deposit {asset}", lambda a=asset, n=amount: self._deposit(a, n))  # type: ignore[misc]
        if self.hedge:
            self.world.paper.control("POST", "settings", {"dual_side": True})
        self.changes.set_policy(MAX_STOP, "0.5")
        self.changes.set_policy(MAX_POSITIONS, "40")
        for _ in range(2):
            self.world.let_pass(CYCLE_SECONDS)
            self.world.watch()
        self.world.passed_seconds = 0.0
        self.start_ms = self.evidence.now_ms()

    def _deposit(self, asset: str, amount: str) -> None:
        self.world.paper.control("POST", "transfer", {"asset": asset, "amount": amount})

    def _end_everything(self) -> None:
        """End the entries that rest and close every position, as a person would, and let the service find out."""
        self.changes.refresh()
        self.changes.as_before()
        self.hands.leave()
        for order in self.evidence.resting():
            if not order.reduces:
                self.hands.attempt("entries ended", lambda n=order.client_id: self.hands.end(n))  # type: ignore[misc]
        for held in self.evidence.held():
            self.hands.attempt("closed at the end", lambda row=held: self.hands.flatten(row))  # type: ignore[misc]
        for _ in range(QUIET_CYCLES):
            self.world.let_pass(CYCLE_SECONDS)
            self.world.hear()
            self.world.watch()
            self._look()

    # Figures

    def _figures(self) -> list[Figure]:
        trades, last = self.evidence.closed_trades(), self.evidence.sample(at_ms=0, cycle=0, halted=frozenset())
        days = self.world.passed_seconds / DAY
        least = int(days * TRADES_A_DAY)
        held, long = max((row.days for row in trades), default=0.0), min(days, self.days * LONGEST_SHARE) * NEARLY
        kinds = Counter(violation.kind for violation in self.violations)
        left = [*last.held, *last.resting, *last.trades, *last.claims]
        return [
            Figure(name="trades closed", got=str(len(trades)), aim=f">= {least}", ok=len(trades) >= least),
            Figure(name="trades by their end", got=told(Counter(row.reason for row in trades))),
            Figure(name="longest held, days", got=f"{held:.2f}", aim=f">= {long:.2f}", ok=held >= long),
            Figure(name="decisions by their end", got=told(self.ends)),
            *(zero(kind.value, kinds[kind]) for kind in Kind),
            oracle_figure(),
            *self._money(),
            zero("positions, orders, trades and claims left", len(left)),
            Figure(
                name="longest without cover, s",
                got=f"{self.watch.worst_naked_seconds:.3f}",
                aim=f"<= {BOUNDS.naked_seconds:g}",
                ok=self.watch.worst_naked_seconds <= BOUNDS.naked_seconds,
            ),
            Figure(name="left", got=told_of(left)),
            Figure(name="changes", got=told(self.hands.done)),
            Figure(name="repairs", got=told(self.world.counts)),
            Figure(name="repairs that failed", got=str(self.world.failed_repairs)),
            Figure(name="cycles; slowest, ms", got=f"{self.world.cycles}; {self.world.slowest_cycle * 1000:.0f}"),
        ]

    def _money(self) -> Iterator[Figure]:
        """Yield for each asset what books, others and owner add up to, beside the wallet."""
        books, wallet = self.evidence.books(self._margin_assets()), self.evidence.wallet()
        found = sorted_out(self.evidence.lines.values(), books, self.evidence.foreign)
        for asset in sorted({*wallet, *self.evidence.began}):
            net, began = books.sums().get(asset, ZERO), self.evidence.began.get(asset, ZERO)
            others, owner = found.others.get(asset, ZERO), found.owner.get(asset, ZERO)
            total, there = began + net + others + owner, wallet.get(asset, ZERO)
            parts = {"net of all trades": net, "of others": others, "brought": owner + began}
            got = f"{', '.join(f'{plain(part)} {name}' for name, part in parts.items())} = {plain(total)}"
            yield Figure(name=f"wallet, {asset}", got=got, aim=f"= {plain(there)}", ok=total == there)

    def _margin_assets(self) -> Mapping[str, str]:
        return {row.symbol: row.margin_asset for row in self.board.contracts}

    def _trades(self) -> str:
        return told(self.evidence.trade_states())

    def report(self) -> dict[str, Any]:
        """Return every violation for the JSON report, with its market day."""
        found = zip(self.violations, self.stories, strict=True)
        rows = [{**asdict(violation), "day": self._when(violation), "story": story} for violation, story in found]
        return {
            "days": self.days,
            "hedge": self.hedge,
            "contracts": [row.symbol for row in self.board.contracts],
            "violations": rows,
        }


def symbol_of(line: str) -> str:
    """Return the symbol of a line of the oracle: date, time, symbol, position side, kind, numbers."""
    return line.split()[2]


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items())) or "none"


def told_of(left: Sequence[object]) -> str:
    return (
        "; ".join(str(row) for row in left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "") or "nothing"
    )


def zero(name: str, number: int) -> Figure:
    return Figure(name=name, got=str(number), aim="= 0", ok=not number)
