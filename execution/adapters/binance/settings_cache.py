"""What the exchange last said about the account's settings, shared by all processes, so that an entry need not ask."""

import json
from dataclasses import dataclass

from redis import Redis, RedisError

# How long an answer is believed: a change from outside that nobody told of is found after this time at the latest.
SYMBOL_SECONDS = 300
MODE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class SymbolSettings:
    """Leverage and margin type of a symbol, read back from the exchange."""

    leverage: int
    margin_type: str


class SettingsCache:
    """Redis that does not answer remembers nothing: then the exchange is asked."""

    def __init__(self, redis: Redis, *, account: str) -> None:
        self._redis = redis
        self._prefix = f"execution:settings:{account}"

    def symbol(self, symbol: str) -> SymbolSettings | None:
        text = self._get(symbol)
        return SymbolSettings(**json.loads(text)) if text else None

    def remember_symbol(self, symbol: str, settings: SymbolSettings) -> None:
        self._set(symbol, json.dumps(vars(settings)), SYMBOL_SECONDS)

    def hedge_mode(self) -> bool | None:
        text = self._get("position-mode")
        return text == "hedge" if text else None

    def remember_hedge_mode(self, *, hedge: bool) -> None:
        self._set("position-mode", "hedge" if hedge else "one-way", MODE_SECONDS)

    def forget_symbol(self, symbol: str) -> None:
        self._forget(symbol)

    def forget_hedge_mode(self) -> None:
        self._forget("position-mode")

    def _get(self, name: str) -> str | None:
        try:
            value = self._redis.get(f"{self._prefix}:{name}")
        except RedisError:
            return None
        return value.decode() if isinstance(value, bytes) else None

    def _set(self, name: str, text: str, seconds: int) -> None:
        try:
            self._redis.set(f"{self._prefix}:{name}", text, ex=seconds)
        except RedisError:
            return

    def _forget(self, name: str) -> None:
        try:
            self._redis.delete(f"{self._prefix}:{name}")
        except RedisError:
            return
