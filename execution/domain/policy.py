"""Every policy key that the service knows: unit, default, bounds and which way it loosens.

What is out of bounds is never applied. What loosens needs more than an announcement: see `risk/policy_store.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from execution.domain.bounds import number_of, rounded

MOST_SHOWN = 100


class Looser(StrEnum):
    """Which way a value takes on more risk.

    EITHER: every change counts, because it moves orders or has no order.
    """

    HIGHER = "higher"
    LOWER = "lower"
    EITHER = "either"


@dataclass(frozen=True, kw_only=True)
class PolicyKey:
    """One tunable number, with its unit and inclusive bounds.

    `whole`: the number chooses among meanings. `looser`: which way it takes on more risk. `zero_is_off`: 0 stands for
    no limit at all, so it is the loosest.
    """

    name: str
    unit: str
    default: Decimal
    minimum: Decimal
    maximum: Decimal
    meaning: str
    looser: Looser
    whole: bool = False
    zero_is_off: bool = False


def _key(
    name: str,
    unit: str,
    default: str,
    bounds: tuple[str, str],
    meaning: str,
    looser: Looser = Looser.HIGHER,
    *,
    whole: bool = False,
    zero_is_off: bool = False,
) -> PolicyKey:
    return PolicyKey(
        name=name,
        unit=unit,
        default=Decimal(default),
        minimum=Decimal(bounds[0]),
        maximum=Decimal(bounds[1]),
        meaning=meaning,
        looser=looser,
        whole=whole,
        zero_is_off=zero_is_off,
    )


MAX_SLIPPAGE = "execution.max_slippage_pct"
MIN_STOP_DISTANCE = "execution.min_sl_distance_pct"
MAX_STOP_DISTANCE = "execution.max_sl_distance_pct"
MIN_TARGET_DISTANCE = "execution.min_tp_distance_pct"
MAX_TARGET_DISTANCE = "execution.max_tp_distance_pct"
CROSSING_TOLERANCE = "execution.min_sl_buffer_pct"
STOP_BUFFER = "execution.sl_adjustment_buffer_pct"
STOP_OVERDUE_TICKS = "execution.stop_overdue_ticks"
STOP_OVERDUE_FRACTION = "execution.stop_overdue_pct"
STOP_OVERDUE_SECONDS = "execution.stop_overdue_sec"
STOP_UNAVAILABLE = "execution.stop_unavailable"
SYMBOL_RELEASE_SECONDS = "execution.symbol_release_sec"
DEFAULT_STOP = "execution.default_sl_pct"
DEFAULT_TARGET = "execution.default_tp_pct"
DEFAULT_TRAIL = "execution.default_trailing_pct"
DEFAULT_TIME_EXIT = "execution.default_time_exit_sec"
LIMIT_ENTRY_MAX_AGE = "execution.limit_entry_max_age_sec"
NO_ENTRY_BEFORE_END = "execution.no_entry_before_end_hours"
CLOSE_BEFORE_END = "execution.close_before_end_hours"
BREAK_EVEN = "execution.break_even"
BREAK_EVEN_BUFFER = "execution.break_even_buffer_pct"
ALLOW_NO_STOP = "execution.allow_no_stop"
MAX_ORDER_RETRIES = "execution.max_order_retries"
RETRY_BASE = "execution.retry_backoff_base_sec"
RETRY_MAX = "execution.max_retry_backoff_sec"
MAX_LEVERAGE = "risk.max_leverage"
MAX_POSITIONS = "risk.max_positions"
MIN_CONFIDENCE = "risk.global_min_confidence"
MAX_ORDER_NOTIONAL = "risk.max_order_notional_usd"
MAX_SYMBOL_EXPOSURE = "risk.max_symbol_exposure_usd"
MAX_TOTAL_EXPOSURE = "risk.max_total_exposure_usd"
MAX_ENTRIES_PER_MINUTE = "risk.max_entries_per_minute"
MAX_OPEN_RISK = "risk.max_open_risk_usd"
MAX_DAILY_LOSS = "risk.max_daily_loss_usd"
MAX_DAILY_DRAWDOWN = "risk.max_daily_drawdown_usd"
LOOK_ALIKE_WINDOW = "risk.look_alike_window_sec"
STOP_OUT_PAUSE = "risk.stop_out_pause_sec"
MAX_PRICE_DEVIATION = "risk.max_mark_deviation_pct"
MAINTENANCE_MARGIN = "risk.maintenance_margin_pct"
SIZING_MODE = "risk.sizing_mode"
EQUITY_FRACTION = "risk.equity_fraction_per_trade"
RISK_PER_TRADE = "risk.risk_per_trade_usd"
TAKER_FEE = "risk.taker_fee_pct"
STOP_SLIPPAGE = "risk.stop_slippage_pct"

KEYS: Mapping[str, PolicyKey] = MappingProxyType(
    {
        key.name: key
        for key in (
            _key(MAX_SLIPPAGE, "fraction", "0.005", ("0", "0.05"), "worse than planned by at most; halved above 10x"),
            _key(
                MIN_STOP_DISTANCE,
                "fraction",
                "0.001",
                ("0", "0.05"),
                "a nearer stop is moved to this distance",
                Looser.EITHER,
            ),
            _key(MAX_STOP_DISTANCE, "fraction", "0.10", ("0.001", "0.5"), "a farther stop refuses the order"),
            _key(
                MIN_TARGET_DISTANCE,
                "fraction",
                "0.001",
                ("0", "0.05"),
                "a nearer target is moved to this distance",
                Looser.EITHER,
            ),
            _key(MAX_TARGET_DISTANCE, "fraction", "0.50", ("0.001", "10"), "a farther target is noted, not refused"),
            _key(CROSSING_TOLERANCE, "fraction", "0.001", ("0", "0.01"), "a crossing up to this is adjusted"),
            _key(
                STOP_BUFFER,
                "fraction",
                "0.001",
                ("0", "0.01"),
                "a stop whose level has just passed is sent once more this far beyond it; 0: closed at once",
            ),
            _key(
                STOP_OVERDUE_TICKS,
                "ticks",
                "2",
                ("0", "1000"),
                "a stop is overdue when the mark price is this far past it, or the fraction below when that is more",
            ),
            _key(STOP_OVERDUE_FRACTION, "fraction", "0.0002", ("0", "0.01"), "the same as a fraction of its price"),
            _key(
                STOP_OVERDUE_SECONDS,
                "seconds",
                "2",
                ("0.5", "60"),
                "for so long; then its position counts as unprotected and is closed at market",
            ),
            _key(
                STOP_UNAVAILABLE,
                "0, 1 or 2",
                "1",
                ("0", "2"),
                "a position without its stop at the exchange is 0: closed at market; 1: held by a software stop while"
                " the exchange takes none, closed where it refuses this one; 2: held in both cases",
                whole=True,
            ),
            _key(
                SYMBOL_RELEASE_SECONDS,
                "seconds",
                "30",
                ("5", "86400"),
                "a closed trade gives its symbol back by then, also beside an order of it that does not end",
                Looser.LOWER,
            ),
            _key(
                DEFAULT_STOP,
                "fraction",
                "0.025",
                ("0", "0.5"),
                "stop distance from the entry when a decision brings none; 0: no stop",
                zero_is_off=True,
            ),
            _key(
                ALLOW_NO_STOP,
                "0 or 1",
                "0",
                ("0", "1"),
                "1: a decision may end without any stop; 0: it is refused",
                whole=True,
            ),
            _key(
                DEFAULT_TARGET,
                "fraction",
                "0.06",
                ("0.001", "0.9"),
                "target distance from the entry when a decision brings none",
                Looser.EITHER,
            ),
            _key(
                DEFAULT_TRAIL,
                "fraction",
                "0",
                ("0", "0.2"),
                "trailing stop's distance when a decision brings none; 0: no trailing",
                zero_is_off=True,
            ),
            _key(
                BREAK_EVEN,
                "0 or 1",
                "0",
                ("0", "1"),
                "1: the first target moves the stop to the entry",
                Looser.LOWER,
                whole=True,
            ),
            _key(
                BREAK_EVEN_BUFFER,
                "fraction",
                "0.001",
                ("0", "0.02"),
                "how far beyond the entry that stop lies, for the fees of both sides",
                Looser.LOWER,
            ),
            _key(
                DEFAULT_TIME_EXIT,
                "seconds",
                "0",
                ("0", "31536000"),
                "a position is closed at market this long after its first fill; 0: never",
                zero_is_off=True,
            ),
            _key(
                LIMIT_ENTRY_MAX_AGE,
                "seconds",
                "3600",
                ("0", "31536000"),
                "a LIMIT entry without a time of its own is cancelled this long after its decision; 0: never",
                zero_is_off=True,
            ),
            _key(
                NO_ENTRY_BEFORE_END,
                "hours",
                "24",
                ("0", "2160"),
                "a dated contract takes no entry this long before its delivery, nor when it would have to be closed",
                Looser.LOWER,
            ),
            _key(
                CLOSE_BEFORE_END,
                "hours",
                "0",
                ("0", "720"),
                "a position is closed at market this long before the end of its contract, dated or announced; 0: never",
                Looser.EITHER,
            ),
            _key(
                MAX_ORDER_RETRIES,
                "attempts",
                "3",
                ("1", "5"),
                "sends of one order while refusal is proven",
                Looser.EITHER,
            ),
            _key(RETRY_BASE, "seconds", "0.2", ("0", "5"), "first wait between those attempts", Looser.EITHER),
            _key(RETRY_MAX, "seconds", "2", ("0", "10"), "longest wait between those attempts", Looser.EITHER),
            _key(MAX_LEVERAGE, "times", "20", ("1", "125"), "a higher leverage refuses the order"),
            _key(
                MAX_POSITIONS,
                "positions",
                "30",
                ("0", "10000"),
                "open or opening positions; the exchange has room for 100 stops and targets",
            ),
            _key(MIN_CONFIDENCE, "fraction", "0", ("0", "1"), "an AI decision below this is refused", Looser.LOWER),
            _key(MAX_ORDER_NOTIONAL, "USD", "10000", ("0", "10000000"), "a larger order is refused"),
            _key(
                MAX_SYMBOL_EXPOSURE,
                "USD",
                "1000000",
                ("0", "100000000"),
                "notional open or opening in one symbol, both sides together",
            ),
            _key(
                MAX_TOTAL_EXPOSURE,
                "USD",
                "10000000",
                ("0", "1000000000"),
                "notional open or opening in all symbols, longs and shorts added up",
            ),
            _key(
                MAX_ENTRIES_PER_MINUTE,
                "entries",
                "1200",
                ("0", "100000"),
                "entries approved within the last 60 seconds, but for those that were stopped before sending",
            ),
            _key(
                MAX_OPEN_RISK,
                "USD",
                "1000000000",
                ("0", "1000000000"),
                "what the stops of all positions, open or opening, may lose together",
            ),
            _key(
                MAX_DAILY_LOSS,
                "USD",
                "1000000000",
                ("0", "1000000000"),
                "net loss of the trades closed in this UTC day plus what all open stops may add, this entry's too",
            ),
            _key(
                MAX_DAILY_DRAWDOWN,
                "USD",
                "1000000000",
                ("0", "1000000000"),
                "fall from the UTC day's best net result of closed trades, open losses included",
            ),
            _key(
                LOOK_ALIKE_WINDOW,
                "seconds",
                "0",
                ("0", "3600"),
                "a decision of the same symbol, side and size is refused for this long after the last; 0: never",
                Looser.LOWER,
            ),
            _key(
                STOP_OUT_PAUSE,
                "seconds",
                "0",
                ("0", "86400"),
                "a symbol is left alone for this long after a stop or a liquidation; 0: never",
                Looser.LOWER,
            ),
            _key(
                MAX_PRICE_DEVIATION,
                "fraction",
                "0.05",
                ("0", "1"),
                "the entry's price may be worse than the mark price by at most this",
            ),
            _key(
                MAINTENANCE_MARGIN,
                "fraction",
                "0.005",
                ("0", "0.1"),
                "at least this is assumed behind a position when its stop is held against liquidation",
                Looser.LOWER,
            ),
            _key(
                SIZING_MODE,
                "0, 1 or 2",
                "0",
                ("0", "2"),
                "an entry's size is 0: the one that was asked for; 1: by equity; 2: by what its stop may lose",
                Looser.EITHER,
                whole=True,
            ),
            _key(EQUITY_FRACTION, "fraction", "0.02", ("0", "10"), "sizing mode 1: notional by the account's equity"),
            _key(
                RISK_PER_TRADE,
                "USD",
                "10",
                ("0", "1000000"),
                "sizing mode 2: loss at the stop, with costs",
            ),
            _key(TAKER_FEE, "fraction", "0.0005", ("0", "0.01"), "sizing mode 2: the fee of each side", Looser.LOWER),
            _key(
                STOP_SLIPPAGE,
                "fraction",
                "0.001",
                ("0", "0.05"),
                "sizing mode 2: how much worse than its price a stop is expected to fill",
                Looser.LOWER,
            ),
        )
    }
)


class PolicyValueError(ValueError):
    """A policy value that cannot be applied. The message names the key and the rule."""


def parse_policy_value(name: str, raw: object) -> Decimal:
    """Return the value of a known key.

    Raises:
        PolicyValueError: unknown key, not a finite number, out of bounds, or between the values of a choice.

    """
    key = KEYS.get(name)
    if key is None:
        raise PolicyValueError(f"POLICY_KEY_UNKNOWN: key={name[:MOST_SHOWN]}")
    if isinstance(raw, bool) or not isinstance(raw, int | float | str | Decimal):
        raise PolicyValueError(f"POLICY_VALUE_NOT_A_NUMBER: key={name} value={_shown(raw)}")
    try:
        value = raw if isinstance(raw, Decimal) else number_of(repr(raw) if isinstance(raw, float) else str(raw))
    except ValueError:
        raise PolicyValueError(f"POLICY_VALUE_NOT_A_NUMBER: key={name} value={_shown(raw)}") from None
    if not value.is_finite() or not key.minimum <= value <= key.maximum:
        raise PolicyValueError(
            f"POLICY_VALUE_OUT_OF_BOUNDS: key={name} value={value} bounds={key.minimum}..{key.maximum}"
        )
    if key.whole and value != value.to_integral_value():
        raise PolicyValueError(f"POLICY_VALUE_NOT_WHOLE: key={name} value={value} expected={key.unit}")
    return rounded(value)


def loosens(name: str, before: Decimal, after: Decimal) -> bool:
    """Whether a change of a known key takes on more risk.

    Where more risk has no direction, every change does.
    """
    key = KEYS[name]
    if before == after:
        return False
    if key.looser is Looser.EITHER:
        return True
    if key.zero_is_off and not (before and after):
        return after == 0
    return after > before if key.looser is Looser.HIGHER else after < before


def capped(name: str, value: Decimal, ceilings: Mapping[str, Decimal]) -> Decimal:
    """Return the value, or the ceiling of its key where the value is looser than that."""
    ceiling = ceilings.get(name)
    return ceiling if ceiling is not None and loosens(name, ceiling, value) else value


def _shown(raw: object) -> str:
    """Write a value into a sentence: all of one that fits, the beginning of any other."""
    try:
        text = repr(raw)
    except ValueError:
        text = f"a {type(raw).__name__} of too many digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The values in force. `version` grows with every change and stands beside each verdict.

    `unusable`: keys whose stored value means nothing. They have their defaults, and no entry passes meanwhile.
    """

    values: Mapping[str, Decimal]
    version: int
    unusable: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Decimal:
        return self.values.get(name, KEYS[name].default)
