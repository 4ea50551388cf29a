"""Values that several unit tests start from; each is valid, so that a test changes only what it is about."""

from decimal import Decimal

from execution.domain.depth import Level
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import HELD, Circuit, CircuitState, Counter, CounterState, LimiterState
from execution.domain.trading import InstrumentFilters, Quote

BTCUSDT = InstrumentFilters(
    symbol="BTCUSDT",
    trading=True,
    quote_asset="USDT",
    margin_asset="USDT",
    tick_size=Decimal("0.10"),
    min_price=Decimal("556.80"),
    max_price=Decimal(4529764),
    limit_step=Decimal("0.001"),
    limit_min_quantity=Decimal("0.001"),
    limit_max_quantity=Decimal(1000),
    market_step=Decimal("0.001"),
    market_min_quantity=Decimal("0.001"),
    market_max_quantity=Decimal(120),
    min_notional=Decimal(5),
)


def limiter_state(*, limit: int = 1200, used: int = 0, banned_seconds: float = 0.0) -> LimiterState:
    """A limiter whose counters all stand alike."""
    counter = CounterState(limit=limit, used=used, reported_by_exchange=used, expected_of_others=0, known=True)
    return LimiterState(
        counters=dict.fromkeys(Counter, counter),
        holds=dict.fromkeys(HELD, 0.0) | {Waits.EVERYBODY: banned_seconds},
        waiting=2,
        granted=dict.fromkeys(Lane, 5),
        refused=dict.fromkeys(Lane, 1),
        clock_offset_ms=3,
    )


def circuit(state: CircuitState = CircuitState.CLOSED) -> Circuit:
    """A breaker; when it is not closed, after five faults."""
    if state is CircuitState.CLOSED:
        return Circuit(state=state, probe_due_seconds=0.0, faults=0, times_opened=0)
    return Circuit(state=state, probe_due_seconds=4.0, faults=5, times_opened=1)


def quote(bid: str = "50000", ask: str = "50000", mark: str = "50000") -> Quote:
    """The book of BTCUSDT, of one deep level a side and without a spread unless one is asked for."""
    return Quote(symbol="BTCUSDT", bids=levels(bid), asks=levels(ask), mark=Decimal(mark))


def levels(*texts: str) -> tuple[Level, ...]:
    """One side of a book: `price` with very much on it, or `price x quantity`, best first."""
    parts = (text.partition("x") for text in texts)
    return tuple(Level(price=Decimal(price), quantity=Decimal(quantity or 10**9)) for price, _, quantity in parts)
