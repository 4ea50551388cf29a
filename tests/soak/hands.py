"""Who else acts in the long soak: people on the same account, the venue by force, and strangers beside us."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from binance.error import ClientError

from tests.soak.board import Board
from tests.soak.evidence import Evidence
from tests.soak.judge import OURS, Held
from tests.soak.wishes import text
from tests.soak.world import World

TOUCH_KEPT = 0.02


@dataclass(kw_only=True)
class Hands:
    """Acts now and then; what the venue refuses is counted as such."""

    world: World
    board: Board
    evidence: Evidence
    random: Random
    done: Counter[str] = field(default_factory=Counter)

    def act(self) -> None:
        """Close, reduce or force out a position of ours, end one of our orders, or trade beside us."""
        held = [row for row in self.evidence.held() if self._may_touch(row)]
        acts: list[tuple[str, Callable[[], object]]] = [("traded beside us", self._trade_beside)]
        if held:
            row = self.random.choice(sorted(held, key=lambda one: one.key))
            acts += [
                ("closed by hand", lambda: self.bring(row, Decimal(0))),
                ("reduced by hand", lambda: self.bring(row, self._part(row))),
                ("deleveraged", lambda: self._force(row, "ADL")),
                ("liquidated", lambda: self._force(row, "LIQUIDATION")),
                ("ended an order of ours", self._end_order),
            ]
        name, act = self.random.choice(acts)
        self.attempt(name, act)

    def _may_touch(self, row: Held) -> bool:
        """Spare most of what is to be held for weeks."""
        contract = self.board.by_symbol[row.symbol]
        return not contract.foreign and (not contract.keeps or self.random.random() < TOUCH_KEPT)

    def attempt(self, name: str, act: Callable[[], object]) -> bool:
        """Do what the venue may refuse, and count it."""
        try:
            act()
        except (AssertionError, ClientError) as refused:
            self.done[f"{name}: refused"] += 1
            self.done[f"refusal: {str(refused)[:80]}"] += 1
            return False
        self.done[name] += 1
        return True

    def leave(self) -> None:
        """End what strangers hold."""
        for row in self.evidence.held():
            if row.symbol in self.evidence.foreign:
                self.attempt("strangers leave", lambda row=row: self.bring(row, Decimal(0)))  # type: ignore[misc]

    def flatten(self, row: Held) -> None:
        """Close a position in as many reducing orders as the venue's largest market lot makes of it."""
        contract, left = self.board.by_symbol[row.symbol], abs(row.amount)
        while left:
            part = min(left, contract.market_most)
            side = "SELL" if row.amount > 0 else "BUY"
            order = {"symbol": row.symbol, "side": side, "quantity": text(part), "position_side": row.side}
            self.world.paper.control("POST", "orders", {**order, "reduce_only": row.side == "BOTH"})
            left -= part

    def bring(self, row: Held, amount: Decimal) -> None:
        """Bring a position to an amount by somebody's MARKET order."""
        body = {"symbol": row.symbol, "amount": text(amount), "position_side": row.side}
        self.world.paper.control("POST", "position", body)

    def _part(self, row: Held) -> Decimal:
        contract = self.board.by_symbol[row.symbol]
        left = contract.lots(abs(row.amount) / 2)
        return left if row.amount > 0 else -left

    def _force(self, row: Held, kind: str) -> None:
        self.world.paper.control("POST", "close", {"symbol": row.symbol, "kind": kind})

    def _end_order(self) -> None:
        # Client ids are drawn by no seed.
        ours = sorted(self.evidence.resting(), key=lambda row: (row.symbol, row.side, row.kind, row.quantity))
        names = [row.client_id for row in ours if row.client_id.startswith(OURS)]
        if names:
            self.end(self.random.choice(names))

    def end(self, client_id: str) -> None:
        """End an order, as its owner does on the web page."""
        self.world.paper.control("POST", "orders/end", {"order": client_id})

    def _trade_beside(self) -> None:
        """Open or close a stranger's position in a contract that we never trade."""
        symbol = self.random.choice(sorted(self.evidence.foreign))
        contract = self.board.by_symbol[symbol]
        held = {row.side: row.amount for row in self.evidence.held() if row.symbol == symbol}
        sides = ("LONG", "SHORT") if self.evidence.hedge else ("BOTH",)
        side = self.random.choice(sides)
        some = contract.lots(200 / self.board.usd(contract) / contract.price)
        wanted = Decimal(0) if held.get(side) else self._some(some, side)
        self.bring(Held(symbol=symbol, side=side, amount=Decimal(0)), wanted)

    def _some(self, quantity: Decimal, side: str) -> Decimal:
        if side == "BOTH":
            return quantity * self.random.choice((1, -1))
        return quantity if side == "LONG" else -quantity
