"""Bounds for outside input: numbers, times, texts, and JSON that can be stored and read back."""

import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal
from uuid import UUID

# No decision, event or query of this service is about another time; PostgreSQL and Python both hold all of it.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Milliseconds since 1970 are above this number until long after seconds have reached it.
MILLISECONDS_FROM = 100_000_000_000
# As many decimals as a money column keeps, see `models/fields.py`.
DECIMALS = 18
# Room for all digits of the largest amount, so that rounding the last ones never fails.
AMPLE = Context(prec=64)
LONGEST_NUMBER = 64
LONGEST_TIME = 64
# A JSON number within this is a finite double, which every reader of JSON can hold.
LARGEST_JSON_NUMBER = Decimal(sys.float_info.max)
# Not by a minus, which rounds to the context's digits.
LEAST_JSON_NUMBER = LARGEST_JSON_NUMBER.copy_negate()
# ASCII digits only: Python's own readers take underscores and the digits of any script.
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
EPOCH = re.compile(r"[0-9]+(\.[0-9]*)?")
UUID_TEXT = re.compile(r"[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")
# Stored times beyond these are read as these: calculating with them cannot overflow.
OLDEST_READ, NEWEST_READ = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
ASCII_SPACES = " \t\r\n"
CAPITALS = {ord(letter): letter.upper() for letter in "abcdefghijklmnopqrstuvwxyz"}
SMALL = {ord(letter.upper()): letter for letter in "abcdefghijklmnopqrstuvwxyz"}
# Control characters, halves of surrogate pairs, line separators: they steer terminals and logs, or cannot be stored.
UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})


class UnreadableTime(datetime):
    """Replaces a stored time that Python cannot hold or calculate with.

    Its value is the end of the bounds beyond which the stored time lies.
    """

    @classmethod
    def of(cls, *, past: bool) -> "UnreadableTime":
        """Return the end of the past or of the future."""
        end = OLDEST_READ if past else NEWEST_READ
        return cls(end.year, end.month, end.day, tzinfo=UTC)


def readable(moment: datetime) -> datetime:
    """Return a stored time as it is, or the mark of one that nothing can calculate with."""
    if OLDEST_READ <= moment <= NEWEST_READ:
        return moment
    return UnreadableTime.of(past=moment < OLDEST_READ)


def known(moment: datetime | None) -> datetime | None:
    """Return a stored time, or None for one that nothing can calculate with."""
    return None if isinstance(moment, UnreadableTime) else moment


def number_of(text: str) -> Decimal:
    """Return the number that a text writes in ASCII digits. Spaces around it do not count.

    Raises:
        ValueError: another character, no digit, or longer than any amount.

    """
    written = text.strip(ASCII_SPACES)
    if len(written) > LONGEST_NUMBER or not NUMBER.fullmatch(written):
        raise ValueError(f"must be a number in at most {LONGEST_NUMBER} ASCII characters")
    return Decimal(written)


def rounded(value: Decimal, decimals: int = DECIMALS) -> Decimal:
    """Return an amount as its column keeps it, so that what was accepted is what is read back."""
    last = Decimal(1).scaleb(-decimals)
    return value.quantize(last, context=AMPLE) if int(value.as_tuple().exponent) < -decimals else value


def integer_of(value: object) -> int:
    """Return a whole number that is written as one: an int, or a text of ASCII digits.

    Raises:
        ValueError: a boolean, a fraction, another character, or longer than any of our numbers.

    """
    text = value.strip(ASCII_SPACES) if isinstance(value, str) else str(value) if type(value) is int else ""
    if len(text) > LONGEST_NUMBER or not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError("must be a whole number in ASCII digits")
    return int(text)


def uuid_of(text: str) -> UUID:
    """Return the id that a text writes in ASCII.

    Raises:
        ValueError: it is none.

    """
    if not UUID_TEXT.fullmatch(text):
        raise ValueError("is not a UUID")
    return UUID(text)


def capitals(text: str) -> str:
    """Write a to z in capitals and leave every other letter as it is: `str.upper` turns the long s into S."""
    return text.translate(CAPITALS)


def small(text: str) -> str:
    """Write A to Z in small letters and leave every other letter as it is.

    `str.lower` would turn the Kelvin sign into k.
    """
    return text.translate(SMALL)


def moment_of(value: object) -> datetime:
    """Return the UTC time of an ISO text or of an epoch in seconds or milliseconds.

    An ISO text without a zone is UTC.

    Raises:
        ValueError: it is none, or outside of EARLIEST to LATEST.

    """
    if isinstance(value, str):
        is_epoch = len(value) <= LONGEST_NUMBER and EPOCH.fullmatch(value) is not None
        return _bounded(_epoch(Decimal(value)) if is_epoch else iso_of(value))
    if isinstance(value, datetime):
        return _bounded(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a time")  # noqa: TRY004 -- callers report ValueError as a broken rule
    return _bounded(_epoch(value))


def clamped(moment: datetime) -> datetime:
    """Return a time in UTC, or the end of the bounds beyond which it lies.

    For queries only, where both mean the same.
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return EARLIEST if aware < EARLIEST else LATEST if aware > LATEST else aware.astimezone(UTC)


def unfit_character(text: str) -> str | None:
    """Return the first character that has no place in a name or a sentence, as U+XXXX."""
    for character in text:
        if character >= " " and character.isascii() and character != "\x7f":
            continue
        if unicodedata.category(character) in UNFIT:
            return f"U+{ord(character):04X}"
    return None


def unstorable_character(text: str) -> str | None:
    """Return the first character that PostgreSQL cannot store: U+0000, or half of a surrogate pair."""
    found = next((each for each in text if each == "\x00" or "\ud800" <= each <= "\udfff"), None)
    return f"U+{ord(found):04X}" if found is not None else None


def without_unfit(text: str) -> str:
    """Return a text with a space in the place of every character that has none."""
    return "".join(" " if unfit_character(character) else character for character in text)


def json_problem(value: object, *, deepest: int) -> str | None:
    """Return why a JSON value cannot be stored and read back by every reader, or None when it can."""
    for found, depth in _walk(value, 0):
        if depth > deepest:
            return f"nested deeper than {deepest} levels"
        if isinstance(found, str) and (character := unstorable_character(found)):
            return f"contains the character {character}"
        if _is_too_large(found):
            return "contains a number that is too large"
    return None


def _walk(value: object, depth: int) -> Iterator[tuple[object, int]]:
    """Yield a value, its names and everything in it, each with its depth, without recursion."""
    waiting = [(value, depth)]
    while waiting:
        found, level = waiting.pop()
        yield found, level
        if isinstance(found, Mapping):
            waiting += [(each, level + 1) for pair in found.items() for each in pair]
        elif isinstance(found, list | tuple):
            waiting += [(each, level + 1) for each in found]


def _is_too_large(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    # Compared as integers first: a Decimal of ten thousand digits is slow, and NaN cannot be compared.
    if isinstance(value, int):
        return abs(value) > int(LARGEST_JSON_NUMBER)
    number = Decimal(value)
    # Not by abs(), which overflows on an absurd exponent.
    return not (number.is_finite() and LEAST_JSON_NUMBER <= number <= LARGEST_JSON_NUMBER)


def _epoch(value: float | Decimal) -> datetime:
    # Bounds before the arithmetic: a float or int beyond them overflows.
    if not 0 <= value <= int(LATEST.timestamp()) * 1000:
        raise ValueError("is not a time of this century")
    seconds = value / 1000 if value >= MILLISECONDS_FROM else value
    return datetime.fromtimestamp(float(seconds), tz=UTC)


def iso_of(text: str) -> datetime:
    """Return the time that an ISO text writes in ASCII. Without a zone it is UTC.

    Raises:
        ValueError: it is none.

    """
    if len(text) > LONGEST_TIME or not text.isascii():
        raise ValueError("must be an ISO time or an epoch")
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bounded(moment: datetime) -> datetime:
    """Return the time in UTC: PostgreSQL knows fewer offsets than Python."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # Bounds before the conversion, which overflows at the ends of the calendar.
    if not EARLIEST <= aware < LATEST:
        raise ValueError(f"must be in the years {EARLIEST.year} to {LATEST.year - 1}")
    return aware.astimezone(UTC)
