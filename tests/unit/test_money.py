from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.money import basis_points, ceil_to, floor_to, plain

amounts = st.decimals(min_value="-1e9", max_value="1e9", places=12)
steps = st.sampled_from(["1e-8", "0.00001", "0.001", "0.005", "0.01", "0.25", "0.5", "1", "5", "1000"]).map(Decimal)


@given(amounts, steps)
def test_floor_never_enlarges(value: Decimal, step: Decimal) -> None:
    floored = floor_to(value, step)

    # It should be the largest multiple of the step that is not above the value
    assert floored % step == 0
    assert floored <= value < floored + step


@given(amounts, steps)
def test_ceil_never_shrinks(value: Decimal, step: Decimal) -> None:
    raised = ceil_to(value, step)

    assert raised % step == 0
    assert raised - step < value <= raised


@given(st.integers(-(10**9), 10**9), steps)
def test_a_multiple_of_the_step_stays_as_it_is(count: int, step: Decimal) -> None:
    assert floor_to(count * step, step) == ceil_to(count * step, step) == count * step


@pytest.mark.parametrize(
    ("value", "step", "floored", "raised"),
    [
        ("0.0019999", "0.001", "0.001", "0.002"),
        ("0.3", "0.1", "0.3", "0.3"),
        ("-0.0011", "0.001", "-0.002", "-0.001"),
        ("0", "0.001", "0", "0"),
        ("50012.34", "0.10", "50012.3", "50012.4"),
    ],
)
def test_roundings_by_hand(value: str, step: str, floored: str, raised: str) -> None:
    assert floor_to(Decimal(value), Decimal(step)) == Decimal(floored)
    assert ceil_to(Decimal(value), Decimal(step)) == Decimal(raised)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1E-8", "0.00000001"),
        ("1E+3", "1000"),
        ("0.00200000", "0.002"),
        ("100.0", "100"),
        ("100", "100"),
        ("0E-18", "0"),
        ("-0.50", "-0.5"),
    ],
)
def test_plain_writes_numbers_as_the_exchange_reads_them(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value="-1e20", max_value="1e20"))
def test_plain_loses_nothing(value: Decimal) -> None:
    text = plain(value)

    assert Decimal(text) == value
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


def test_basis_points_are_hundredths_of_a_percent() -> None:
    assert str(basis_points(Decimal("0.005"))) == "50.00"
    assert str(basis_points(Decimal(400) / 50400)) == "79.37"
