"""Changes of a contract while it trades: its terms, its end, and what they do to its market."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from paper_exchange.core.market import Market
from paper_exchange.core.orders import Side
from paper_exchange.core.symbols import Bracket, Symbol
from paper_exchange.errors import refuse

TRADING: Final = "TRADING"
# Hours between two funding payments that the venue uses.
FUNDING_HOURS: Final = (1, 2, 4, 8)
# status -> the codes that refuse an order which opens, and one which only reduces; None lets it pass.
STATUSES: Final[dict[str, tuple[int | None, int | None]]] = {
    TRADING: (None, None),
    "PRE_SETTLE": (-4140, None),
    "PRE_DELIVERING": (-4140, None),
    "PENDING_TRADING": (-1122, -1122),
    "BREAK": (-1122, -1122),
    "SETTLING": (-4141, -4141),
    "DELIVERING": (-4141, -4141),
    "DELIVERED": (-4141, -4141),
    "CLOSE": (-4141, -4141),
}


# Sides of the market on which orders may only reduce.
CONTROLS: Final = frozenset({"NONE", "LONG", "SHORT", "BOTH"})
# Codes with which a symbol's own limit of positions may refuse.
LIMIT_CODES: Final = frozenset({-2027, -4189, -4401})


# Terms with a closed list of values, and how the control API calls them where it calls them otherwise.
_KNOWN: Final[dict[str, Collection[object]]] = {
    "status": STATUSES,
    "position_control": CONTROLS,
    "position_limit_code": LIMIT_CODES,
    "funding_hours": FUNDING_HOURS,
}
_PUBLIC_NAMES: Final = {"funding_hours": "funding_interval_hours"}


class ContractChangeError(ValueError):
    """A change that leaves no contract that can be traded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractChange:
    """What shall change. None stays as it is."""

    status: str | None = None
    tick: Decimal | None = None
    step: Decimal | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    max_quantity: Decimal | None = None
    market_max_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    multiplier_up: Decimal | None = None
    multiplier_down: Decimal | None = None
    max_open_orders: int | None = None
    delivery_ms: int | None = None
    funding_hours: int | None = None
    brackets: tuple[Bracket, ...] | None = None
    position_control: str | None = None
    position_limit: Decimal | None = None
    position_limit_code: int | None = None


def check_control(symbol: Symbol, side: Side) -> None:
    """Refuse an order that opens on a side under position risk control."""
    if symbol.position_control == "BOTH":
        raise refuse(-4105)
    if (symbol.position_control, side) == ("LONG", "BUY"):
        raise refuse(-4106)
    if (symbol.position_control, side) == ("SHORT", "SELL"):
        raise refuse(-4107)


def check_status(symbol: Symbol, *, reducing: bool) -> None:
    if symbol.status == TRADING:
        return
    opening_code, reducing_code = STATUSES[symbol.status]
    code = reducing_code if reducing else opening_code
    if code is not None:
        raise refuse(code)


def is_halted(symbol: Symbol) -> bool:
    """Return whether nothing at all trades, so that prices reach no order."""
    return STATUSES[symbol.status][1] is not None


def change_contract(market: Market, wanted: ContractChange) -> None:
    """Give a contract other terms. Orders that rest keep their prices and quantities."""
    symbol = market.symbol
    _check(wanted)
    for name in ContractChange.__slots__:
        value = getattr(wanted, name)
        if value is not None:
            setattr(symbol, name, value)
    if wanted.tick is not None:
        _regrid(market, wanted.min_price)
    if wanted.step is not None:
        symbol.quantity_precision = max(symbol.quantity_precision, _decimals(symbol.step))
        symbol.quantity_unit = Decimal(1).scaleb(-symbol.quantity_precision)
    market.book.fit()


def _check(wanted: ContractChange) -> None:
    """Refuse words that are not known and numbers that make no sense."""
    for name, known in _KNOWN.items():
        value = getattr(wanted, name)
        if value is not None and value not in known:
            raise ContractChangeError(
                f"{_PUBLIC_NAMES.get(name, name)} must be one of {', '.join(sorted(map(str, known)))}"
            )
    for name in ContractChange.__slots__:
        value = getattr(wanted, name)
        if isinstance(value, Decimal | int) and value <= 0 and name not in _KNOWN:
            raise ContractChangeError(f"{name} must be positive")


def _regrid(market: Market, min_price: Decimal | None) -> None:
    """Put a market on the grid of its symbol's new tick."""
    symbol = market.symbol
    # Prices are counted from the lowest one.
    symbol.min_price = symbol.tick if min_price is None else min_price
    symbol.price_precision = max(symbol.price_precision, _decimals(symbol.tick))
    symbol.price_unit = Decimal(1).scaleb(-symbol.price_precision)
    market.last = max((market.last / symbol.tick).to_integral_value() * symbol.tick, symbol.min_price)
    market.book.move(market.last)


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
