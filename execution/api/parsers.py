"""JSON coming in: numbers keep the digits that were written, and nothing passes that could not be stored."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn, Self

from django.conf import settings
from django.http import UnreadablePostError
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser

from execution.api.errors import TooLargeError

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


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: not UTF-8, not JSON, NaN or an infinity, or nested too deeply.
        rest_framework.exceptions.ValidationError: a name that is given twice, or text that cannot be stored.

    """
    value = json.loads(
        raw.decode(), parse_float=WrittenFloat, parse_constant=_refuse_constant, object_pairs_hook=_once_each
    )
    _check_storable(value, path="", depth=0)
    return value


def _read_limited(stream: IO[bytes]) -> bytes:
    """Read at most one byte beyond the limit: Django's own check does not see bodies that are read as a stream."""
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


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that is given twice: which of two quantities is meant, nobody can know."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValidationError({name: ["must be given once"] for name in found if names.count(name) > 1})
    return found


def _check_storable(value: object, *, path: str, depth: int) -> None:
    """Refuse nesting without end, and the characters that PostgreSQL has no place for."""
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _check_text(name, path)
            _check_storable(item, path=f"{path}.{name}" if path else name, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item, path=path, depth=depth + 1)


def _check_text(text: str, path: str) -> None:
    # JSON can spell U+0000 and halves of surrogate pairs; PostgreSQL and UTF-8 cannot.
    if any(character == "\x00" or "\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError({path or "request": ["must not contain U+0000 or half a surrogate pair"]})
