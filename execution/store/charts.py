"""Statements on the candles that are kept with trades that have ended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from execution.domain.candles import Candle, Window
from execution.domain.states import TRADE_OPEN, TradeState
from execution.models import Trade, TradeChart

THOUSAND = 1000


def find_chart(trade_id: UUID) -> TradeChart | None:
    """Return the chart that is kept with a trade, or None."""
    return TradeChart.objects.filter(pk=trade_id).first()


def ended_at(trade: Trade) -> datetime | None:
    """Return when a trade ended, or None while it is open."""
    return None if trade.state in TRADE_OPEN else trade.exit_at or trade.updated_at


def trade_without_chart(*, since: datetime, before: datetime) -> Trade | None:
    """Return the trade that closed first between these and has no chart, or None."""
    closed = Trade.objects.filter(state=TradeState.CLOSED, exit_at__gte=since, exit_at__lt=before, chart=None)
    return closed.order_by("exit_at").first()


def candles_in(chart: TradeChart) -> list[Candle]:
    """Return the candles of a chart, oldest first."""
    return [
        Candle(
            at=datetime.fromtimestamp(int(at) / THOUSAND, UTC),
            open=Decimal(begin),
            high=Decimal(high),
            low=Decimal(low),
            close=Decimal(end),
        )
        for at, begin, high, low, end in chart.candles
    ]


def save_chart(trade_id: UUID, window: Window, candles: Sequence[Candle], *, now: datetime) -> None:
    """Keep the candles of a trade in the place of what was kept before."""
    rows = [
        [int(c.at.timestamp() * THOUSAND), *(f"{price:f}" for price in (c.open, c.high, c.low, c.close))]
        for c in candles
    ]
    seconds = int(window.length.total_seconds())
    columns = {"interval": window.name, "interval_seconds": seconds, "candles": rows, "read_at": now}
    TradeChart.objects.update_or_create(trade_id=trade_id, defaults=columns)
