"""Trades as the neighbours' TradeStore keeps them: a Redis hash for each, every value a string.

Fields named `_usd` are in USD at `quote_index`, prices in `quote_asset`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from execution.domain.money import plain
from execution.domain.states import TRADE_OPEN
from execution.models import Trade
from execution.store.levels import NO_LEVELS, Levels, levels_of
from execution.store.quarantine import for_each

CLOSED_KEPT_SECONDS = 30 * 24 * 3600


def mirrored(trades: Sequence[Trade]) -> list[Mapping[str, str]]:
    """Return the hash of each trade. A trade that cannot be shown is set aside, with an alarm."""
    levels = levels_of([trade.pk for trade in trades])
    return for_each(trades, lambda trade: mirror_fields(trade, levels.get(trade.pk, NO_LEVELS)))


def mirror_fields(trade: Trade, levels: Levels) -> Mapping[str, str]:
    """Return the hash of a trade. An absent value is an empty string."""
    request = trade.request
    return {
        "trade_id": str(trade.pk),
        "symbol": trade.symbol,
        "quote_asset": trade.quote_asset,
        "quote_index": _text(trade.quote_index),
        "side": trade.direction,
        "status": "OPEN" if trade.state in TRADE_OPEN else "CLOSED",
        "quantity": plain(trade.quantity - trade.exited_quantity if trade.state in TRADE_OPEN else trade.quantity),
        "leverage": str(trade.leverage),
        "margin_usd": _text(trade.margin_usd),
        "entry_price": plain(trade.entry_price),
        "entry_time": trade.entry_at.isoformat(),
        "sl_price": _text(levels.stop),
        "tp_price": _text(levels.target),
        "initial_sl_price": _text(trade.stop_price),
        "initial_tp_price": _text(trade.target_price),
        "exit_price": _text(trade.exit_price),
        "exit_time": "" if trade.exit_at is None else trade.exit_at.isoformat(),
        "close_reason": trade.close_reason,
        "pnl_usd": _text(trade.net_pnl_usd),
        "pnl_pct": _text(trade.pnl_percent),
        "r_multiple": _text(trade.r_multiple),
        "entry_fee_usd": _text(trade.usd(trade.entry_fees)),
        "exit_fee_usd": _text(trade.usd(trade.exit_fees)),
        "funding_fees_usd": _text(trade.usd(trade.funding)),
        "model": request.model,
        "confidence": _text(request.confidence),
        "meta_strategy_id": request.meta_strategy,
        "regime": request.regime,
        "updated_at": trade.updated_at.isoformat(),
    }


def _text(value: Decimal | None) -> str:
    return "" if value is None else plain(value)
