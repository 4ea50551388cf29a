"""Plays sequences side by side, each on a contract of its own, under one clock and one monitor."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from execution.domain.ports import ExchangeUnavailableError
from tests.chaos.timeline import flips
from tests.sequences.contract import Contract
from tests.sequences.judge import leftovers, not_over, unexplained, unprotected
from tests.sequences.story import Story
from tests.support.desk import Desk, ShiftedClock
from tests.support.house import House
from tests.support.ledger import Ledger

STEPS = 7
# What stands between two acts: seconds, minutes, nearly a funding interval, or longer than the venue remembers.
PAUSES = (5, 30, 600, 3600, 25_000, 4 * 86_400, 9 * 86_400)
# Repairs come with the monitor's cycles: within these a position must be covered and everything else in its place.
CYCLE_SECONDS, SETTLE_CYCLES, END_CYCLES = 10, 5, 12
# A fault of the exchange ends by itself after a few requests; back-off between tries may take this long.
LONGEST_BACK_OFF_SECONDS = 120
WALLET = {"USDT": "1000000", "USDC": "1000000", "BTC": "20"}


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A promise that a sequence has broken, with what had happened until then."""

    number: int
    symbol: str
    what: str
    log: Sequence[str]


@dataclass(kw_only=True)
class Batch:
    """Some sequences by their numbers, on a desk that is empty at first."""

    here: House
    numbers: Sequence[int]
    seed: int
    done: Counter[str]
    broken: list[Broken] = field(default_factory=list)
    longest_unprotected_cycles: int = 0

    def __post_init__(self) -> None:
        self.random = Random(f"batch/{self.seed}/{self.numbers[0]}")  # noqa: S311 -- chance, not secrets
        self.clock = ShiftedClock()
        self.desk = self._restarted(self.here.open_desk())
        # Both modes in turn, by the batch's place among all.
        if self.numbers[0] // max(len(self.numbers), 1) % 2 == 1:
            self.desk.paper.control("POST", "settings", {"dual_side": True})
        for asset, amount in WALLET.items():
            self._deposit(asset, amount)
        self.stories = self._stories()

    def play(self) -> list[Broken]:
        """Play all of them to their ends and return what was broken."""
        for story in self.stories:
            story.begin()
        self._settle()
        for _ in range(STEPS):
            self._step()
        self._end()
        for story in self.stories:
            self._judge(story, unexplained(story))
        turned = flips(self.desk.ledger)
        if turned:
            self._break(self.stories[0], f"fills that turned a position: {turned[0]}")
        return self.broken

    def _stories(self) -> list[Story]:
        listed = [row for row in self.desk.person.exchange_info()["symbols"] if row["status"] == "TRADING"]
        usd = self.desk.exchange.asset_index()
        rows = self.random.sample(listed, min(len(self.numbers), len(listed)))
        return [self._story(number, row, usd) for number, row in zip(self.numbers, rows, strict=False)]

    def _story(self, number: int, row: Mapping[str, Any], usd: Mapping[str, Decimal]) -> Story:
        random = Random(f"sequence/{self.seed}/{number}")  # noqa: S311 -- chance, not secrets
        contract = Contract.of(self.desk, row, usd, random)
        return Story(number=number, contract=contract, random=random, done=self.done)

    def _step(self) -> None:
        """Let one thing happen to each sequence, then time pass, and hold it against what must hold."""
        if self.random.random() < 0.15:
            self._restart()
        self._note_ends()
        ledger = self.desk.ledger
        for story in self.stories:
            story.act(ledger)
        self._let_pass(self.random.choice(PAUSES))
        self._settle()

    def _note_ends(self) -> None:
        """Tell each sequence whether its contract trades: a dated one may have been delivered in the last pause."""
        rows = self.desk.person.exchange_info()["symbols"]
        trading = {row["symbol"] for row in rows if row["status"] == "TRADING"}
        for story in self.stories:
            story.contract.trades = story.symbol in trading

    def _settle(self) -> None:
        """Run cycles until nothing is out of place; what still is after the last of them is broken."""
        found: dict[int, str] = {}
        for cycle in range(SETTLE_CYCLES):
            self._watch()
            before, found = found, self._out_of_place(cycle)
            if not found:
                break
            if cycle == SETTLE_CYCLES // 2:
                self._let_pass(LONGEST_BACK_OFF_SECONDS)
        for story in self.stories:
            # Seen twice: what the last cycle has just begun to put right is not broken.
            if before.get(story.number) == found.get(story.number):
                self._judge(story, found.get(story.number, ""))
        self.desk.paper.clear_ledger()

    def _out_of_place(self, cycle: int) -> dict[int, str]:
        """Return what may not stay as it is, by the sequence's number."""
        ledger = self.desk.ledger
        naked = {story.number: unprotected(story, ledger) for story in self.stories}
        if any(naked.values()):
            self.longest_unprotected_cycles = max(self.longest_unprotected_cycles, cycle + 1)
        found = {story.number: naked[story.number] or leftovers(story, ledger) for story in self.stories}
        return {number: what for number, what in found.items() if what}

    def _end(self) -> None:
        self.desk.paper.clear_faults()
        self.desk.paper.control("DELETE", "portions")
        self._note_ends()
        ledger = self.desk.ledger
        for story in self.stories:
            story.end(ledger)
        self._settle()
        for cycle in range(END_CYCLES):
            ledger = self.desk.ledger
            if not any(not_over(story, ledger) for story in self.stories):
                return
            if cycle == END_CYCLES // 2:
                self._note_ends()
                self._close_by_hand(ledger)
            self._let_pass(LONGEST_BACK_OFF_SECONDS)
            self._watch()
        ledger = self.desk.ledger
        for story in self.stories:
            self._judge(story, not_over(story, ledger))

    def _close_by_hand(self, ledger: Ledger) -> None:
        for story in self.stories:
            story.close_by_hand(ledger)

    def _watch(self) -> None:
        self._let_pass(CYCLE_SECONDS)
        try:
            self.desk.cycle()
        except ExchangeUnavailableError:
            self.done["cycle without an answer"] += 1

    def _let_pass(self, seconds: int) -> None:
        self.desk.paper.control("POST", "clock", {"advance_ms": seconds * 1000})
        self.clock.let_pass(seconds)

    def _restart(self) -> None:
        """Begin anew with the rows alone, as a process does that was killed."""
        self.done["restart"] += 1
        self.desk = self._restarted(self.desk)
        for story in self.stories:
            story.contract.desk = self.desk

    def _restarted(self, desk: Desk) -> Desk:
        """Return a process's adapters whose ages go by the market's time, as they would in days of real time."""
        desk.clock = self.clock
        fresh = desk.another(monotonic=lambda: time.monotonic() + self.clock.ahead.total_seconds())
        fresh.server_clock._wall = lambda: self.clock().timestamp()
        return fresh

    def _deposit(self, asset: str, amount: str) -> None:
        held = {row["asset"] for row in self.desk.person.balance()}
        if asset in held:
            self.desk.paper.control("POST", "transfer", {"asset": asset, "amount": amount})

    def _judge(self, story: Story, what: str) -> None:
        if what:
            self._break(story, what)

    def _break(self, story: Story, what: str) -> None:
        if story.number not in {each.number for each in self.broken}:
            self.broken.append(Broken(number=story.number, symbol=story.symbol, what=what, log=tuple(story.log)))


def play(here: House, *, first: int, count: int, at_once: int, seed: int, say: Callable[[str], None]) -> "Outcome":
    """Play `count` sequences from the number `first` on, some at once, and say how far it is."""
    outcome, began = Outcome(), time.monotonic()
    for start in range(first, first + count, at_once):
        numbers = range(start, min(start + at_once, first + count))
        batch = Batch(here=here, numbers=numbers, seed=seed, done=outcome.done)
        outcome.broken += batch.play()
        outcome.played += len(batch.stories)
        outcome.longest_unprotected_cycles = max(outcome.longest_unprotected_cycles, batch.longest_unprotected_cycles)
        seconds = time.monotonic() - began
        say(f"{outcome.played} of {count} sequences, {len(outcome.broken)} broken, {seconds:.0f} s")
    return outcome


@dataclass(kw_only=True)
class Outcome:
    """What became of all sequences."""

    played: int = 0
    done: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    longest_unprotected_cycles: int = 0
