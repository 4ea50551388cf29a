"""Prepares the account for an entry: reads its modes, sets the leverage and reads it back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from execution.adapters.binance.calls import ApiCaller, unavailable
from execution.adapters.binance.connector import Connector
from execution.adapters.binance.errors import Failure
from execution.adapters.binance.outcome_table import Meaning, Operation
from execution.adapters.binance.rows import Row
from execution.adapters.binance.settings_cache import SettingsCache
from execution.domain.outcomes import Mismatch
from execution.domain.ports import Lane
from execution.domain.reasons import Reason
from execution.domain.trading import PositionSide
from execution.domain.venue_status import ANY, HEDGE, ONE_WAY, SymbolSettings

SYMBOL_CONFIG = "/fapi/v1/symbolConfig"
ACCOUNT_CONFIG = "/fapi/v1/accountConfig"
MODES = {True: HEDGE, False: ONE_WAY}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SetupRules:
    """The settings of account and key that the operator demands. `any` accepts a mode as it is."""

    cache: SettingsCache
    position_mode: str = ANY
    margin_type: str = ANY
    checks_key: bool = False


class EntrySetup:
    """Checks and sets the account's settings for one exchange client."""

    def __init__(self, client: Connector, calls: ApiCaller, *, rules: SetupRules) -> None:
        self._client = client
        self._calls = calls
        self._cache = rules.cache
        self._rules = rules

    def hedge_mode(self) -> bool:
        known = self._cache.hedge_mode()
        if known is None:
            known = bool(self._read(self._client.get_position_mode)["dualSidePosition"])
            self._cache.remember_hedge_mode(hedge=known)
        return known

    def can_trade(self) -> bool:
        return bool(self._read(lambda: self._client.sign_request("GET", ACCOUNT_CONFIG)["canTrade"]))

    def demanded_mode(self) -> Mismatch | None:
        """Return the mismatch that refuses every entry while the account is not in the demanded position mode."""
        found, wanted = MODES[self.hedge_mode()], self._rules.position_mode
        if wanted in {ANY, found}:
            return None
        return Mismatch(reason=Reason.POSITION_MODE_MISMATCH, wanted=wanted, found=found)

    def prepare(self, symbol: str, leverage: int, position_side: PositionSide) -> Mismatch | None:
        """Return the mismatch that stops an entry. None when the account is as it must be."""
        return self._wrong_mode(position_side) or self._wrong_settings(symbol, leverage)

    def note_change(self, symbol: str, leverage: int) -> None:
        """Note that a symbol's leverage was set, by another client or by ourselves."""
        known = self._cache.symbol(symbol)
        if known and known.leverage != leverage:
            self._cache.forget_symbol(symbol)

    def forget_hedge_mode(self) -> None:
        """Read the mode again before the next entry: an answer of the exchange contradicts the cached one."""
        self._cache.forget_hedge_mode()

    def _wrong_mode(self, position_side: PositionSide) -> Mismatch | None:
        found = MODES[self.hedge_mode()]
        approved = MODES[position_side is not PositionSide.BOTH]
        wrong = self.demanded_mode()
        if wrong is None and found != approved:
            wrong = Mismatch(reason=Reason.POSITION_MODE_MISMATCH, wanted=approved, found=found)
        if wrong:
            self._cache.forget_hedge_mode()
        return wrong

    def _wrong_settings(self, symbol: str, leverage: int) -> Mismatch | None:
        known = self._cache.symbol(symbol)
        if known and known.leverage == leverage:
            return self._wrong_margin(known)
        refused = self._set_leverage(symbol, leverage)
        if refused:
            return refused
        found = self._read_back(symbol)
        if found.leverage != leverage:
            return Mismatch(reason=Reason.LEVERAGE_MISMATCH, wanted=str(leverage), found=str(found.leverage))
        # A margin type that is not as demanded is not cached: once corrected, it counts at once.
        wrong = self._wrong_margin(found)
        if wrong is None:
            self._cache.remember_symbol(symbol, found)
        return wrong

    def _wrong_margin(self, settings: SymbolSettings) -> Mismatch | None:
        wanted = self._rules.margin_type
        if wanted in {ANY, settings.margin_type}:
            return None
        return Mismatch(reason=Reason.MARGIN_TYPE_MISMATCH, wanted=wanted, found=settings.margin_type)

    def _set_leverage(self, symbol: str, leverage: int) -> Mismatch | None:
        """Set the leverage, which is safe to repeat. Only the read-back shows what it is then."""
        answer = self._calls.attempt(
            Operation.SETTINGS, lambda: self._client.change_leverage(symbol, leverage), Lane.ENTRY
        )
        if not isinstance(answer, Failure) or answer.meaning is Meaning.BENIGN:
            return None
        if answer.meaning is not Meaning.REFUSED:
            raise unavailable(answer)
        return Mismatch(reason=Reason.LEVERAGE_MISMATCH, wanted=str(leverage), found=str(answer), code=answer.code)

    def _read_back(self, symbol: str) -> SymbolSettings:
        # Forgotten before it is read: a process that stops in between must not leave an old value behind.
        self._cache.forget_symbol(symbol)
        return self._read(lambda: settings_of(self._client.sign_request("GET", SYMBOL_CONFIG, {"symbol": symbol})[0]))

    def _read(self, call: Callable[[], T]) -> T:
        return self._calls.read(call, lane=Lane.ENTRY)


def settings_of(row: Row) -> SymbolSettings:
    """Read one row of `symbolConfig`."""
    return SymbolSettings(leverage=int(row["leverage"]), margin_type=str(row["marginType"]))
