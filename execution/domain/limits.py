"""The limits over all positions together. Pure: usage is an argument, so a verdict can be replayed."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from execution.domain import policy as keys
from execution.domain.money import ONE, ZERO, plain
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict


@dataclass(frozen=True, kw_only=True)
class OrderImpact:
    """What one entry adds in USD: its notional, and what its stop may lose.

    Without a stop all of the notional may be lost. A fill worse than the stop's level is not in the figure.
    """

    symbol: str
    notional: Decimal
    risk: Decimal

    @staticmethod
    def of(
        symbol: str, *, quantity: Decimal, price: Decimal, stop_price: Decimal, usd_per_quote: Decimal = ONE
    ) -> "OrderImpact":
        """Return the stake of prices in a quote asset that is worth `usd_per_quote`."""
        # No stop is a stop at 0.
        distance = abs(price - stop_price)
        return OrderImpact(
            symbol=symbol, notional=quantity * price * usd_per_quote, risk=quantity * distance * usd_per_quote
        )


@dataclass(frozen=True, kw_only=True)
class LimitUsage:
    """What is used already when an entry is judged. Amounts are in USD.

    `exposure` and `open_risk` are of all positions that are open or opening, by their slots. The day is UTC's:
    `day_result` is the net PnL of its closed trades, less what is assumed for amounts without a price, `day_peak` the
    best that this sum has been (0 at midnight), `open_loss` the losing positions' unrealised PnL (0 or less) as
    reconciliation last read it.
    """

    positions: int
    exposure: Decimal
    symbol_exposure: Decimal
    open_risk: Decimal
    entries_last_minute: int
    day_result: Decimal
    day_peak: Decimal
    open_loss: Decimal
    # Who has the symbol and side; whose outcome in the symbol is unknown.
    held_by: str = ""
    unsettled: str = ""
    # Symbols of positions and closed trades of the day whose amounts no index has ever priced: not in the sums above.
    unpriced: str = ""
    # Seconds since the last of its kind; None: not within the window.
    look_alike_age: Decimal | None = None
    stopped_out_age: Decimal | None = None


def judge_limits(stake: OrderImpact, usage: LimitUsage, policy: Policy) -> tuple[RuleVerdict, ...]:
    """Check one entry against every limit. Limits are inclusive, and verdicts show the use with it."""
    # Sums in USD that are not whole take no entry.
    numbers = f"unpriced={usage.unpriced or 'none'}"
    priced = _verdict("usage_in_usd", numbers, Reason.QUOTE_ASSET_UNPRICED, passed=not usage.unpriced)
    return (*_alone(stake, usage, policy), priced, *_within(stake, usage, policy))


def _alone(stake: OrderImpact, usage: LimitUsage, policy: Policy) -> Iterator[RuleVerdict]:
    symbol = f"symbol={stake.symbol}"
    unknown = f"{symbol} unknown_since={usage.unsettled}" if usage.unsettled else symbol
    yield _verdict("no_unsettled_entry", unknown, Reason.ENTRY_UNSETTLED, passed=not usage.unsettled)
    yield _pause("look_alike", usage.look_alike_age, policy[keys.LOOK_ALIKE_WINDOW], Reason.LOOK_ALIKE_DECISION)
    held = f"{symbol} held_by={usage.held_by}" if usage.held_by else symbol
    yield _verdict("one_open_trade", held, Reason.OPEN_TRADE_EXISTS, passed=not usage.held_by)
    pause = policy[keys.STOP_OUT_PAUSE]
    yield _pause("stop_out_pause", usage.stopped_out_age, pause, Reason.SYMBOL_PAUSED_AFTER_STOP)


def _within(stake: OrderImpact, usage: LimitUsage, policy: Policy) -> Iterator[RuleVerdict]:
    lost = max(ZERO, -usage.day_result)
    fallen = usage.day_peak - usage.day_result - usage.open_loss
    table = (
        ("max_positions", keys.MAX_POSITIONS, usage.positions + 1, Reason.POSITIONS_EXCEED_LIMIT),
        (
            "symbol_exposure",
            keys.MAX_SYMBOL_EXPOSURE,
            usage.symbol_exposure + stake.notional,
            Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT,
        ),
        (
            "total_exposure",
            keys.MAX_TOTAL_EXPOSURE,
            usage.exposure + stake.notional,
            Reason.TOTAL_EXPOSURE_EXCEEDS_LIMIT,
        ),
        ("entry_rate", keys.MAX_ENTRIES_PER_MINUTE, usage.entries_last_minute + 1, Reason.ENTRIES_EXCEED_RATE),
        ("open_risk", keys.MAX_OPEN_RISK, usage.open_risk + stake.risk, Reason.OPEN_RISK_EXCEEDS_LIMIT),
        ("daily_loss", keys.MAX_DAILY_LOSS, lost + usage.open_risk + stake.risk, Reason.DAILY_LOSS_EXCEEDS_LIMIT),
        ("daily_drawdown", keys.MAX_DAILY_DRAWDOWN, fallen, Reason.DRAWDOWN_EXCEEDS_LIMIT),
    )
    for rule, key, actual, refusal in table:
        numbers = f"expected<={plain(policy[key])} actual={plain(Decimal(actual))}"
        if key == keys.MAX_DAILY_LOSS:
            numbers += f" lost={plain(lost)} open_risk={plain(usage.open_risk)} this_risk={plain(stake.risk)}"
        yield _verdict(rule, numbers, refusal, passed=actual <= policy[key])


def _pause(rule: str, age: Decimal | None, pause: Decimal, refusal: Reason) -> RuleVerdict:
    """Refuse what comes sooner than `pause` after the last one. Exactly at its end it passes."""
    actual = "none" if age is None else f"{plain(age)}s"
    return _verdict(rule, f"expected>={plain(pause)}s actual={actual}", refusal, passed=age is None or age >= pause)


def _verdict(rule: str, numbers: str, refusal: Reason, *, passed: bool) -> RuleVerdict:
    return RuleVerdict(rule=rule, numbers=numbers, refusal=None if passed else refusal)
