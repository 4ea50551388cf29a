"""Input and record of the guard: a proposal, the market, and one verdict for each rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from execution.domain.distances import Distance
from execution.domain.liquidation import MarginBracket
from execution.domain.money import ZERO
from execution.domain.policy import Policy
from execution.domain.quote_index import QuoteIndex
from execution.domain.reasons import Reason
from execution.domain.trading import Direction, InstrumentFilters, OrderType, Quote, SymbolLists, TimeInForce


@dataclass(frozen=True, kw_only=True)
class AskedTarget:
    """A target as asked for, by its price or by its distance. `share` is a fraction of the position."""

    price: Decimal | None
    share: Decimal
    distance: Distance | None = None


class SizeMeasure(StrEnum):
    """What a size is asked for in, where it is neither a notional nor a base quantity."""

    EQUITY_PERCENT = "EQUITY_PERCENT"
    RISK_USD = "RISK_USD"
    RISK_PERCENT = "RISK_PERCENT"


@dataclass(frozen=True, kw_only=True)
class AskedSize:
    """A size by the account's equity, or by what the stop may lose.

    `amount` is in percent of the equity (EQUITY_PERCENT, RISK_PERCENT) or in USD (RISK_USD).
    """

    measure: SizeMeasure
    amount: Decimal

    @property
    def needs_equity(self) -> bool:
        return self.measure is not SizeMeasure.RISK_USD


@dataclass(frozen=True, kw_only=True)
class AtrTerms:
    """Which ATR an entry's exits are measured by: the exchange's interval, and how many candles."""

    interval: str
    period: int


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An entry as it was asked for. Prices are in the quote asset.

    Of `notional_usd`, `base_quantity` and `size` the first that is there counts. What is None is left to the policy.
    """

    symbol: str
    direction: Direction
    order_type: OrderType
    notional_usd: Decimal | None
    base_quantity: Decimal | None
    limit_price: Decimal | None
    expected_price: Decimal | None
    leverage: int
    stop_price: Decimal | None
    target_price: Decimal | None
    confidence: Decimal | None
    # More than one target, or one for a part; then there is no `target_price`.
    targets: tuple[AskedTarget, ...] = ()
    callback_percent: Decimal | None = None
    activation_price: Decimal | None = None
    break_even: bool | None = None
    time_exit_seconds: int | None = None
    time_in_force: TimeInForce | None = None
    size: AskedSize | None = None
    # Instead of the prices of stop, target and activation.
    stop_distance: Distance | None = None
    target_distance: Distance | None = None
    activation_distance: Distance | None = None
    # None when no distance is in multiples of the ATR.
    atr: AtrTerms | None = None


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    """One rule's verdict with its numbers.

    `refusal` is set when it refuses, `before` and `after` when it adjusts.
    """

    rule: str
    numbers: str
    refusal: Reason | None = None
    before: Decimal | None = None
    after: Decimal | None = None


@dataclass
class RiskReview:
    """One run of the guard over one proposal, with the verdicts so far."""

    proposal: Proposal
    quote: Quote
    rules: InstrumentFilters
    policy: Policy
    lists: SymbolLists
    # What the account is worth with its open results, in USD; None when no rule asks for it.
    equity: Decimal | None = None
    # The symbol's maintenance margin by notional; empty when the exchange names none.
    brackets: Sequence[MarginBracket] = ()
    # What one unit of the contract's quote asset is worth; None when no index prices it, and then nothing is sized.
    index: QuoteIndex | None = None
    # In the quote asset; None when no exit is measured by it.
    atr: Decimal | None = None
    verdicts: list[RuleVerdict] = field(default_factory=list)

    def usd(self, amount: Decimal) -> Decimal:
        """Return an amount of the quote asset in USD."""
        return amount * self.index.price if self.index else ZERO

    def note(self, rule: str, numbers: str) -> None:
        self.verdicts.append(RuleVerdict(rule=rule, numbers=numbers))

    def check(self, rule: str, numbers: str, refusal: Reason, *, passed: bool) -> None:
        self.verdicts.append(RuleVerdict(rule=rule, numbers=numbers, refusal=None if passed else refusal))

    def adjust(self, rule: str, numbers: str, before: Decimal | None, after: Decimal) -> None:
        self.verdicts.append(RuleVerdict(rule=rule, numbers=numbers, before=before, after=after))
