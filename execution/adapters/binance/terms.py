"""Reads the terms of all contracts and the account's settings: three calls, of little weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from execution.adapters.binance.calls import ApiCaller
from execution.adapters.binance.connector import Connector
from execution.adapters.binance.market import Market
from execution.adapters.binance.parse import from_milliseconds, listing
from execution.adapters.binance.rows import Row
from execution.adapters.binance.setup import ACCOUNT_CONFIG, MODES, SYMBOL_CONFIG, SetupRules, settings_of
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.rate_limits import Limits
from execution.domain.trading import InstrumentFilters
from execution.domain.venue_status import ContractTerms, SymbolSettings, Terms

# A perpetual contract's delivery is set to the end of the year 2100 until its real one is announced.
FAR_AWAY_MS = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
PERPETUAL = "PERPETUAL"


@dataclass(frozen=True, kw_only=True)
class _AccountSettings:
    """The account's settings, and when they were read by the monotonic clock."""

    hedge: bool
    may_trade: bool
    by_symbol: Mapping[str, SymbolSettings]
    read_at: float


@dataclass(kw_only=True)
class TermsReader:
    """Reads the terms for one client, and remembers the account's settings, which cost most of it."""

    client: Connector
    calls: ApiCaller
    market: Market
    rules: SetupRules
    monotonic: Callable[[], float]
    _settings: _AccountSettings | None = None

    def read(self, *, settings_max_age: timedelta) -> Terms:
        """Read the terms, and share filters, limits and settings with all processes.

        Redis may have lost what was shared before.

        Raises:
            ExchangeUnavailableError: a call was not answered.

        """
        contracts, filters, published = self.calls.read(lambda: _listing(self.client.exchange_info()))
        self.market.learn(filters, published)
        settings = self._account_settings(settings_max_age)
        return Terms(
            contracts=contracts,
            settings=settings.by_symbol,
            position_mode=MODES[settings.hedge],
            may_trade=settings.may_trade,
            demanded_mode=self.rules.position_mode,
            demanded_margin=self.rules.margin_type,
            rules=filters,
            settings_age=timedelta(seconds=self.monotonic() - settings.read_at),
        )

    def _account_settings(self, max_age: timedelta) -> _AccountSettings:
        """Read `accountConfig`, which has the position mode for a sixth of that call's weight, and `symbolConfig`."""
        known, now = self._settings, self.monotonic()
        if known is not None and now - known.read_at < max_age.total_seconds():
            return known
        account = self.calls.read(lambda: dict(self.client.sign_request("GET", ACCOUNT_CONFIG)))
        by_symbol = self.calls.read(
            lambda: {row["symbol"]: settings_of(row) for row in self.client.sign_request("GET", SYMBOL_CONFIG)}
        )
        self._settings = _AccountSettings(
            hedge=bool(account["dualSidePosition"]),
            may_trade=bool(account["canTrade"]),
            by_symbol=by_symbol,
            read_at=now,
        )
        self.rules.cache.forget_all_but(by_symbol, hedge=self._settings.hedge)
        return self._settings


def _listing(information: Row) -> tuple[dict[str, ContractTerms], dict[str, InstrumentFilters], Limits]:
    return contracts_of(information), *listing(information)


def contracts_of(information: Row) -> dict[str, ContractTerms]:
    """Read status and delivery time of every contract of `exchangeInfo`.

    Raises:
        ExchangeUnavailableError: it lists no contract.

    """
    contracts = {str(row["symbol"]): _contract(row) for row in information["symbols"]}
    if not contracts:
        raise ExchangeUnavailableError("exchangeInfo lists no contract")
    return contracts


def _contract(row: Row) -> ContractTerms:
    delivery = int(row.get("deliveryDate") or 0)
    return ContractTerms(
        status=str(row["status"]),
        delivers_at=from_milliseconds(delivery) if 0 < delivery < FAR_AWAY_MS else None,
        dated=PERPETUAL not in str(row.get("contractType", PERPETUAL)),
    )
