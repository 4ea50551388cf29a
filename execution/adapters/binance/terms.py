"""Reads what the exchange says of all contracts and of the account's settings: three calls, of little weight."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from execution.adapters.binance.calls import ApiCaller
from execution.adapters.binance.connector import Connector
from execution.adapters.binance.market import Market
from execution.adapters.binance.parse import from_milliseconds, listing
from execution.adapters.binance.setup import ACCOUNT_CONFIG, MODES, SYMBOL_CONFIG, SetupRules, settings_of
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.rate_limits import Limits
from execution.domain.trading import InstrumentFilters
from execution.domain.venue_status import ContractTerms, Terms

# A perpetual contract's delivery is set to the end of the year 2100 until its real one is announced.
FAR_AWAY_MS = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
PERPETUAL = "PERPETUAL"


def read_terms(client: Connector, calls: ApiCaller, market: Market, rules: SetupRules) -> Terms:
    """Read them, and let all processes know what holds now: filters, and limits, which a Redis may have lost.

    `accountConfig` tells the position mode for a sixth of the weight of the call that is made for it.
    """
    contracts, filters, published = calls.read(lambda: _listing(client.exchange_info()))
    market.learn(filters, published)
    account = calls.read(lambda: dict(client.sign_request("GET", ACCOUNT_CONFIG)))
    settings = calls.read(
        lambda: {row["symbol"]: settings_of(row) for row in client.sign_request("GET", SYMBOL_CONFIG)}
    )
    hedge = bool(account["dualSidePosition"])
    rules.cache.forget_all_but(settings, hedge=hedge)
    return Terms(
        contracts=contracts,
        settings=settings,
        position_mode=MODES[hedge],
        may_trade=bool(account["canTrade"]),
        demanded_mode=rules.position_mode,
        demanded_margin=rules.margin_type,
        rules=filters,
    )


def _listing(information: Mapping[str, Any]) -> tuple[dict[str, ContractTerms], dict[str, InstrumentFilters], Limits]:
    return contracts_of(information), *listing(information)


def contracts_of(information: Mapping[str, Any]) -> dict[str, ContractTerms]:
    """Read status and end of every contract of `exchangeInfo`; a listing of nothing says nothing."""
    contracts = {str(row["symbol"]): _contract(row) for row in information["symbols"]}
    if not contracts:
        raise ExchangeUnavailableError("exchangeInfo lists no contract")
    return contracts


def _contract(row: Mapping[str, Any]) -> ContractTerms:
    delivery = int(row.get("deliveryDate") or 0)
    return ContractTerms(
        status=str(row["status"]),
        delivers_at=from_milliseconds(delivery) if 0 < delivery < FAR_AWAY_MS else None,
        dated=PERPETUAL not in str(row.get("contractType", PERPETUAL)),
    )
