"""Decisions as the ai-engine publishes them, for tests in this process and for stacks of other processes."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


def decision(symbol: str = "BTCUSDT", side: str = "buy", **fields: Any) -> dict[str, Any]:
    """Return an `ai.decision.made` in the producer's shape: 500 USD at 5x, no exits of its own."""
    return {
        "symbol": symbol,
        "side": side,
        "confidence": 0.85,
        "entry_price": None,
        "quantity": 500.0,
        "leverage": 5,
        "stop_loss": None,
        "take_profit": None,
        "trail_percent": None,
        "model": "ensemble",
        "ensemble_confidence": 0.85,
        "strategy": "momentum",
        "meta_strategy": "momentum",
        "regime": "high_vol_trending",
        "position_size_usd": 500.0,
        "timestamp": datetime.now(UTC).isoformat(),
        "event_id": str(uuid4()),
    } | fields
