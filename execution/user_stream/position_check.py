"""Compares each position that the stream reports with the books a moment later.

Positions come as events of their own. They name no fill, so nothing is booked from them. But where the books still
differ a moment later, an order's event was lost, and a reconciliation cycle is due.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from execution.domain.clocks import Clock
from execution.domain.money import ZERO
from execution.domain.stream import HeldAmount
from execution.store.user_stream import open_trades_on

log = structlog.get_logger(__name__)
# Time enough to cover and to book.
AFTER = timedelta(seconds=3)


@dataclass(kw_only=True)
class PositionCheck:
    """The newest amount of each reported position, until it was compared."""

    clock: Clock
    ask_for_cycle: Callable[[], None]
    _expected: dict[tuple[str, str], tuple[HeldAmount, datetime]] = field(default_factory=dict)

    def expect(self, held: HeldAmount) -> None:
        self._expected[(held.symbol, held.position_side)] = (held, self.clock() + AFTER)

    def step(self) -> None:
        """Compare what is due. A position that is larger than its trade is left to reconciliation."""
        now = self.clock()
        for key, (held, due) in list(self._expected.items()):
            if due <= now:
                del self._expected[key]
                self._compare(held)

    def _compare(self, held: HeldAmount) -> None:
        trade = open_trades_on(held.symbol, held.position_side).first()
        booked = trade.quantity - trade.exited_quantity if trade else ZERO
        if booked > abs(held.quantity):
            log.warning("stream_position_differs", symbol=held.symbol, booked=str(booked), actual=str(held.quantity))
            self.ask_for_cycle()
