"""The default listing: contracts as on the venue, read from recorded data and checked.

`recorded/contracts.csv` has a row for each contract, `recorded/brackets.csv` the margin brackets of a group of
contracts, in the quote asset. Dated contracts have `*` for the date in their name: it follows from the start.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Final

from paper_exchange.config import UNIFORM, Config
from paper_exchange.core.symbols import (
    CURRENT_QUARTER,
    HOUR_MS,
    NEXT_QUARTER,
    Bracket,
    Symbol,
    build_symbols,
    invented_symbols,
    make_brackets,
)

_RECORDED: Final = Path(__file__).parent / "recorded"
_DATE_PLACE: Final = "*"
_QUARTER_DAY_MS: Final = 91 * 24 * HOUR_MS
# A contract that is about to end at the start is left out, so that all that are listed then can be traded.
_SHORTEST_LIFE_MS: Final = 24 * HOUR_MS
_ANNOUNCED_MS: Final = 48 * HOUR_MS
_DELIVERY_HOUR: Final = 8
_FRIDAY: Final = 4
# Dollars for one unit of a quote asset at the prices of the start; stablecoins are one dollar.
QUOTE_WORTH: Final = {"BTC": Decimal(50_000)}


class ListingError(ValueError):
    """Recorded contracts that make no listing."""


def build_listing(config: Config, now: int) -> dict[str, Symbol]:
    """Return the contracts that are listed at a start, by name."""
    if config.listing == UNIFORM:
        return build_symbols(config.min_notional, extra=config.extra_symbols)
    listed = {symbol.name: symbol for symbol in _venue(now)}
    return listed | invented_symbols(config.extra_symbols)


def quarter_ends(after: int) -> Iterator[int]:
    """Yield the deliveries of quarters after a moment (ms): their last Fridays at 08:00 UTC."""
    year, quarter = datetime.fromtimestamp(after / 1000, UTC).year, 0
    while True:
        end = _last_friday(year + quarter // 4, quarter % 4 * 3 + 3)
        if end > after:
            yield end
        quarter += 1


def dated(symbol: Symbol, contract_type: str, delivery: int, onboard: int) -> Symbol:
    """Return the contract of a pair that is delivered at a moment, on the terms of a contract like it."""
    day = datetime.fromtimestamp(delivery / 1000, UTC)
    return replace(
        symbol,
        name=f"{symbol.pair}_{day:%y%m%d}",
        contract_type=contract_type,
        delivery_ms=delivery,
        onboard_ms=onboard,
        status="TRADING",
    )


def _venue(now: int) -> Iterator[Symbol]:
    ends = quarter_ends(now + _SHORTEST_LIFE_MS)
    deliveries = dict(zip((CURRENT_QUARTER, NEXT_QUARTER), ends, strict=False))
    for symbol in _recorded():
        if not symbol.is_dated:
            # What is announced begins to trade some time after the start, whenever that is.
            onboard = now + _ANNOUNCED_MS if symbol.status == "PENDING_TRADING" else symbol.onboard_ms
            yield replace(symbol, onboard_ms=onboard)
            continue
        delivery = deliveries[symbol.contract_type]
        # Each is listed when the one two quarters before it ends.
        yield dated(symbol, symbol.contract_type, delivery, min(now, delivery - 2 * _QUARTER_DAY_MS))


@cache
def _recorded() -> tuple[Symbol, ...]:
    brackets = _read_brackets()
    with (_RECORDED / "contracts.csv").open(encoding="utf-8", newline="") as file:
        symbols = tuple(_symbol(row, brackets) for row in csv.DictReader(file))
    names = [(symbol.name, symbol.contract_type) for symbol in symbols]
    if len(set(names)) != len(names):
        raise ListingError("a contract is recorded twice")
    return symbols


def _read_brackets() -> dict[str, tuple[Bracket, ...]]:
    rows: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    with (_RECORDED / "brackets.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["brackets"]].append((int(row["leverage"]), row["cap"], row["maint_ratio"]))
    return {name: make_brackets(group) for name, group in rows.items()}


def _symbol(row: dict[str, str], brackets: dict[str, tuple[Bracket, ...]]) -> Symbol:
    try:
        symbol = _read(row, brackets)
    except (KeyError, ValueError, InvalidOperation) as error:
        raise ListingError(f"{row.get('symbol')}: {error}") from error
    check(symbol)
    return symbol


def _read(row: dict[str, str], brackets: dict[str, tuple[Bracket, ...]]) -> Symbol:
    band, price_precision = Decimal(row["band"]), int(row["price_precision"])
    quantity_precision, quote = int(row["quantity_precision"]), row["quote"]
    return Symbol(
        name=row["symbol"],
        pair=row["pair"],
        base=row["base"],
        quote=quote,
        margin=row["margin"],
        contract_type=row["type"],
        underlying=row["underlying"],
        sub_types=tuple(filter(None, [row["sub"]])),
        status=row["status"],
        price=Decimal(row["price"]),
        tick=Decimal(row["tick"]),
        step=Decimal(row["step"]),
        price_precision=price_precision,
        quantity_precision=quantity_precision,
        min_price=Decimal(row["min_price"]),
        max_price=Decimal(row["max_price"]),
        max_quantity=Decimal(row["max_quantity"]),
        market_max_quantity=Decimal(row["market_max_quantity"]),
        min_notional=Decimal(row["min_notional"]),
        brackets=brackets[row["brackets"]],
        price_unit=Decimal(1).scaleb(-price_precision),
        quantity_unit=Decimal(1).scaleb(-quantity_precision),
        funding_hours=int(row["funding_hours"]),
        quote_worth=QUOTE_WORTH.get(quote, Decimal(1)),
        multiplier_up=(1 + band).quantize(Decimal("0.0001")),
        multiplier_down=(1 - band).quantize(Decimal("0.0001")),
        market_take_bound=band,
        trigger_protect=band.quantize(Decimal("0.0001")),
        liquidation_fee=Decimal(row["liquidation_fee"]).quantize(Decimal("0.000001")),
        onboard_ms=int(row["onboard_ms"]),
        delivery_ms=int(row["delivery_ms"]),
        rpi=row["rpi"] == "yes",
    )


def check(symbol: Symbol) -> None:
    """Raise ListingError for terms under which no client could trade."""
    faults = {
        "the price is off its grid": (symbol.price - symbol.min_price) % symbol.tick,
        "the lowest price is off its grid": symbol.min_price % symbol.tick,
        "the price is out of its range": not symbol.min_price <= symbol.price <= symbol.max_price,
        "the largest quantity is off its grid": symbol.max_quantity % symbol.step,
        "a market order may be larger than a limit order": symbol.market_max_quantity > symbol.max_quantity,
        "the tick is finer than the precision": symbol.tick % symbol.price_unit,
        "the step is finer than the precision": symbol.step % symbol.quantity_unit,
        "the brackets do not rise": list(symbol.brackets) != sorted(symbol.brackets, key=lambda b: b.cap),
        "no market order reaches the minimum notional": symbol.market_max_quantity * symbol.price < symbol.min_notional,
    }
    found = [text for text, is_broken in faults.items() if is_broken]
    if found:
        raise ListingError(f"{symbol.name}: {'; '.join(found)}")


def _last_friday(year: int, month: int) -> int:
    first_after = date(year + month // 12, month % 12 + 1, 1)
    last = first_after - timedelta(days=1)
    friday = last - timedelta(days=(last.weekday() - _FRIDAY) % 7)
    moment = datetime(friday.year, friday.month, friday.day, _DELIVERY_HOUR, tzinfo=UTC)
    return int(moment.timestamp() * 1000)
