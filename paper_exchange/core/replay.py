"""Recorded prices: Binance's public kline and aggTrade files, played at real or accelerated speed."""

import csv
import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Final

from paper_exchange.core.symbols import Symbol

# Columns of the two kinds of file; both exist with and without a header line.
_KLINE_COLUMNS: Final = 12
_TRADE_COLUMNS: Final = 7
# Newer files count microseconds.
_MICROSECONDS_FROM: Final = 10**14
_KLINE_PARTS: Final = 4


class ReplayError(ValueError):
    """A file of prices that cannot be read."""


class ReplayPath:
    """A market's recorded prices: each is visited, also when a step passes several of them."""

    def __init__(self, symbol: Symbol, file: Path, speed: float) -> None:
        self._symbol = symbol
        self._file = file
        self._speed = speed
        self._consumed = 0
        self._elapsed_ms = 0.0
        self._rows: Iterator[tuple[int, Decimal]] | None = None
        self._next: tuple[int, Decimal] | None = next(self._read(), None)
        if self._next is None:
            raise ReplayError(f"{file} holds no prices")
        self._began = self._next[0]

    def __getstate__(self) -> dict[str, object]:
        """Leave out the open file: it is opened again and read on."""
        return self.__dict__ | {"_rows": None}

    def steps(self, seconds: float) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield the prices (last and mark alike) that this time brings.

        At the end of the file the last one stays.
        """
        self._elapsed_ms += seconds * 1000 * self._speed
        while self._next is not None and self._next[0] - self._began <= self._elapsed_ms:
            price = self._on_grid(self._next[1])
            self._consumed += 1
            self._next = next(self._ahead(), None)
            yield price, price

    def jump(self, price: Decimal) -> None:
        """Leave the recorded prices as they are: the next one replaces what was set."""

    def recentre(self, price: Decimal) -> None:
        """Leave the recorded prices as they are."""

    def _on_grid(self, price: Decimal) -> Decimal:
        tick = self._symbol.tick
        return max((price / tick).to_integral_value() * tick, self._symbol.min_price)

    def _ahead(self) -> Iterator[tuple[int, Decimal]]:
        if self._rows is None:
            self._rows = islice(self._read(), self._consumed, None)
        return self._rows

    def _read(self) -> Iterator[tuple[int, Decimal]]:
        for number, row in enumerate(_lines(self._file)):
            if number == 0 and row and not row[0].isdigit():
                continue
            try:
                yield from _prices(row)
            except (ValueError, InvalidOperation) as error:
                raise ReplayError(f"{self._file}, line {number + 1}: neither a kline nor an aggTrade") from error


def _lines(file: Path) -> Iterator[list[str]]:
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive, archive.open(archive.namelist()[0]) as packed:
                yield from csv.reader(io.TextIOWrapper(packed))
        else:
            with file.open(newline="") as text:
                yield from csv.reader(text)
    except (OSError, zipfile.BadZipFile) as error:
        raise ReplayError(f"{file} cannot be read: {error}") from error


def _prices(row: list[str]) -> Iterator[tuple[int, Decimal]]:
    """Yield (time in ms, price): four of a kline, spread over its time, or one of a trade."""
    if len(row) == _TRADE_COLUMNS:
        yield _milliseconds(row[5]), Decimal(row[1])
        return
    if len(row) != _KLINE_COLUMNS:
        raise ValueError(row)
    start, end = _milliseconds(row[0]), _milliseconds(row[6])
    opening, high, low, close = (Decimal(text) for text in row[1:5])
    # A candle that rose is taken to have seen its low first.
    path = (opening, low, high, close) if close >= opening else (opening, high, low, close)
    for part, price in enumerate(path):
        yield start + (end - start) * part // _KLINE_PARTS, price


def _milliseconds(text: str) -> int:
    value = int(text)
    return value // 1000 if value >= _MICROSECONDS_FROM else value
