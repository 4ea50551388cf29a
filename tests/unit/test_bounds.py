"""Each bound of what comes from outside, at its edge: what is taken, what is refused, and with which words."""

import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.bounds import (
    EARLIEST,
    LATEST,
    LONGEST_NUMBER,
    NEWEST_READ,
    OLDEST_READ,
    UnreadableTime,
    clamped,
    integer_of,
    iso_of,
    json_problem,
    moment_of,
    number_of,
    readable,
    rounded,
    unfit_character,
    uuid_of,
    without_unfit,
)

MOMENT = timedelta(microseconds=1)
SECOND = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp())
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("moment", [OLDEST_READ, OLDEST_READ + MOMENT, NOON, NEWEST_READ - MOMENT, NEWEST_READ])
def test_a_stored_time_within_the_bounds_is_itself(moment: datetime) -> None:
    assert readable(moment) is moment


@pytest.mark.parametrize(("moment", "end"), [(OLDEST_READ - MOMENT, OLDEST_READ), (NEWEST_READ + MOMENT, NEWEST_READ)])
def test_a_stored_time_beyond_them_is_the_mark_of_that_end(moment: datetime, end: datetime) -> None:
    read = readable(moment)

    assert (type(read), read) == (UnreadableTime, end)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", "1"), (" \t-2.5\r\n", "-2.5"), ("+.5e-3", "0.0005"), ("7.", "7"), ("1" * 64, "1" * 64)],
)
def test_a_number_in_ascii_is_read(text: str, number: str) -> None:
    assert number_of(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", " ", ".", "1_0", "\u0661", "1 0", "NaN", "inf", "1" * 65, "\u00a01", "1e", "0x1"])
def test_any_other_text_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^must be a number in at most {LONGEST_NUMBER} ASCII characters$"):
        number_of(text)


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [("0.123456789", 8, "0.12345679"), ("2.4", 0, "2"), ("3.6", 0, "4"), ("1", 8, "1"), ("0.12", 2, "0.12")],
)
def test_an_amount_is_rounded_to_its_column(value: str, decimals: int, expected: str) -> None:
    assert str(rounded(Decimal(value), decimals)) == expected


def test_an_amount_of_fewer_digits_stays_as_it_was_written() -> None:
    assert str(rounded(Decimal("1e3"), 8)) == "1E+3"


@pytest.mark.parametrize(
    ("value", "number"), [(7, 7), (-7, -7), ("7", 7), (" -7\n", -7), ("0" * 64, 0), (int("9" * 64), int("9" * 64))]
)
def test_a_whole_number_is_read(value: object, number: int) -> None:
    assert integer_of(value) == number


@pytest.mark.parametrize(
    "value",
    [True, 7.0, Decimal(7), None, [7], "7.0", "+7", "", "-", "7_0", "\u0667", "0" * 65, int("9" * 65), "7 0", b"7"],
)
def test_anything_else_is_no_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a whole number in ASCII digits$"):
        integer_of(value)


ID = "0f0e0d0c-0b0a-0908-0706-050403020100"


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.replace("-", "")])
def test_an_id_in_ascii_is_read(text: str) -> None:
    assert uuid_of(text) == UUID(ID)


@pytest.mark.parametrize("text", ["", ID[:-1], ID + "0", "{" + ID + "}", f"urn:uuid:{ID}", ID.replace("0", "\u0660")])
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a UUID$"):
        uuid_of(text)


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31T14:00:00+02:00",
        NOON,
        NOON.replace(tzinfo=None),
        SECOND,
        float(SECOND),
        Decimal(SECOND),
        str(SECOND),
        f"{SECOND}.0",
        SECOND * 1000,
        str(SECOND * 1000),
    ],
)
def test_every_form_of_a_time_is_the_same_moment(value: object) -> None:
    read = moment_of(value)

    assert (read, read.tzinfo) == (NOON, UTC)


@pytest.mark.parametrize("moment", [EARLIEST, LATEST - MOMENT])
def test_the_ends_of_the_century_are_times(moment: datetime) -> None:
    assert moment_of(moment.isoformat()) == moment
    assert moment_of(moment) == moment


@pytest.mark.parametrize("moment", [EARLIEST - MOMENT, LATEST])
def test_what_lies_beyond_is_none(moment: datetime) -> None:
    for value in (moment.isoformat(), moment):
        with pytest.raises(ValueError, match=r"^must be in the years 2000 to 2099$"):
            moment_of(value)


@pytest.mark.parametrize("value", [True, False, None, [1], {}])
def test_what_is_no_time_is_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a time$"):
        moment_of(value)


def test_milliseconds_begin_where_seconds_end() -> None:
    # The greatest epoch in seconds lies beyond our bounds, the smallest in milliseconds before them.
    with pytest.raises(ValueError, match=r"^must be in the years"):
        moment_of(99_999_999_999)
    with pytest.raises(ValueError, match=r"^must be in the years"):
        moment_of(100_000_000_000)
    assert moment_of(1_000_000_000_000) == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


@pytest.mark.parametrize("value", [-1, -0.5, int(LATEST.timestamp()) * 1000 + 1, 10**400, float("inf")])
def test_an_epoch_beyond_the_century_is_told_before_it_is_calculated_with(value: object) -> None:
    with pytest.raises(ValueError, match=r"^is not a time of this century$"):
        moment_of(value)


@pytest.mark.parametrize("value", [0, 0.5, int(LATEST.timestamp()) * 1000])
def test_an_epoch_at_an_end_is_judged_by_its_year(value: object) -> None:
    with pytest.raises(ValueError, match=r"^must be in the years 2000 to 2099$"):
        moment_of(value)


@pytest.mark.parametrize(
    "text", ["1" * 65, "2026-01-31T12:00:00" + "0" * 46, "\uff12026-01-31T12:00:00", "2026\u201101-31"]
)
def test_a_time_is_short_and_ascii(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an ISO time or an epoch$"):
        iso_of(text)


def test_an_iso_time_of_the_longest_length_is_read_for_what_it_says() -> None:
    # Sixty-four characters are not too many; they are only no ISO time.
    with pytest.raises(ValueError, match=r"^Invalid isoformat string"):
        iso_of("x" * 64)
    assert iso_of("2026-01-31T12:00:00") == NOON
    assert iso_of("2026-01-31T14:00:00+02:00").utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (EARLIEST - MOMENT, EARLIEST),
        (EARLIEST, EARLIEST),
        (NOON, NOON),
        (NOON.replace(tzinfo=None), NOON),
        (LATEST, LATEST),
        (LATEST + MOMENT, LATEST),
        (datetime.min, EARLIEST),  # noqa: DTZ901 -- the end of the calendar
        (datetime.max, LATEST),  # noqa: DTZ901 -- as above
        (NOON.astimezone(timezone(timedelta(hours=14))), NOON),
    ],
)
def test_a_question_beyond_the_bounds_means_their_end(moment: datetime, expected: datetime) -> None:
    answer = clamped(moment)

    assert (answer, answer.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b ~ ä 币", None),
        ("a\x1f", "U+001F"),
        ("\x00", "U+0000"),
        ("\x7f", "U+007F"),
        ("ä\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\ud800", "U+D800"),
        ("a\tb\n", "U+0009"),
    ],
)
def test_the_first_unfit_character_is_named(text: str, found: str | None) -> None:
    assert unfit_character(text) == found


def test_unfit_characters_become_spaces() -> None:
    assert without_unfit("a\x1bb ä\u2028") == "a b ä "


LARGEST: Any = sys.float_info.max


@pytest.mark.parametrize(
    "value",
    [True, None, "text", 0, LARGEST, -LARGEST, int(LARGEST), -int(LARGEST), Decimal(LARGEST), Decimal(-LARGEST)],
)
def test_what_every_reader_holds_is_no_problem(value: object) -> None:
    assert json_problem({"a": [value]}, deepest=2) is None


@pytest.mark.parametrize(
    "value",
    [
        *(int(LARGEST) + 1, -int(LARGEST) - 1, 10**400, -(10**400), Decimal("1e400"), Decimal("-1e400")),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), float("inf"), float("nan")),
    ],
)
def test_a_number_that_is_too_large_is_told(value: object) -> None:
    assert json_problem([value], deepest=1) == "contains a number that is too large"


@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner, 1], lambda inner: (1, inner), lambda inner: {"a": inner, "b": 1}]
)
def test_depth_is_counted_in_every_kind_of_container(wrap: Any) -> None:
    value: object = 0
    for _ in range(4):
        value = wrap(value)

    assert json_problem(value, deepest=4) is None
    assert json_problem(value, deepest=3) == "nested deeper than 3 levels"


@pytest.mark.parametrize(
    "value", [{"a\x00": 1}, ["a", {"b": "c\x00"}], ("\x00",), {"a": {"b": ["x", "\x00"]}, "c": [1, 2]}]
)
def test_a_text_that_cannot_be_stored_is_found_wherever_it_is(value: object) -> None:
    assert json_problem(value, deepest=8) == "contains the character U+0000"
