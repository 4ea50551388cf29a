"""Reads the terms of all contracts and the account's settings: three calls, of little weight."""

from datetime import UTC, datetime

from execution.adapters.binance.calls import ApiCaller
from execution.adapters.binance.connector import Connector
from execution.adapters.binance.market import Market
from execution.adapters.binance.parse import from_milliseconds, listing
from execution.adapters.binance.rows import Row
from execution.adapters.binance.setup import ACCOUNT_CONFIG, MODES, SYMBOL_CONFIG, SetupRules, settings_of
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.rate_limits import Limits
from execution.domain.trading import InstrumentFilters
from execution.domain.venue_status import ContractTerms, Terms

# A perpetual contract's delivery is set to the end of the year 2100 until its real one is announced.
FAR_AWAY_MS = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
PERPETUAL = "PERPETUAL"


def read_terms(client: Connector, calls: ApiCaller, market: Market, rules: SetupRules) -> Terms:
    """Read the terms, and share filters, limits and settings with all processes.

    Redis may have lost what was shared before. `accountConfig` contains the position mode for a sixth of the weight of
    the call that is made for it.
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
