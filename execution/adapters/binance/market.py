"""Reads what an entry is judged by: filters, book, mark price, brackets, equity; most of it is believed for a while."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar

from execution.adapters.binance import parse
from execution.adapters.binance.calls import Calls
from execution.adapters.binance.connector import Connector
from execution.adapters.rate_limit import RateLimiter
from execution.domain.liquidation import MarginBracket
from execution.domain.ports import ExchangeUnavailableError, Lane
from execution.domain.quote_index import AccountMargin
from execution.domain.trading import Quote, SymbolRules

# How long the listing of symbols and limits is believed.
LISTING_AGE_SECONDS = 300.0
# A contract that did not trade is looked at again sooner: its halt may be over.
HALTED_AGE_SECONDS = 5.0
# For the least notional, and for a collar that is percents wide.
MARK_AGE_SECONDS = 3.0
# The exchange announces new brackets days before.
BRACKETS_AGE_SECONDS = 3600.0
# An entry's size follows the equity; what others gain or lose in this time is no matter.
EQUITY_AGE_SECONDS = 5.0
# The account's mode is a setting that people change on a flat account.
MODE_AGE_SECONDS = 60.0
# What sizes and limits are converted by; one call for all assets.
ASSET_INDEX_AGE_SECONDS = 5.0
# Levels of the book on each side: as many as cost no more than its best prices alone.
BOOK_LEVELS = 50
Monotonic = Callable[[], float]
T = TypeVar("T")


class Believed(Generic[T]):
    """An answer of the exchange that is read again when it is older than `seconds`."""

    def __init__(self, read: Callable[[], T], *, seconds: float, monotonic: Monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._monotonic = monotonic
        self._known: tuple[T, float] | None = None

    def value(self, *, at_most_seconds: float | None = None) -> T:
        """Return it, at most so old; raises what reading it raises, and then what was known stays known."""
        age = self._seconds if at_most_seconds is None else at_most_seconds
        if self._known is None or self._monotonic() >= self._known[1] + age:
            self._known = self._read(), self._monotonic()
        return self._known[0]

    def forget(self) -> None:
        self._known = None


class Market:
    """One instance a client."""

    def __init__(
        self,
        client: Connector,
        calls: Calls,
        limiter: RateLimiter,
        *,
        window: Mapping[str, Any],
        monotonic: Monotonic,
    ) -> None:
        self._client = client
        self._calls = calls
        self._limiter = limiter
        self._window = window
        self._monotonic = monotonic
        self._index_rests_until = float("-inf")
        self._listing = Believed(self._read_listing, seconds=LISTING_AGE_SECONDS, monotonic=monotonic)
        self._marks = Believed(self._read_marks, seconds=MARK_AGE_SECONDS, monotonic=monotonic)
        self._brackets = Believed(self._read_brackets, seconds=BRACKETS_AGE_SECONDS, monotonic=monotonic)
        self._equity = Believed(self._read_equity, seconds=EQUITY_AGE_SECONDS, monotonic=monotonic)
        self._multi_assets = Believed(self._read_multi_assets, seconds=MODE_AGE_SECONDS, monotonic=monotonic)
        self._asset_index = Believed(self._read_asset_index, seconds=ASSET_INDEX_AGE_SECONDS, monotonic=monotonic)

    def rules(self, symbol: str) -> SymbolRules | None:
        rules = self._listing.value().get(symbol)
        if rules is None or rules.trading:
            return rules
        return self._listing.value(at_most_seconds=HALTED_AGE_SECONDS).get(symbol)

    def forget_rules(self) -> None:
        """Read the listing anew before the next entry: the exchange refuses by other terms than we know."""
        self._listing.forget()

    def quote(self, symbol: str) -> Quote:
        marks = self._marks.value()
        if symbol not in marks:
            # Perhaps listed since.
            self._marks.forget()
            raise ExchangeUnavailableError(f"no mark price of {symbol}")
        return self._calls.read(
            lambda: parse.quote(symbol, self._client.depth(symbol, limit=BOOK_LEVELS), marks[symbol]), lane=Lane.ENTRY
        )

    def margin_brackets(self, symbol: str) -> Sequence[MarginBracket]:
        return self._brackets.value().get(symbol, ())

    def equity(self) -> AccountMargin:
        return self._equity.value()

    def asset_index(self) -> Mapping[str, Decimal]:
        """Return it, or raise at once for a while after it could not be read: entries do not queue behind an outage."""
        if self._monotonic() < self._index_rests_until:
            raise ExchangeUnavailableError("the asset index could not be read a moment ago")
        try:
            return self._asset_index.value()
        except ExchangeUnavailableError:
            self._index_rests_until = self._monotonic() + ASSET_INDEX_AGE_SECONDS
            raise

    def _read_listing(self) -> dict[str, SymbolRules]:
        rules, limits = self._calls.read(lambda: parse.listing(self._client.exchange_info()))
        self._limiter.learn_limits(limits)
        return rules

    def _read_marks(self) -> dict[str, Decimal]:
        return self._calls.read(lambda: parse.mark_prices(self._client.mark_price()), lane=Lane.ENTRY)

    def _read_brackets(self) -> dict[str, tuple[MarginBracket, ...]]:
        return self._calls.read(
            lambda: parse.margin_brackets(self._client.leverage_brackets(**self._window)), lane=Lane.ENTRY
        )

    def _read_equity(self) -> AccountMargin:
        multi = self._multi_assets.value()
        return self._calls.read(
            lambda: parse.account_margin(self._client.account(**self._window), multi_assets=multi), lane=Lane.ENTRY
        )

    def _read_multi_assets(self) -> bool:
        return self._calls.read(
            lambda: parse.multi_assets(self._client.get_multi_asset_mode(**self._window)), lane=Lane.ENTRY
        )

    def _read_asset_index(self) -> dict[str, Decimal]:
        return self._calls.read(lambda: parse.asset_index(self._client.asset_Index()), lane=Lane.ENTRY)
