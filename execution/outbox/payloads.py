"""Payloads of the published events: supersets for all known readers, with JSON numbers.

Readers add up amounts and know one unit: an amount is in USD, converted at the payload's `quote_index`. An amount whose
name ends in `_quote` is in `quote_asset`, exact. Prices are in the quote asset.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypeAlias, TypedDict

from execution.domain.coverage import PositionCover
from execution.domain.json_values import JsonValue
from execution.domain.quote_index import in_usd
from execution.domain.trading import Direction, OrderPurpose, Source
from execution.models import ExecutionRequest, Fill, Order, Position, Trade
from execution.store.levels import Levels

ORDER_PLACED = "order.placed"
ORDER_FILLED = "order.filled"
# The portfolio service listens for fills under this name.
ORDER_EXECUTED = "order.executed"
ORDER_FAILED = "order.failed"
TRADE_OPENED = "trade.opened"
TRADE_CLOSED = "trade.closed"
POSITION_UPDATED = "position.updated"
EVENT_TYPES = (ORDER_PLACED, ORDER_FILLED, ORDER_EXECUTED, ORDER_FAILED, TRADE_OPENED, TRADE_CLOSED, POSITION_UPDATED)

PERCENT = 100
Payload: TypeAlias = dict[str, JsonValue]


def number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def order_placed(order: Order, request: ExecutionRequest, now: datetime) -> Payload:
    # A MARKET entry shows the price that the guard read, a MARKET exit none.
    planned = request.reference_price if order.purpose == OrderPurpose.ENTRY else None
    return {
        "order_id": order.exchange_order_id or order.algo_id,
        "client_order_id": order.client_order_id,
        "trade_id": str(request.pk),
        "symbol": order.symbol,
        "side": order.side.lower(),
        "position_side": request.direction,
        "order_type": order.order_type,
        "purpose": order.purpose.lower(),
        "quantity": number(order.quantity),
        "price": number(order.price or order.trigger_price or planned),
        "status": "placed",
        "source": request.source,
        "correlation_id": request.trace_id,
        "timestamp": now.isoformat(),
    }


def order_filled(
    fill: Fill, order: Order | None, request: ExecutionRequest, cumulative: Decimal, now: datetime
) -> Payload:
    """Return the payload of a fill.

    `slippage_pct` is in percent of the planned price, positive when worse, and null for exits, which have no planned
    price.
    """
    entry = order is not None and order.purpose == OrderPurpose.ENTRY
    return {
        "order_id": fill.exchange_order_id,
        "client_order_id": order.client_order_id if order else "",
        "fill_id": str(fill.exchange_trade_id),
        "trade_id": str(request.pk),
        "symbol": fill.symbol,
        "side": "buy" if fill.buyer else "sell",
        "price": number(fill.price),
        "fill_price": number(fill.price),
        "quantity": number(fill.quantity),
        "fill_size": number(fill.quantity),
        "cumulative_quantity": number(cumulative),
        "fees": number(fill.commission),
        "fee_asset": fill.commission_asset,
        "fees_usd": number(in_usd(fill.fee_value, request.quote_index)),
        "fees_quote": number(fill.fee_value),
        "quote_asset": request.quote_asset,
        "quote_index": number(request.quote_index),
        "slippage_pct": number(slippage(request, fill.price) * PERCENT) if entry else None,
        "timestamp": now.isoformat(),
    }


class FailureFields(TypedDict, total=False):
    """Optional fields of a failure."""

    client_order_id: str
    error_code: int | None
    ess_state: str
    attempts: int


def order_failed(  # noqa: PLR0913 -- the fields of the event
    *,
    symbol: str,
    side: str,
    reason: tuple[str, str],
    now: datetime,
    client_order_id: str = "",
    error_code: int | None = None,
    ess_state: str | None = None,
    attempts: int = 0,
    trace_id: str = "",
    trade_id: str | None = None,
) -> Payload:
    return {
        "order_id": None,
        "client_order_id": client_order_id,
        "trade_id": trade_id,
        "symbol": symbol,
        "side": side,
        "reason": reason[1] or reason[0],
        "reason_code": reason[0],
        "error_code": error_code,
        "ess_state": ess_state,
        "attempts": attempts,
        "correlation_id": trace_id,
        "timestamp": now.isoformat(),
    }


def trade_opened(trade: Trade, request: ExecutionRequest, entry: Order, now: datetime) -> Payload:
    return {
        **_trade_identity(trade, request, entry),
        "margin_usd": number(trade.margin_usd),
        "stop_loss": number(trade.stop_price),
        "take_profit": number(trade.target_price),
        "timestamp": now.isoformat(),
    }


def trade_closed(trade: Trade, request: ExecutionRequest, entry: Order, now: datetime) -> Payload:
    """Return a trade's result under every name that readers use. Percentages are of the margin."""
    net, percent = number(trade.net_pnl_usd), number(trade.pnl_percent)
    moved = trade.excursion
    duration = (trade.exit_at - trade.entry_at).total_seconds() if trade.exit_at else None
    return {
        **_trade_identity(trade, request, entry),
        "exit_price": number(trade.exit_price),
        "pnl_usd": net,
        "realized_pnl": net,
        "pnl_percent": percent,
        "pnl_pct": percent,
        "realized_pnl_pct": percent,
        "net_pnl_quote": number(trade.net_pnl),
        "gross_pnl_usd": number(trade.usd(trade.gross_pnl)),
        "r_multiple": number(trade.r_multiple),
        "fees_usd": number(trade.usd(trade.entry_fees + trade.exit_fees)),
        "funding_usd": number(trade.usd(trade.funding)),
        "other_income_usd": number(trade.usd(trade.other_income)),
        "unvalued_fees": trade.unvalued_fees,
        "unvalued_income": trade.unvalued_income,
        "net_is_complete": trade.net_is_complete,
        "max_adverse_excursion_usd": number(trade.usd(moved.adverse)) if moved else None,
        "max_favourable_excursion_usd": number(trade.usd(moved.favourable)) if moved else None,
        "max_adverse_excursion_pct": number(moved.adverse_percent) if moved else None,
        "max_favourable_excursion_pct": number(moved.favourable_percent) if moved else None,
        "duration_sec": duration,
        "reason": trade.close_reason,
        "close_reason": trade.close_reason,
        "correction": trade.corrections > 0,
        "source": "execution",
        "timestamp": now.isoformat(),
    }


def position_updated(
    position: Position,
    *,
    leverage: int | None,
    cover: PositionCover,
    levels: Levels,
    now: datetime,
) -> Payload:
    """Return a position, with the `stop_loss` and `take_profit` of its plan now.

    They are null when the plan has none, and without a plan.
    """
    margin = position.initial_margin
    return {
        "symbol": position.symbol,
        "side": position.direction,
        "quantity": number(position.quantity),
        "size": number(position.quantity),
        "entry_price": number(position.entry_price),
        "current_price": number(position.mark_price),
        "mark_price": number(position.mark_price),
        "quote_asset": position.quote_asset,
        "quote_index": number(position.quote_index),
        "unrealized_pnl": number(position.usd(position.unrealized_pnl)),
        "unrealized_pnl_quote": number(position.unrealized_pnl),
        "unrealized_pnl_pct": number(position.unrealized_pnl / margin * PERCENT) if margin else None,
        "leverage": leverage,
        "margin_usd": number(position.usd(margin)),
        "value": number(position.usd(position.quantity * position.mark_price)),
        "liquidation_price": number(position.liquidation_price),
        "stop_loss": number(levels.stop),
        "take_profit": number(levels.target),
        # False where the plan has none, which the policy permits.
        "stop_required": position.trade_id is None or levels.stop is not None,
        "has_tp_sl": cover.has_tp_sl,
        "protected": cover.protected,
        "protected_by": cover.protected_by.value,
        "overdue_stops": list(cover.overdue),
        "trade_id": str(position.trade_id) if position.trade_id else None,
        "timestamp": now.isoformat(),
    }


def slippage(request: ExecutionRequest, price: Decimal) -> Decimal:
    """Return how much worse than planned a price is, as a fraction of it. Negative is better."""
    planned = request.expected_price or request.reference_price or price
    return (price - planned) * Direction(request.direction).sign / planned


def _trade_identity(trade: Trade, request: ExecutionRequest, entry: Order) -> Payload:
    return {
        "trade_id": str(trade.pk),
        "order_id": entry.exchange_order_id,
        "symbol": trade.symbol,
        "quote_asset": trade.quote_asset,
        "quote_index": number(trade.quote_index),
        "side": trade.direction.lower(),
        "entry_price": number(trade.entry_price),
        "quantity": number(trade.quantity),
        "leverage": float(trade.leverage),
        "model": Source(request.source).model(request.model),
        "confidence": number(request.confidence) or 0.0,
        "strategy": request.strategy or "default",
        "origin": request.source,
    }
