"""Reads JSON bodies: numbers keep the digits that were written, and only what can be stored passes."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn, Self

from django.conf import settings
from django.http import UnreadablePostError
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser

from execution.api.errors import TooLargeError
from execution.domain import bounds

DEEPEST = 16


class WrittenFloat(float):
    """A JSON number whose `repr` is what the client wrote, so that a Decimal made from it has every digit."""

    __slots__ = ("_written",)
    _written: str

    def __new__(cls, written: str) -> Self:
        number = super().__new__(cls, written)
        if not math.isfinite(number):
            raise ValueError("a number is too large")
        number._written = written
        return number

    def __repr__(self) -> str:
        return self._written


class ExactJSONParser(BaseParser):
    """Reads a body of limited size as UTF-8 JSON."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # noqa: ARG002 -- the framework's signature
        parser_context: object = None,  # noqa: ARG002 -- the framework's signature
    ) -> Any:
        raw = _read_limited(stream)
        try:
            return read_json(raw)
        # A body of ten thousand opening brackets ends in RecursionError.
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON that can be read: {error}") from None


def read_json(raw: bytes) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: not UTF-8, not JSON, NaN or an infinity, or nested too deeply.
        rest_framework.exceptions.ValidationError: a name that is given twice, or text that cannot be stored.

    """
    value = json.loads(
        raw.decode(), parse_float=WrittenFloat, parse_constant=_refuse_constant, object_pairs_hook=_once_each
    )
    _check_storable(value)
    return value


def _read_limited(stream: IO[bytes]) -> bytes:
    """Read at most one byte beyond the limit.

    Django's own check does not see bodies that are read as a stream.
    """
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        raw = stream.read(limit + 1)
    except UnreadablePostError:
        raise ParseError("The body ended before its announced length.") from None
    if len(raw) > limit:
        raise TooLargeError(f"The body is larger than {limit} bytes.")
    return raw


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name that is given twice: which of two quantities is meant cannot be known."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValidationError({name: ["must be given once"] for name in found if names.count(name) > 1})
    return found


def _check_storable(value: object) -> None:
    """Refuse nesting without end, and characters and numbers that PostgreSQL or a reader cannot hold."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if character := bounds.unstorable_character(name):
                raise ValidationError({"request": [f"a name contains the character {character}"]})
            if problem := bounds.json_problem(item, deepest=DEEPEST - 1):
                raise ValidationError({name: [problem]})
    elif problem := bounds.json_problem(value, deepest=DEEPEST):
        raise ValueError(problem)
