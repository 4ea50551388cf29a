"""What the exchange last said about the account's settings, shared by all processes, so that an entry need not ask."""

import json
from collections.abc import Mapping
from typing import get_type_hints

from redis import Redis, RedisError

from execution.domain.terms import HEDGE, ONE_WAY, SymbolSettings

# How long an answer is believed: a change from outside that nobody told of is found after this time at the latest.
SYMBOL_SECONDS = 300
MODE_SECONDS = 60
# Every cycle of a monitor tells it anew.
LISTING_SECONDS = 300


def mode_name(*, hedge: bool) -> str:
    return HEDGE if hedge else ONE_WAY


class SettingsCache:
    """Redis that does not answer remembers nothing: then the exchange is asked."""

    def __init__(self, redis: Redis, *, account: str) -> None:
        self._redis = redis
        self._prefix = f"execution:settings:{account}"

    def symbol(self, symbol: str) -> SymbolSettings | None:
        return _settings(self._get(symbol))

    def remember_symbol(self, symbol: str, settings: SymbolSettings) -> None:
        self._set(symbol, json.dumps(vars(settings)), SYMBOL_SECONDS)

    def hedge_mode(self) -> bool | None:
        text = self._get("position-mode")
        return text == HEDGE if text else None

    def remember_hedge_mode(self, *, hedge: bool) -> None:
        self._set("position-mode", mode_name(hedge=hedge), MODE_SECONDS)

    def listing(self) -> str | None:
        """Return the digest of the filters that a process has read last."""
        return self._get("listing")

    def remember_listing(self, digest: str) -> None:
        self._set("listing", digest, LISTING_SECONDS)

    def forget_symbol(self, symbol: str) -> None:
        self._forget(symbol)

    def forget_hedge_mode(self) -> None:
        self._forget("position-mode")

    def forget_all_but(self, settings: Mapping[str, SymbolSettings], *, hedge: bool) -> None:
        """Forget what a reading of everything contradicts; who has just changed it himself reads it once more."""
        known = self._get_all([*settings, "position-mode"])
        for symbol, found in settings.items():
            if symbol in known and _settings(known[symbol]) != found:
                self.forget_symbol(symbol)
        if known.get("position-mode", mode_name(hedge=hedge)) != mode_name(hedge=hedge):
            self.forget_hedge_mode()

    def _get_all(self, names: list[str]) -> dict[str, str]:
        try:
            values = self._redis.mget([f"{self._prefix}:{name}" for name in names])
        except RedisError:
            return {}
        found = zip(names, values if isinstance(values, list) else [], strict=False)
        return {name: value.decode(errors="replace") for name, value in found if isinstance(value, bytes)}

    def _get(self, name: str) -> str | None:
        try:
            value = self._redis.get(f"{self._prefix}:{name}")
        except RedisError:
            return None
        return value.decode(errors="replace") if isinstance(value, bytes) else None

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


def _settings(text: str | None) -> SymbolSettings | None:
    """Read what a process of ours has remembered; anything else counts as forgotten, and the exchange is asked."""
    try:
        fields = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    kinds = get_type_hints(SymbolSettings)
    if not isinstance(fields, dict) or fields.keys() != kinds.keys():
        return None
    whole = all(type(value) is kinds[name] for name, value in fields.items())
    return SymbolSettings(**fields) if whole else None
