"""The account's settings as last read from the exchange, cached in Redis for all processes.

Other clients may write to this Redis, and an entry that relies on a false leverage or mode is not the one that was
approved. So each value carries its time and an HMAC by a key that only processes with the account's secret can derive.
A value that they have not written counts as missing, and the exchange is asked. An old true value that is written back
is valid no longer than any other.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import get_type_hints

import structlog
from redis import Redis, RedisError

from execution.domain.venue_status import HEDGE, ONE_WAY, SymbolSettings

log = structlog.get_logger(__name__)

# How long an answer is valid: a change elsewhere that no event reports is found after this time at the latest.
SYMBOL_SECONDS = 300
MODE_SECONDS = 60
# Reconciliation writes it again in every cycle.
LISTING_SECONDS = 300
POSITION_MODE, LISTING = "position-mode", "listing"
LIVES = {POSITION_MODE: MODE_SECONDS, LISTING: LISTING_SECONDS}
# How far the clocks of two hosts may differ.
CLOCKS_DIFFER_SECONDS = 60


def mode_name(*, hedge: bool) -> str:
    return HEDGE if hedge else ONE_WAY


class SettingsCache:
    """Caches settings. A Redis that does not answer has no value, and the exchange is asked."""

    def __init__(self, redis: Redis, *, account: str, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._prefix = f"execution:settings:{account}"
        self._clock = clock
        # Not the secret itself: what it signs here must be no signature anywhere else.
        self._key = hmac.new(secret.encode(), b"execution settings cache", hashlib.sha256).digest()

    def symbol(self, symbol: str) -> SymbolSettings | None:
        return _settings(self._get(symbol))

    def remember_symbol(self, symbol: str, settings: SymbolSettings) -> None:
        self._set(symbol, json.dumps(vars(settings)))

    def hedge_mode(self) -> bool | None:
        text = self._get(POSITION_MODE)
        return text == HEDGE if text else None

    def remember_hedge_mode(self, *, hedge: bool) -> None:
        self._set(POSITION_MODE, mode_name(hedge=hedge))

    def listing(self) -> str | None:
        """Return the digest of the filters that a process has read last."""
        return self._get(LISTING)

    def remember_listing(self, digest: str) -> None:
        self._set(LISTING, digest)

    def forget_symbol(self, symbol: str) -> None:
        self._forget(symbol)

    def forget_hedge_mode(self) -> None:
        self._forget(POSITION_MODE)

    def forget_all_but(self, settings: Mapping[str, SymbolSettings], *, hedge: bool) -> None:
        """Forget the values that a complete reading contradicts.

        A process that has just changed one itself reads it once more.
        """
        known = self._get_all([*settings, POSITION_MODE])
        for symbol, found in settings.items():
            if symbol in known and _settings(known[symbol]) != found:
                self.forget_symbol(symbol)
        if known.get(POSITION_MODE, mode_name(hedge=hedge)) != mode_name(hedge=hedge):
            self.forget_hedge_mode()

    def _get_all(self, names: list[str]) -> dict[str, str]:
        try:
            values = self._redis.mget([f"{self._prefix}:{name}" for name in names])
        except RedisError:
            return {}
        found = zip(names, values if isinstance(values, list) else [], strict=False)
        proven = {name: self._proven(name, value) for name, value in found}
        return {name: text for name, text in proven.items() if text is not None}

    def _get(self, name: str) -> str | None:
        try:
            value = self._redis.get(f"{self._prefix}:{name}")
        except RedisError:
            return None
        return self._proven(name, value)

    def _set(self, name: str, text: str) -> None:
        at_ms = str(int(self._clock() * 1000))
        try:
            value = f"{at_ms}:{self._mark(name, at_ms, text)}:{text}"
            self._redis.set(f"{self._prefix}:{name}", value, ex=life_of(name))
        except RedisError:
            return

    def _proven(self, name: str, value: object) -> str | None:
        """Return a value that a process of this account has written, while it is valid."""
        if not isinstance(value, bytes):
            return None
        at_ms, _, marked = value.decode(errors="replace").partition(":")
        mark, _, text = marked.partition(":")
        if not hmac.compare_digest(self._mark(name, at_ms, text).encode(), mark.encode()):
            log.error("settings_value_not_ours", name=name)
            self._forget(name)
            return None
        age = self._clock() - int(at_ms) / 1000
        return text if -CLOCKS_DIFFER_SECONDS <= age <= life_of(name) + CLOCKS_DIFFER_SECONDS else None

    def _mark(self, name: str, at_ms: str, text: str) -> str:
        # Names and times that we write contain no line break.
        return hmac.new(self._key, f"{self._prefix}\n{name}\n{at_ms}\n{text}".encode(), hashlib.sha256).hexdigest()

    def _forget(self, name: str) -> None:
        try:
            self._redis.delete(f"{self._prefix}:{name}")
        except RedisError:
            return


def life_of(name: str) -> int:
    """Return for how many seconds a value is valid. A name that is not listed is a symbol."""
    return LIVES.get(name, SYMBOL_SECONDS)


def _settings(text: str | None) -> SymbolSettings | None:
    """Read the settings that one of our processes has stored. Anything else counts as missing."""
    try:
        fields = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    kinds = get_type_hints(SymbolSettings)
    if not isinstance(fields, dict) or fields.keys() != kinds.keys():
        return None
    complete = all(type(value) is kinds[name] for name, value in fields.items())
    return SymbolSettings(**fields) if complete else None
