"""What is decided in the long soak: entries of every kind, to be held from minutes to two thirds of the run."""

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from execution.domain.states import TRADE_OPEN
from execution.domain.trading import Direction, PositionSide
from execution.models import Trade
from tests.soak.board import Board, Contract
from tests.soak.world import World

HOUR, DAY = 3600, 86_400
CANDIDATES = 3
SIZE_USD = (60.0, 900.0)
# Sizes that the venue or our limits refuse, or take in several orders.
TINY_USD, HUGE_USD = (1.0, 25.0), (4_000.0, 9_000.0)


@dataclass(frozen=True, kw_only=True)
class Temper:
    """How far stop and target lie, how long a position may last, and with what leverage it is opened."""

    stop: tuple[float, float]
    target: tuple[float, float]
    seconds: tuple[float, float]
    leverage: tuple[int, ...]


SCALP = Temper(stop=(0.004, 0.02), target=(0.004, 0.03), seconds=(5 * 60, 6 * HOUR), leverage=(3, 5, 10))
SWING = Temper(stop=(0.03, 0.09), target=(0.04, 0.15), seconds=(DAY / 2, 6 * DAY), leverage=(2, 3, 5))
KEEP = Temper(stop=(0.3, 0.45), target=(0.4, 0.9), seconds=(6 * DAY, 40 * DAY), leverage=(1,))


@dataclass(kw_only=True)
class Wishes:
    """Sends decisions at random, by a seed. `longest_seconds`: what a position may last at most."""

    world: World
    board: Board
    random: Random
    longest_seconds: float
    number: int = 0
    # Sent, and not seen with their final outcome by the judge yet.
    unjudged: set[str] = field(default_factory=set)

    def decide(self) -> UUID:
        """Send one decision through the chain; now and then the chain breaks off and the monitor has to resume it."""
        # Now and then in one that does not trade: that has to be refused, with its rule.
        contracts = self.board.ours if self._chance(0.05) else self.board.open
        side = self.random.choice(("buy", "sell"))
        # Mostly where nothing is open yet; the draws are the same whatever is.
        some = [self.random.choice(contracts) for _ in range(CANDIDATES)]
        request_id = self._sent(next((row for row in some if self._is_free(row, side)), some[0]), side)
        until = self.random.choice(("check_ess", "place_order", "protect_position")) if self._chance(0.03) else ""
        self.world.run(request_id, until=until)
        return request_id

    def _is_free(self, contract: Contract, side: str) -> bool:
        trades = Trade.objects.filter(symbol=contract.symbol, state__in=sorted(TRADE_OPEN))
        direction = Direction.LONG if side == "buy" else Direction.SHORT
        return not (trades.filter(direction=direction) | trades.filter(position_side=PositionSide.BOTH)).exists()

    def open_now(self, contract: Contract, side: str) -> None:
        """Send a decision that is to be held."""
        self.world.run(self._signal(contract, side, KEEP, kept=True))

    def _sent(self, contract: Contract, side: str) -> UUID:
        if contract.keeps:
            return self._signal(contract, side, KEEP, kept=True)
        if self._chance(0.25):
            return self._ai(contract, side)
        return self._signal(contract, side, SWING if self._chance(0.3) else SCALP)

    def _ai(self, contract: Contract, side: str) -> UUID:
        """Decide as the ai-engine does: sized in US dollars, often with the default exits."""
        sign = 1 if side == "buy" else -1
        fields: dict[str, Any] = {"position_size_usd": round(self._usd(), 2), "leverage": self._one(SCALP.leverage)}
        if self._chance(0.5):
            fields["stop_loss"] = float(contract.moved(-sign * self.random.uniform(*SCALP.stop)))
        if self._chance(0.3):
            fields["take_profit"] = float(contract.moved(sign * self.random.uniform(*SCALP.target)))
        if self._chance(0.15):
            fields["trail_percent"] = round(self.random.uniform(0.5, 2.0), 1)
        return self._noted(self.world.desk.decide(contract.symbol, side, **fields))

    def _signal(self, contract: Contract, side: str, temper: Temper, *, kept: bool = False) -> UUID:
        sign = 1 if side == "buy" else -1
        # A LIMIT rests a little away, is marketable, or lies so far away that it never fills.
        away = self._one((0.001, 0.003, 0.01, -0.002, 0.2)) if self._chance(0.4) and not kept else None
        entry = contract.price if away is None else contract.moved(-sign * away)
        fields: dict[str, Any] = {
            "quantity": text(contract.lots(Decimal(str(self._usd(kept=kept))) / self.board.usd(contract) / entry)),
            "leverage": self._one(temper.leverage),
            **self._exits(contract, entry, sign, temper),
        }
        if away is not None:
            fields["price"] = text(entry)
        return self._noted(self.world.desk.signal(contract.symbol, side, **fields))

    def _exits(self, contract: Contract, entry: Decimal, sign: int, temper: Temper) -> dict[str, Any]:
        uniform = self.random.uniform
        fields: dict[str, Any] = {}
        if not self._chance(0.1):
            fields["stop_loss"] = text(contract.on_tick(entry * Decimal(str(1 - sign * uniform(*temper.stop)))))
        far = sorted(uniform(*temper.target) for _ in range(self._one((1, 1, 2, 3, 4))))
        prices = [text(contract.on_tick(entry * Decimal(str(1 + sign * min(way, 0.9))))) for way in far]
        share = text((Decimal(1) / len(far)).quantize(Decimal("0.01")))
        fields["take_profits"] = [{"price": price, "share": share} for price in dict.fromkeys(prices)]
        if self._chance(0.2):
            fields["trailing"] = {"callback_percent": format(uniform(0.5, 5.0), ".1f")}
        if self._chance(0.3):
            fields["break_even"] = True
        if temper is KEEP or self._chance(0.4):
            wanted = self.longest_seconds if temper is KEEP and self._chance(0.5) else uniform(*temper.seconds)
            fields["time_exit_seconds"] = max(60, int(min(wanted, self.longest_seconds)))
        return fields

    def _usd(self, *, kept: bool = False) -> float:
        chance = self.random.random()
        if kept or chance < 0.88:
            return self.random.uniform(*SIZE_USD)
        return self.random.uniform(*(TINY_USD if chance < 0.94 else HUGE_USD))

    def _chance(self, of: float) -> bool:
        return self.random.random() < of

    def _one(self, among: tuple[Any, ...]) -> Any:
        return self.random.choice(among)

    def _noted(self, request_id: UUID) -> UUID:
        self.number += 1
        self.unjudged.add(str(request_id))
        return request_id


def text(value: Decimal) -> str:
    return format(value, "f")
