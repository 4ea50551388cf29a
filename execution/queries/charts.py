"""What a trade's chart shows: candles, fills as marks, and where stop and targets lay at each moment."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.candles import Candle, Window, window_of
from execution.domain.ports import ExchangeUnavailableError, MarketData
from execution.domain.states import TRADE_OPEN
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, BracketLeg, Fill, Position, Trade
from execution.store.charts import candles_in, find_chart, save_chart

LEVELS = (OrderPurpose.STOP, OrderPurpose.TARGET)


@dataclass(frozen=True, kw_only=True)
class LegPath:
    """Where one leg lay: from each moment on at this price, in the quote asset, up to `until`."""

    name: str
    steps: Sequence[tuple[datetime, Decimal]]
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A trade's picture. `note` is empty, or names why there are no candles."""

    window: Window
    candles: Sequence[Candle]
    fills: Sequence[Fill]
    levels: Sequence[LegPath]
    mark_price: Decimal | None
    note: str


def chart_of(trade: Trade, exchange: MarketData, *, now: datetime) -> Chart:
    """Return the chart of a trade. That of a trade which has ended is kept, and not read again.

    An exchange that does not answer leaves out the candles and nothing else.
    """
    window = window_of(trade.entry_at, ended_at(trade), now=now)
    candles, note = _candles(trade, window, exchange, now)
    position = Position.objects.filter(trade=trade).first() if trade.state in TRADE_OPEN else None
    return Chart(
        window=window,
        candles=candles,
        fills=list(Fill.objects.filter(trade=trade).order_by("filled_at", "exchange_trade_id")),
        levels=levels_over_time(trade, now=now),
        mark_price=position.mark_price if position else None,
        note=note,
    )


def ended_at(trade: Trade) -> datetime | None:
    """Return when a trade ended, or None while it is open."""
    return None if trade.state in TRADE_OPEN else trade.exit_at or trade.updated_at


def _candles(trade: Trade, window: Window, exchange: MarketData, now: datetime) -> tuple[Sequence[Candle], str]:
    kept = find_chart(trade.pk)
    if kept and kept.interval == window.name and kept.read_at >= window.until:
        return candles_in(kept), ""
    try:
        found = exchange.candles(trade.symbol, window)
    except ExchangeUnavailableError:
        return (candles_in(kept), "") if kept else ((), "The exchange does not answer: no candles.")
    if found and ended_at(trade):
        save_chart(trade.pk, window, found, now=now)
    return found, "" if found else "The exchange has no candles of this time."


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
