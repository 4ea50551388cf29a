"""Where a trade's stop and targets lay at each moment, by the journal and its plan."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, BracketLeg, Trade
from execution.store.charts import ended_at

LEVELS = (OrderPurpose.STOP, OrderPurpose.TARGET)


@dataclass(frozen=True, kw_only=True)
class LegPath:
    """Where one leg lay: from each moment on at this price, in the quote asset, up to `until`."""

    name: str
    steps: Sequence[tuple[datetime, Decimal]]
    until: datetime


def levels_over_time(trade: Trade, *, now: datetime) -> list[LegPath]:
    """Return where each stop and target lay from the entry on, in two statements.

    The journal has each move with the price before and after it; a leg that never moved lies where it was planned.
    """
    moves: dict[tuple[str, int], list[AuditEvent]] = defaultdict(list)
    lines = AuditEvent.objects.filter(entity="trade", entity_id=str(trade.pk), to_state="LEG_MOVED").order_by("id")
    for line in lines:
        moves[line.details["purpose"], line.details["number"]].append(line)
    legs = BracketLeg.objects.filter(bracket_id=trade.pk, purpose__in=LEVELS).order_by("purpose", "number")
    return [_level(trade, leg, moves[leg.purpose, leg.number], now) for leg in legs if leg.price is not None]


def _level(trade: Trade, leg: BracketLeg, moves: Sequence[AuditEvent], now: datetime) -> LegPath:
    first = Decimal(moves[0].details["from"]) if moves else leg.price
    steps = [(trade.entry_at, first), *((line.at, Decimal(line.details["to"])) for line in moves)]
    name = leg.purpose.lower() if leg.purpose == OrderPurpose.STOP else f"{leg.purpose.lower()} {leg.number}"
    return LegPath(name=name, steps=steps, until=ended_at(trade) or now)
