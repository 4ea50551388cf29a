"""Cells of a CSV file: nothing is lost, and no text becomes a formula."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.csv_cells import cell, line
from execution.domain.states import TradeState


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "=cmd|' /C calc'!A0"])
def test_a_text_that_would_be_a_formula_is_none(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_numbers_keep_their_sign_and_all_digits() -> None:
    values = [Decimal("-0.000000000000000001"), Decimal("1E+3"), -5, None, True, TradeState.OPEN]

    assert [cell(value) for value in values] == ["-0.000000000000000001", "1000", "-5", "", "true", "OPEN"]
    assert cell(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)) == "2026-01-02T03:04:05.000678+00:00"
    assert cell({"a": "=1"}) == '{"a":"=1"}'


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=1, max_size=5))
def test_a_reader_gets_back_what_was_written(texts: list[str]) -> None:
    [row] = csv.reader(io.StringIO(line(texts), newline=""))

    assert row == [cell(text) for text in texts]
