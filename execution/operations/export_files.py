"""Writes rows as CSV, JSON Lines or Parquet, with a few thousand of them in memory."""

import importlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from types import ModuleType
from typing import IO, Protocol

from execution.domain.csv_cells import line, text_of

# Rows of a group in a Parquet file.
GROUP = 10_000
INSTALL = "pip install '.[reports]' in the project's folder"


class FileFormat(StrEnum):
    """The formats of a file."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """The type as HTTP names it."""
        return MEDIA_TYPES[self]


MEDIA_TYPES = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.JSONL: "application/jsonl; charset=utf-8",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
}


class NotInstalledError(RuntimeError):
    """A package that is optional is missing. The message names the command that installs it."""


class FileColumn(Protocol):
    """A column with its name and the kind of its values."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


def csv_file(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a CSV file, its head first."""
    yield line(columns)
    for row in rows:
        yield line(row)


def jsonl_file(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield one JSON object a row. Exact numbers are texts, and what is missing is null."""
    for row in rows:
        values = {name: _json(value) for name, value in zip(columns, row, strict=True)}
        yield json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_parquet(columns: Sequence[FileColumn], rows: Iterable[Sequence[object]], file: IO[bytes]) -> int:
    """Write a Parquet file and return the number of its rows.

    Amounts are decimals with 18 digits after the point.
    Raises:
        NotInstalledError: pyarrow is missing.

    """
    arrow, parquet = parquet_library()
    kinds = {
        "number": arrow.decimal128(38, 18),
        "whole": arrow.int64(),
        "truth": arrow.bool_(),
        "time": arrow.timestamp("us", tz="UTC"),
        "text": arrow.string(),
    }
    schema = arrow.schema([(column.name, kinds[column.kind]) for column in columns])
    is_text = [column.kind == "text" for column in columns]
    written, left = 0, iter(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(left, GROUP)):
            values = [
                [None if value is None else text_of(value) for value in column] if text else column
                for column, text in zip(zip(*group, strict=True), is_text, strict=True)
            ]
            arrays = [arrow.array(column, type=field.type) for column, field in zip(values, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            written += len(group)
    return written


def parquet_library() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and its module for Parquet.

    Raises:
        NotInstalledError: it is missing.

    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise NotInstalledError(f"Parquet needs a package that is not installed: {INSTALL}") from None


def _json(value: object) -> object:
    if value is None or (isinstance(value, bool | int | str | dict | list) and not isinstance(value, StrEnum)):
        return value
    return text_of(value) if isinstance(value, Decimal | datetime | StrEnum) else str(value)
