"""The API's JSON: digits survive, and what could not be stored is refused with its field."""

import io
from decimal import Decimal

import pytest
from django.conf import settings
from rest_framework.exceptions import ParseError, ValidationError

from execution.api.errors import TooLargeError
from execution.api.parsers import ExactJSONParser, read_json
from execution.signals.schemas import ManualOrder


def test_a_number_keeps_the_digits_that_were_written() -> None:
    body = b'{"symbol":"BTCUSDT","side":"long","quantity":0.123456789012345678,"price":50000.10}'

    order = ManualOrder.model_validate(read_json(body))

    # It should not have gone through a binary float, which ends after 17 digits.
    assert order.quantity == Decimal("0.123456789012345678")
    assert str(order.price) == "50000.10"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode byte 0xff"),
        (b'{"quantity": NaN}', "NaN is not a JSON number"),
        (b'{"quantity": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"quantity": 1e400}', "a number is too large"),
        (b'{"quantity": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b"[" * 50_000, "recursion"),
        (b"[" * 20 + b"]" * 20, "nested deeper than 16 levels"),
    ],
)
def test_what_is_not_json_is_refused_in_words(body: bytes, says: str) -> None:
    with pytest.raises(ParseError, match=says):
        ExactJSONParser().parse(io.BytesIO(body))


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValidationError) as refusal:
        read_json(b'{"quantity": 1, "side": "long", "quantity": 100}')

    assert refusal.value.detail == {"quantity": ["must be given once"]}


@pytest.mark.parametrize("text", [rb'"a\u0000b"', rb'"\ud800"', rb'{"deep": ["x", "\udfff"]}', rb'{"\u0000": 1}'])
def test_text_that_postgresql_cannot_store_is_refused(text: bytes) -> None:
    with pytest.raises(ValidationError, match=r"character U\+(0000|D800|DFFF)"):
        read_json(b'{"metadata": ' + text + b"}")


def test_a_body_is_read_up_to_its_limit_only() -> None:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert limit == 64 * 1024

    # It should accept exactly the limit ...
    assert ExactJSONParser().parse(io.BytesIO(b'"' + b"x" * (limit - 2) + b'"')) == "x" * (limit - 2)

    # ... and read one byte more than that to refuse, not the whole body.
    stream = io.BytesIO(b'"' + b"x" * 10 * limit + b'"')
    with pytest.raises(TooLargeError):
        ExactJSONParser().parse(stream)
    assert stream.tell() == limit + 1
