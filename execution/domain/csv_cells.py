"""Writes values as cells of a CSV file, none of which a spreadsheet takes for a formula. Pure."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from execution.domain.money import plain

# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: object) -> str:
    """Return the text of a cell: numbers with all their digits, times in ISO form, JSON on one line.

    An apostrophe before a text that would be a formula makes it a text. Numbers keep their sign.
    """
    if value is None:
        return ""
    text = text_of(value)
    # The minus of a number, or a time, is no formula.
    return f"'{text}" if text.startswith(FORMULA) and not isinstance(value, Decimal | int | float) else text


def text_of(value: object) -> str:
    """Return a value as text that is read back without loss."""
    match value:
        case Decimal():
            return plain(value)
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        case StrEnum():
            return value.value
        case _:
            return str(value)


def line(values: Iterable[object]) -> str:
    """Return one line of a CSV file, with its line end (RFC 4180)."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow([cell(value) for value in values])
    return buffer.getvalue()
