"""Reads the market data that decides on an entry: filters, book, mark price, brackets, equity.

Most of it is cached for a while, see the ages below.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import Generic, TypeVar

from execution.adapters.binance import parse
from execution.adapters.binance.calls import ApiCaller
from execution.adapters.binance.connector import Connector
from execution.adapters.binance.settings_cache import SettingsCache
from execution.adapters.rate_limit import RateLimiter
from execution.domain.liquidation import MarginBracket
from execution.domain.ports import ExchangeUnavailableError, Lane
from execution.domain.quote_index import AccountMargin
from execution.domain.rate_limits import Limits
from execution.domain.trading import InstrumentFilters, Quote

# How long the listing of symbols and limits is cached.
LISTING_AGE_SECONDS = 300.0
# A contract that did not trade is read again sooner: its halt may be over.
HALTED_AGE_SECONDS = 5.0
# For the least notional, and for a collar that is percents wide.
MARK_AGE_SECONDS = 3.0
# The exchange announces new brackets days before.
BRACKETS_AGE_SECONDS = 3600.0
# An entry's size follows the equity. Gains and losses of other positions in this time do not matter.
EQUITY_AGE_SECONDS = 5.0
# The account's mode is a setting that people change on a flat account.
MODE_AGE_SECONDS = 60.0
# What sizes and limits are converted by; one call for all assets, of weight 10. After a failure it rests.
ASSET_INDEX_AGE_SECONDS, ASSET_INDEX_REST_SECONDS = 60.0, 5.0
# Levels of the book on each side: as many as cost no more than its best prices alone.
BOOK_LEVELS = 50
Monotonic = Callable[[], float]
# An entry or a stop does not wait for a Redis that hangs, more than once in a while.
SLOW_SECONDS, LEFT_ALONE_SECONDS = 0.2, 5.0
# Stands for a listing that no process has read, when an order was refused by its filters.
REFUSED_BY = "refused"
R = TypeVar("R")
T = TypeVar("T")


class TtlCache(Generic[T]):
    """A cached answer of the exchange, which is read again when it is older than `seconds`."""

    def __init__(self, read: Callable[[], T], *, seconds: float, monotonic: Monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._monotonic = monotonic
        self._known: tuple[T, float] | None = None

    def value(self, *, at_most_seconds: float | None = None) -> T:
        """Return the answer, at most so old. Raises what reading it raises, and keeps the old answer then."""
        age = self._seconds if at_most_seconds is None else at_most_seconds
        if self._known is None or self._monotonic() >= self._known[1] + age:
            self._known = self._read(), self._monotonic()
        return self._known[0]

    def learn(self, value: T) -> None:
        """Store an answer that was read elsewhere."""
        self._known = value, self._monotonic()

    def forget(self) -> None:
        self._known = None


class _SharedDigest:
    """The digest of the listing that some process has read last, shared through Redis.

    A Redis that is slow or does not answer is not asked again for a while.
    """

    def __init__(self, cache: SettingsCache, monotonic: Monotonic) -> None:
        self._cache = cache
        self._monotonic = monotonic
        self._not_before = -inf

    def listing(self) -> str | None:
        return self._in_time(self._cache.listing)

    def publish(self, digest: str) -> None:
        self._in_time(lambda: self._cache.remember_listing(digest))

    def _in_time(self, question: Callable[[], R]) -> R | None:
        begun = self._monotonic()
        if begun < self._not_before:
            return None
        answer = question()
        if self._monotonic() - begun > SLOW_SECONDS:
            self._not_before = self._monotonic() + LEFT_ALONE_SECONDS
        return answer


class Market:
    """Reads and caches market data for one client."""

    def __init__(
        self,
        client: Connector,
        calls: ApiCaller,
        limiter: RateLimiter,
        *,
        window: Mapping[str, int],
        monotonic: Monotonic,
        cache: SettingsCache,
    ) -> None:
        self._client = client
        self._calls = calls
        self._limiter = limiter
        self._window = window
        self._monotonic = monotonic
        self._index_rests_until = float("-inf")
        self._shared = _SharedDigest(cache, monotonic)
        # Digest of the listing that this process has read or seen shared. Empty while it has read none.
        self._digest = ""
        self._listing = TtlCache(self._read_listing, seconds=LISTING_AGE_SECONDS, monotonic=monotonic)
        self._marks = TtlCache(self._read_marks, seconds=MARK_AGE_SECONDS, monotonic=monotonic)
        self._brackets = TtlCache(self._read_brackets, seconds=BRACKETS_AGE_SECONDS, monotonic=monotonic)
        self._equity = TtlCache(self._read_equity, seconds=EQUITY_AGE_SECONDS, monotonic=monotonic)
        self._multi_assets = TtlCache(self._read_multi_assets, seconds=MODE_AGE_SECONDS, monotonic=monotonic)
        self._asset_index = TtlCache(self._read_asset_index, seconds=ASSET_INDEX_AGE_SECONDS, monotonic=monotonic)

    def rules(self, symbol: str) -> InstrumentFilters | None:
        self._follow_others()
        rules = self._listing.value().get(symbol)
        if rules is None or rules.trading:
            return rules
        return self._listing.value(at_most_seconds=HALTED_AGE_SECONDS).get(symbol)

    def known_rules(self, symbol: str) -> InstrumentFilters | None:
        """Return the filters as last read, however long ago, unless another process has read others since.

        None when this process has never read any.
        """
        self._follow_others()
        return self._listing.value(at_most_seconds=inf).get(symbol) if self._digest else None

    def learn(self, rules: dict[str, InstrumentFilters], limits: Limits) -> None:
        """Store a listing that was just read, and share its digest so that the other processes read it too."""
        self._limiter.learn_limits(limits)
        self._listing.learn(rules)
        self._publish(rules)

    def _follow_others(self) -> None:
        """Forget the listing, once, when another process has read one that differs."""
        if not self._digest:
            return
        shared = self._shared.listing()
        if shared and shared != self._digest:
            self._digest = shared
            self._listing.forget()

    def forget_rules(self) -> None:
        """Read the listing again before the next entry: the exchange has refused an order by other terms."""
        self._digest = self._digest or REFUSED_BY
        self._listing.forget()

    def quote(self, symbol: str) -> Quote:
        marks = self._marks.value()
        if symbol not in marks:
            # The symbol may have been listed since.
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
        """Return the asset index.

        After it could not be read it raises at once for a while: entries do not queue behind an outage.
        """
        if self._monotonic() < self._index_rests_until:
            raise ExchangeUnavailableError("the asset index could not be read a moment ago")
        try:
            return self._asset_index.value()
        except ExchangeUnavailableError:
            self._index_rests_until = self._monotonic() + ASSET_INDEX_REST_SECONDS
            raise

    def _read_listing(self) -> dict[str, InstrumentFilters]:
        # A stop may wait for it.
        rules, limits = self._calls.read(lambda: parse.listing(self._client.exchange_info()), lane=Lane.CLOSE)
        self._limiter.learn_limits(limits)
        self._publish(rules)
        return rules

    def _publish(self, rules: Mapping[str, InstrumentFilters]) -> None:
        text = repr(sorted(rules.items(), key=lambda item: item[0]))
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self._shared.publish(self._digest)

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
