"""What the venue changes while positions are open: filters, brackets, leverage, funding, listings and their ends.

Every change is drawn by the seed before the run and happens at its market time. What the venue refuses is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from tests.soak.board import Board, Contract
from tests.soak.evidence import Evidence
from tests.soak.hands import Hands
from tests.soak.wishes import DAY, HOUR, Wishes, text
from tests.soak.world import World

CLOSE_BEFORE_END, MAX_STOP = "execution.close_before_end_hours", "execution.max_sl_distance_pct"
MAX_POSITIONS = "risk.max_positions"
HOURS_BEFORE_END = 2
# Each about so often a day.
FILTERS_A_DAY, LEVERAGES_A_DAY, FUNDINGS_A_DAY, SILENCES_A_DAY, RESTARTS_A_DAY = 2.0, 0.6, 1.0, 0.6, 1.2
SILENCE_SECONDS, DOWN_SECONDS = (HOUR, 40 * HOUR), (0, 0, 0, 60, 600, 2400)
TYPICAL_USD = Decimal(300)
NEWCOMER = "NEWCOMER"


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that happens at a market second."""

    at: float
    name: str
    act: Callable[[], object]


@dataclass(kw_only=True)
class Changes:
    """Draws the changes of a run and makes them."""

    world: World
    board: Board
    wishes: Wishes
    hands: Hands
    evidence: Evidence
    random: Random
    whole_seconds: float
    down: Callable[[float], None]
    # How often the filters were changed, by symbol, so that they come and go.
    coarse: dict[str, dict[str, Any]]

    def drawn(self) -> list[Change]:
        """Return all changes of the run in order of their time."""
        kinds: list[tuple[str, float, Callable[[], object]]] = [
            ("filters changed", FILTERS_A_DAY, self._change_filters),
            ("brackets changed", FILTERS_A_DAY / 2, self._change_brackets),
            ("leverage changed elsewhere", LEVERAGES_A_DAY, self._change_leverage),
            ("funding interval changed", FUNDINGS_A_DAY, self._change_interval),
            ("funding rate changed", FUNDINGS_A_DAY, self._change_rate),
            ("fees in BNB on or off", 0.4, self._toggle_bnb),
            ("stream silent", SILENCES_A_DAY, self._silence),
            ("stream cut", SILENCES_A_DAY, self._cut),
            ("service restarted", RESTARTS_A_DAY, self._restart),
        ]
        days = self.whole_seconds / DAY
        found = [
            Change(at=self.random.uniform(0, self.whole_seconds), name=name, act=act)
            for name, a_day, act in kinds
            for _ in range(max(1, round(a_day * days)))
        ]
        return sorted([*found, *self._ends()], key=lambda change: change.at)

    def _ends(self) -> list[Change]:
        """Return a listing, a delisting and a delivery, each announced before; places are shares of the run."""
        ours = self.board.ours
        dated = next((row for row in ours if not row.perpetual), ours[-1])
        delisted = next(row for row in reversed(ours) if row.perpetual and row is not dated and row.keeps)
        at = self.whole_seconds
        return [
            Change(at=0.05 * at, name="listing announced", act=lambda: self._list(begins_at=0.15 * at)),
            Change(at=0.15 * at + 60, name="listed", act=self.refresh),
            Change(at=0.25 * at, name="delivery announced", act=lambda: self._announce(dated, 0.40 * at, "sell")),
            Change(at=0.40 * at + 60, name="delivered", act=self.refresh),
            Change(at=0.50 * at, name="positions end before their contract", act=self._close_before_end),
            Change(at=0.60 * at, name="delisting announced", act=lambda: self._announce(delisted, 0.75 * at, "buy")),
            Change(at=0.75 * at + 60, name="delisted", act=self.refresh),
        ]

    # Terms

    def _change_filters(self) -> None:
        """Make a filter of a contract coarser or as it was: tick, step, minimum notional or market maximum."""
        contract = self.random.choice(self.board.open)
        name = self.random.choice(("tick", "step", "min_notional", "market_max_quantity"))
        before = self.coarse.setdefault(contract.symbol, {})
        if name in before:
            self.relist(contract, **{name: before.pop(name)})
            return
        wanted, now = self._coarser(contract, name)
        if name == "step" and contract.market_most < wanted:
            # No venue lists a maximum below its step: nothing could be traded at market at all.
            self.relist(contract, market_max_quantity=before.pop("market_max_quantity", text(wanted)))
        self.relist(contract, **{name: text(wanted)})
        before[name] = text(now)

    def _coarser(self, contract: Contract, name: str) -> tuple[Decimal, Decimal]:
        """Return what a filter becomes and what it is now."""
        if name == "tick":
            return contract.tick * 10, contract.tick
        step = contract.step
        if name == "step":
            return step * 10, step
        if name == "min_notional":
            return contract.min_notional * self.random.choice((4, 10)), contract.min_notional
        some = contract.lots(TYPICAL_USD / self.board.usd(contract) / contract.price)
        return min(some, contract.market_most), contract.market_most

    def as_before(self) -> None:
        """Take back every filter that is coarser than it was: by hand nobody can trade odd lots."""
        for symbol, terms in self.coarse.items():
            contract = self.board.by_symbol[symbol]
            if terms and not contract.halted:
                self.hands.attempt("filters as before", lambda row=contract, was=terms: self.relist(row, **was))  # type: ignore[misc]

    def _change_brackets(self) -> None:
        contract = self.random.choice(self.board.open)
        rows = [
            {"leverage": self.random.choice((10, 20, 50, 75)), "cap": "20000", "maint_ratio": "0.01"},
            {"leverage": 5, "cap": "200000", "maint_ratio": "0.05"},
            {"leverage": 1, "cap": "5000000", "maint_ratio": "0.5"},
        ]
        self.relist(contract, brackets=rows)

    def _change_leverage(self) -> None:
        contract = self.random.choice(self.board.ours)
        body = {"symbol": contract.symbol, "leverage": self.random.choice((1, 2, 3, 5, 10))}
        self.world.paper.control("POST", "settings", body)

    def _change_interval(self) -> None:
        contract = self.random.choice([row for row in self.board.contracts if row.perpetual])
        self.relist(contract, funding_interval_hours=self.random.choice((1, 4, 8)))

    def _change_rate(self) -> None:
        """Pay funding at a new rate at once, which stays."""
        contract = self.random.choice([row for row in self.board.contracts if row.perpetual])
        rate = format(self.random.uniform(-0.0005, 0.0007), ".6f")
        self.world.paper.control("POST", "funding", {"symbol": contract.symbol, "rate": rate})

    def _toggle_bnb(self) -> None:
        burns = self.world.desk.person.sign_request("GET", "/fapi/v1/feeBurn")["feeBurn"]
        self.world.desk.person.sign_request("POST", "/fapi/v1/feeBurn", {"feeBurn": "false" if burns else "true"})

    def relist(self, contract: Contract, **terms: Any) -> None:
        """Change a contract's terms, and know them from the venue's answer."""
        row = self.world.paper.control("POST", "symbols", {"symbol": contract.symbol, **terms})
        contract.row = {**contract.row, **row}
        contract.price = contract.on_tick(contract.price)

    # Beginnings and ends

    def _list(self, begins_at: float) -> None:
        """Announce a new contract on the terms of another one; the venue lets it trade at its time."""
        like = self.random.choice([row for row in self.board.open if row.perpetual])
        onboard = self.evidence.now_ms() + round((begins_at - self.world.passed_seconds) * 1000)
        terms = {"like": like.symbol, "price": text(like.price), "status": "PENDING_TRADING", "onboard_ms": onboard}
        name = f"{NEWCOMER}{like.row['quoteAsset']}"
        row = self.world.paper.control("POST", "listing", {"symbol": name, **terms})
        self.board.add(Contract(row=row, price=like.price))

    def _announce(self, contract: Contract, ends_at: float, side: str) -> None:
        """Tell when a contract ends, and hold a position in it until then."""
        left = ends_at - self.world.passed_seconds
        self.wishes.open_now(contract, side)
        self.relist(contract, delivery_ms=self.evidence.now_ms() + round(left * 1000))

    def _close_before_end(self) -> None:
        self.set_policy(CLOSE_BEFORE_END, str(HOURS_BEFORE_END))

    def set_policy(self, key: str, value: str) -> None:
        self.world.desk.risk.change_policy(key, value)
        self.world.tidy_up()

    def refresh(self) -> None:
        """Read the listing again: the venue changes states by itself."""
        rows = self.evidence.listing()
        for contract in self.board.contracts:
            contract.row = rows.get(contract.symbol, {**contract.row, "status": "CLOSE"})

    # Our processes

    def _silence(self) -> None:
        """Let the stream lose everything for hours or days; its socket lives."""
        longest = min(SILENCE_SECONDS[1], self.whole_seconds / 4)
        seconds = self.random.uniform(SILENCE_SECONDS[0], max(longest, SILENCE_SECONDS[0] * 2))
        self.world.silence(until=self.world.passed_seconds + seconds)

    def _cut(self) -> None:
        self.world.paper.control("POST", "streams/drop", {})

    def _restart(self) -> None:
        self.down(self.random.choice(DOWN_SECONDS))
