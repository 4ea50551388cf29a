"""The contracts that are traded: their ticks, steps, limits, margin brackets and typical price.

`build_symbols` makes the uniform listing: contracts in USDT that differ in little. The venue's own, which differ in
all, are in `listing`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from paper_exchange.core.money import ZERO

HOUR_MS: Final = 3_600_000
PERPETUAL: Final = "PERPETUAL"
CURRENT_QUARTER: Final = "CURRENT_QUARTER"
NEXT_QUARTER: Final = "NEXT_QUARTER"
DATED: Final = frozenset({CURRENT_QUARTER, NEXT_QUARTER})
# The end of the year 2100: no delivery is announced.
NO_DELIVERY_MS: Final = 4_133_404_800_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bracket:
    """A range of notional (floor, cap] with its largest leverage and its maintenance margin rate."""

    number: int
    leverage: int
    cap: Decimal
    floor: Decimal
    maint_ratio: Decimal
    cum: Decimal


@dataclass(kw_only=True, slots=True, eq=False)
class Symbol:
    """One contract.

    `price` is where its synthetic price starts and returns to. Only a ContractChange changes it. Prices and notionals
    are in the quote asset; profit, fees, funding and margin are in the margin asset.
    """

    name: str
    base: str
    price: Decimal
    tick: Decimal
    step: Decimal
    price_precision: int
    quantity_precision: int
    min_price: Decimal
    max_price: Decimal
    max_quantity: Decimal
    market_max_quantity: Decimal
    min_notional: Decimal
    brackets: tuple[Bracket, ...]
    price_unit: Decimal
    quantity_unit: Decimal
    pair: str = ""
    quote: str = "USDT"
    margin: str = "USDT"
    contract_type: str = PERPETUAL
    underlying: str = "COIN"
    sub_types: tuple[str, ...] = ()
    # Hours between two funding payments; zero for dated contracts, which know none.
    funding_hours: int = 8
    # Dollars that one unit of the quote asset is typically worth, by which the synthetic book is made as deep.
    quote_worth: Decimal = Decimal(1)
    multiplier_up: Decimal = Decimal("1.0500")
    multiplier_down: Decimal = Decimal("0.9500")
    market_take_bound: Decimal = Decimal("0.05")
    trigger_protect: Decimal = Decimal("0.0500")
    liquidation_fee: Decimal = Decimal("0.012500")
    max_open_orders: int = 200
    onboard_ms: int = 1_569_398_400_000
    delivery_ms: int = NO_DELIVERY_MS
    status: str = "TRADING"
    # Whether retail price improvement orders are taken.
    rpi: bool = True
    # Side on which orders may only reduce: NONE, LONG (buys), SHORT (sells) or BOTH.
    position_control: str = "NONE"
    # Largest notional of a position at any leverage, in the quote asset, and the code beyond it.
    position_limit: Decimal | None = None
    position_limit_code: int = -2027

    def __post_init__(self) -> None:
        self.pair = self.pair or self.name

    @property
    def is_dated(self) -> bool:
        return self.contract_type in DATED

    @property
    def max_leverage(self) -> int:
        return self.brackets[0].leverage

    @property
    def funding_ms(self) -> int:
        """Milliseconds between two funding payments. Zero when there are none."""
        return 0 if self.is_dated else self.funding_hours * HOUR_MS

    @property
    def min_quantity(self) -> Decimal:
        return self.step

    def price_text(self, price: Decimal) -> str:
        """Text padded to the symbol's price precision."""
        return format(price.quantize(self.price_unit), "f")

    def quantity_text(self, quantity: Decimal) -> str:
        """Text padded to the symbol's quantity precision."""
        return format(quantity.quantize(self.quantity_unit), "f")

    def bracket_of(self, notional: Decimal) -> Bracket:
        """Return the bracket that holds an absolute notional. The last one has no end."""
        for bracket in self.brackets:
            if notional <= bracket.cap:
                return bracket
        return self.brackets[-1]

    def max_notional(self, leverage: int) -> Decimal:
        """Largest position notional allowed at that leverage."""
        return max((b.cap for b in self.brackets if b.leverage >= leverage), default=ZERO)


# leverage, cap in USDT, maintenance margin rate
_MAJOR: Final = (
    (125, "300000", "0.004"),
    (100, "800000", "0.005"),
    (75, "3000000", "0.0065"),
    (50, "12000000", "0.01"),
    (25, "70000000", "0.02"),
    (20, "100000000", "0.025"),
    (10, "230000000", "0.05"),
    (5, "480000000", "0.1"),
    (2, "900000000", "0.25"),
    (1, "1800000000", "0.5"),
)
_MINOR: Final = (
    (75, "10000", "0.01"),
    (50, "50000", "0.015"),
    (25, "500000", "0.02"),
    (20, "1000000", "0.025"),
    (10, "5000000", "0.05"),
    (5, "10000000", "0.1"),
    (2, "20000000", "0.25"),
    (1, "50000000", "0.5"),
)

# base, price, tick, step, price precision, quantity precision, largest LIMIT and MARKET quantity
_ROWS: Final = (
    ("BTC", "50000", "0.10", "0.001", 2, 3, "1000", "120"),
    ("ETH", "2500", "0.01", "0.001", 2, 3, "10000", "2000"),
    ("SOL", "150", "0.0100", "0.01", 4, 2, "1000000", "40000"),
    ("BNB", "600", "0.010", "0.01", 3, 2, "100000", "2000"),
    ("XRP", "0.5", "0.0001", "0.1", 4, 1, "10000000", "2000000"),
    ("ADA", "0.4", "0.00010", "1", 5, 0, "20000000", "3000000"),
    ("DOGE", "0.1", "0.000010", "1", 6, 0, "50000000", "30000000"),
    ("LTC", "80", "0.01", "0.001", 2, 3, "10000", "5000"),
    ("LINK", "15", "0.001", "0.01", 3, 2, "200000", "20000"),
    ("AVAX", "30", "0.0010", "1", 4, 0, "1000000", "20000"),
    ("DOT", "6", "0.001", "0.1", 3, 1, "1000000", "50000"),
    ("TRX", "0.15", "0.00001", "1", 5, 0, "20000000", "5000000"),
    ("BCH", "400", "0.01", "0.001", 2, 3, "10000", "850"),
    ("ATOM", "8", "0.001", "0.01", 3, 2, "1000000", "40000"),
    ("UNI", "9", "0.0010", "1", 4, 0, "1000000", "50000"),
    ("FIL", "5", "0.001", "0.1", 3, 1, "1000000", "80000"),
    ("ETC", "25", "0.001", "0.01", 3, 2, "1000000", "15000"),
    ("NEAR", "5", "0.0010", "1", 4, 0, "1000000", "90000"),
    ("APT", "9", "0.00100", "0.1", 5, 1, "1000000", "40000"),
    ("ARB", "0.9", "0.000100", "0.1", 6, 1, "10000000", "500000"),
    ("OP", "2", "0.0001000", "0.1", 7, 1, "10000000", "250000"),
    ("SUI", "3", "0.000100", "0.1", 6, 1, "10000000", "300000"),
    ("XLM", "0.1", "0.00001", "1", 5, 0, "20000000", "3000000"),
    ("AAVE", "150", "0.010", "0.1", 3, 1, "100000", "2000"),
)

_BASES: Final = frozenset(row[0] for row in _ROWS)


def make_brackets(rows: Iterable[tuple[int, str | Decimal, str | Decimal]]) -> tuple[Bracket, ...]:
    """Return brackets from rows of largest leverage, cap and maintenance rate, the smallest cap first."""
    brackets: list[Bracket] = []
    floor, cum, previous = ZERO, ZERO, ZERO
    for number, (leverage, cap_given, ratio_given) in enumerate(rows, start=1):
        cap, ratio = Decimal(cap_given), Decimal(ratio_given)
        # cum_1 = 0; afterwards it keeps the maintenance margin continuous at the border.
        cum = cum + floor * (ratio - previous) if brackets else ZERO
        brackets.append(Bracket(number=number, leverage=leverage, cap=cap, floor=floor, maint_ratio=ratio, cum=cum))
        floor, previous = cap, ratio
    return tuple(brackets)


def _invented(count: int) -> list[tuple[str, str, str, str, int, int, str, str]]:
    """Return rows of invented contracts, for clients that need more symbols than there are names."""
    return [(f"X{number:04d}", "10", "0.001", "0.01", 3, 2, "1000000", "40000") for number in range(1, count + 1)]


def build_symbols(min_notional: Decimal, *, extra: int = 0) -> dict[str, Symbol]:
    """Return the uniform listing by name: contracts in USDT, all with the same minimum notional."""
    major, minor = make_brackets(_MAJOR), make_brackets(_MINOR)
    return _uniform((*_ROWS, *_invented(extra)), min_notional, major, minor)


def invented_symbols(count: int) -> dict[str, Symbol]:
    """Return contracts that exist nowhere, to be listed beside the venue's."""
    minor = make_brackets(_MINOR)
    return _uniform(_invented(count), Decimal(5), minor, minor)


def _uniform(
    rows: Iterable[tuple[str, str, str, str, int, int, str, str]],
    min_notional: Decimal,
    major: tuple[Bracket, ...],
    minor: tuple[Bracket, ...],
) -> dict[str, Symbol]:
    symbols: dict[str, Symbol] = {}
    for base, price, tick, step, price_precision, quantity_precision, most, market_most in rows:
        name = f"{base}USDT"
        symbols[name] = Symbol(
            name=name,
            base=base,
            price=Decimal(price),
            tick=Decimal(tick),
            step=Decimal(step),
            price_precision=price_precision,
            quantity_precision=quantity_precision,
            min_price=Decimal(tick),
            max_price=Decimal(price) * 100,
            max_quantity=Decimal(most),
            market_max_quantity=Decimal(market_most),
            min_notional=min_notional,
            brackets=major if base in {"BTC", "ETH"} else minor,
            price_unit=Decimal(1).scaleb(-price_precision),
            quantity_unit=Decimal(1).scaleb(-quantity_precision),
            rpi=base in _BASES,
        )
    return symbols
