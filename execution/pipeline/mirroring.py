"""Trades as the neighbours' TradeStore keeps them: one Redis hash a trade, every value a string."""

from collections.abc import Mapping

from execution.domain.money import plain
from execution.domain.states import TRADE_OPEN
from execution.models import Trade

CLOSED_KEPT_SECONDS = 30 * 24 * 3600


def mirror_fields(trade: Trade) -> Mapping[str, str]:
    """Return the hash of a trade; an absent value is an empty string."""
    request = trade.request
    return {
        "trade_id": str(trade.pk),
        "symbol": trade.symbol,
        "side": trade.direction,
        "status": "OPEN" if trade.state in TRADE_OPEN else "CLOSED",
        "quantity": plain(trade.quantity - trade.exited_quantity if trade.state in TRADE_OPEN else trade.quantity),
        "leverage": str(trade.leverage),
        "margin_usd": plain(trade.margin_usd),
        "entry_price": plain(trade.entry_price),
        "entry_time": trade.entry_at.isoformat(),
        "sl_price": plain(trade.stop_price),
        "tp_price": plain(trade.target_price),
        "exit_price": "" if trade.exit_price is None else plain(trade.exit_price),
        "exit_time": "" if trade.exit_at is None else trade.exit_at.isoformat(),
        "close_reason": trade.close_reason,
        "pnl_usd": "" if trade.net_pnl is None else plain(trade.net_pnl),
        "pnl_pct": "" if trade.pnl_percent is None else plain(trade.pnl_percent),
        "r_multiple": "" if trade.r_multiple is None else plain(trade.r_multiple),
        "entry_fee_usd": plain(trade.entry_fees),
        "exit_fee_usd": plain(trade.exit_fees),
        "funding_fees_usd": plain(trade.funding),
        "model": request.model,
        "confidence": "" if request.confidence is None else plain(request.confidence),
        "meta_strategy_id": request.meta_strategy,
        "regime": request.regime,
        "updated_at": trade.updated_at.isoformat(),
    }
