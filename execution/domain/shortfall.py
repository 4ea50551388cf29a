"""Implementation shortfall: what executing a decision has cost, and by what. Pure.

The paper trade buys (or sells short) the whole approved quantity at the decision's price, without any cost, and leaves
it at the price at which the real trade was left. The shortfall is what the real trade earned less than that. Its parts
add up to it exactly. What cannot be known is None and never zero.
"""

from dataclasses import dataclass, fields
from decimal import Decimal, localcontext
from enum import StrEnum

from execution.domain.money import BASIS_POINTS, ZERO

# Finer than any asset's amounts, coarser than what the database keeps.
GRID = Decimal("1E-12")
# Room for products of prices and quantities with all their digits.
DIGITS = 80


class Benchmark(StrEnum):
    """What a trade is compared with: the decision's price, the book at its arrival, or nothing."""

    DECISION = "decision"
    ARRIVAL = "arrival"
    UNKNOWN = "unknown"


class TradeSize(StrEnum):
    """Classes of trades by their notional in USD."""

    UP_TO_1K = "<1k"
    UP_TO_10K = "1k-10k"
    UP_TO_100K = "10k-100k"
    ABOVE = ">=100k"


CLASSES = (
    (Decimal(1000), TradeSize.UP_TO_1K),
    (Decimal(10_000), TradeSize.UP_TO_10K),
    (Decimal(100_000), TradeSize.UP_TO_100K),
)


@dataclass(frozen=True, kw_only=True)
class BestPrices:
    """Best bid and ask of the book that the guard has read."""

    bid: Decimal
    ask: Decimal


@dataclass(frozen=True, kw_only=True)
class Execution:
    """A closed trade as its books have it, in the quote asset and the base asset.

    `sign`: 1 for a long, -1 for a short. `entry_value`: price times quantity, summed over the entry's fills; None where
    fills of the entry are missing, as for a position that was opened elsewhere. `wanted`: the approved quantity.
    """

    sign: int
    wanted: Decimal
    filled: Decimal
    entry_value: Decimal | None
    exit_price: Decimal
    decision_price: Decimal | None
    arrival: BestPrices | None
    gross_pnl: Decimal
    fees: Decimal
    funding: Decimal
    other_income: Decimal


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where a shortfall comes from, in the quote asset. Costs are positive, gains negative.

    `delay`: from the decision's price to the middle of the book at its arrival. `spread`: from there to the best price.
    `impact`: from there to the fills, with what the market has moved meanwhile. `unsplit`: these three together, where
    the book at the arrival was not stored. `missed`: what was not filled. `funding`: what was paid. `other`: insurance,
    and what the exchange's rounding of results leaves.
    """

    delay: Decimal | None = None
    spread: Decimal | None = None
    impact: Decimal | None = None
    unsplit: Decimal | None = None
    missed: Decimal | None = None
    fees: Decimal
    funding: Decimal
    other: Decimal | None = None

    def total(self) -> Decimal:
        """Return the sum of what is known."""
        with localcontext(prec=DIGITS):
            return sum((amount for field in fields(self) if (amount := getattr(self, field.name)) is not None), ZERO)


@dataclass(frozen=True, kw_only=True)
class TradeShortfall:
    """A trade's shortfall in the quote asset, positive where execution has cost something.

    Price and total are None without a benchmark. `missed_quantity` is in the base asset.
    """

    benchmark: Benchmark
    benchmark_price: Decimal | None
    total: Decimal | None
    parts: Parts
    missed_quantity: Decimal


def shortfall_of(trade: Execution) -> TradeShortfall:
    """Split what a trade earned less than its paper trade: `sign * (exit - benchmark) * wanted - net`."""
    with localcontext(prec=DIGITS):
        return _split(trade)


def _split(trade: Execution) -> TradeShortfall:
    missed_quantity = max(ZERO, trade.wanted - trade.filled)
    benchmark, price = _benchmark(trade)
    if price is None or trade.entry_value is None:
        costs = Parts(fees=trade.fees, funding=-trade.funding)
        return TradeShortfall(
            benchmark=Benchmark.UNKNOWN,
            benchmark_price=None,
            total=None,
            parts=costs,
            missed_quantity=missed_quantity,
        )
    gained = trade.sign * (trade.exit_price - price)
    net = trade.gross_pnl - trade.fees + trade.funding + trade.other_income
    total = (gained * (trade.filled + missed_quantity) - net).quantize(GRID)
    known = _known(trade, price, benchmark, trade.entry_value, (gained * missed_quantity).quantize(GRID))
    return TradeShortfall(
        benchmark=benchmark,
        benchmark_price=price,
        total=total,
        # What the exchange has rounded ends here, so that no digit is lost.
        parts=Parts(**{**vars(known), "other": total - known.total()}),
        missed_quantity=missed_quantity,
    )


def _benchmark(trade: Execution) -> tuple[Benchmark, Decimal | None]:
    if trade.decision_price is not None:
        return Benchmark.DECISION, trade.decision_price
    if trade.arrival is not None:
        return Benchmark.ARRIVAL, (trade.arrival.bid + trade.arrival.ask) / 2
    return Benchmark.UNKNOWN, None


def _known(trade: Execution, price: Decimal, benchmark: Benchmark, entry_value: Decimal, missed: Decimal) -> Parts:
    """Return all parts but the rest."""
    paid = trade.sign * entry_value
    if trade.arrival is None:
        unsplit = (paid - trade.sign * price * trade.filled).quantize(GRID)
        return Parts(unsplit=unsplit, missed=missed, fees=trade.fees, funding=-trade.funding)
    middle = (trade.arrival.bid + trade.arrival.ask) / 2
    best = trade.arrival.ask if trade.sign > 0 else trade.arrival.bid
    delay = (trade.sign * (middle - price) * trade.filled).quantize(GRID)
    return Parts(
        # Without a price of its own the decision is compared with the book that it met.
        delay=delay if benchmark is Benchmark.DECISION else None,
        spread=(trade.sign * (best - middle) * trade.filled).quantize(GRID),
        impact=(paid - trade.sign * best * trade.filled).quantize(GRID),
        missed=missed,
        fees=trade.fees,
        funding=-trade.funding,
    )


def size_of(notional_usd: Decimal | None) -> TradeSize | None:
    """Return the class of a notional in USD, None where that is not known."""
    if notional_usd is None:
        return None
    return next((size for bound, size in CLASSES if notional_usd < bound), TradeSize.ABOVE)


def in_basis_points(amount: Decimal | None, notional: Decimal) -> Decimal | None:
    """Return an amount in basis points of a notional, None where either is not known."""
    if amount is None or not notional:
        return None
    return (amount / notional * BASIS_POINTS).quantize(Decimal("0.01"))
