"""Implementation shortfall: three trades computed by hand, and parts that always add up."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.shortfall import (
    Benchmark,
    BestPrices,
    Execution,
    Parts,
    TradeSize,
    in_basis_points,
    shortfall_of,
    size_of,
)

D = Decimal


def test_a_long_that_was_filled_in_part_by_hand() -> None:
    """Decided at 100 for 10; the book 100.2 / 100.4; 4 at 100.4 and 4 at 100.6; left at 103."""
    trade = Execution(
        sign=1,
        wanted=D(10),
        filled=D(8),
        entry_value=4 * D("100.4") + 4 * D("100.6"),
        exit_price=D(103),
        decision_price=D(100),
        arrival=BestPrices(bid=D("100.2"), ask=D("100.4")),
        gross_pnl=D(20),
        fees=D("0.5"),
        funding=D("-0.2"),
        other_income=D(0),
    )

    found = shortfall_of(trade)

    # On paper (103 - 100) x 10 = 30; in truth 20 - 0.5 - 0.2 = 19.3.
    assert (found.total, found.benchmark, found.missed_quantity) == (D("10.7"), Benchmark.DECISION, D(2))
    assert found.parts == Parts(
        delay=D("2.4"),
        spread=D("0.8"),
        impact=D("0.8"),
        missed=D(6),
        fees=D("0.5"),
        funding=D("0.2"),
        other=D(0),
    )


def test_a_short_that_lost_and_was_paid_funding_by_hand() -> None:
    """Decided at 50 for 3; the book 49.9 / 50.1; sold at 49.88; bought back at 51."""
    trade = Execution(
        sign=-1,
        wanted=D(3),
        filled=D(3),
        entry_value=3 * D("49.88"),
        exit_price=D(51),
        decision_price=D(50),
        arrival=BestPrices(bid=D("49.9"), ask=D("50.1")),
        gross_pnl=D("-3.36"),
        fees=D("0.12"),
        funding=D("0.05"),
        other_income=D(0),
    )

    found = shortfall_of(trade)

    # On paper -(51 - 50) x 3 = -3; in truth -3.36 - 0.12 + 0.05 = -3.43.
    assert found.total == D("0.43")
    assert found.parts == Parts(
        delay=D(0), spread=D("0.3"), impact=D("0.06"), missed=D(0), fees=D("0.12"), funding=D("-0.05"), other=D(0)
    )


def test_a_trade_in_bitcoin_without_a_price_of_its_own_by_hand() -> None:
    """ETHBTC: the book 0.0500 / 0.0501; 1.5 of 2 at 0.0501; left at 0.0512. The delay is not known."""
    trade = Execution(
        sign=1,
        wanted=D(2),
        filled=D("1.5"),
        entry_value=D("1.5") * D("0.0501"),
        exit_price=D("0.0512"),
        decision_price=None,
        arrival=BestPrices(bid=D("0.0500"), ask=D("0.0501")),
        gross_pnl=D("0.00165"),
        fees=D("0.00003"),
        funding=D(0),
        other_income=D(0),
    )

    found = shortfall_of(trade)

    # On paper (0.0512 - 0.05005) x 2 = 0.0023; in truth 0.00162.
    assert (found.total, found.benchmark, found.benchmark_price) == (D("0.00068"), Benchmark.ARRIVAL, D("0.05005"))
    assert found.parts == Parts(
        spread=D("0.000075"), impact=D(0), missed=D("0.000575"), fees=D("0.00003"), funding=D(0), other=D(0)
    )


def known(**fields: Any) -> Execution:
    rest: dict[str, Any] = {
        "sign": 1,
        "wanted": D(1),
        "filled": D(1),
        "entry_value": D(101),
        "exit_price": D(105),
        "decision_price": D(100),
        "arrival": None,
        "gross_pnl": D(4),
        "fees": D("0.1"),
        "funding": D(0),
        "other_income": D("-0.25"),
    }
    return Execution(**{**rest, **fields})


def test_without_the_book_the_price_s_part_is_not_split() -> None:
    found = shortfall_of(known())

    assert found.parts == Parts(unsplit=D(1), missed=D(0), fees=D("0.1"), funding=D(0), other=D("0.25"))
    assert found.total == D("1.35")


@pytest.mark.parametrize("missing", [{"decision_price": None}, {"entry_value": None}])
def test_what_has_no_benchmark_has_no_shortfall(missing: dict[str, Any]) -> None:
    found = shortfall_of(known(**missing))

    assert (found.benchmark, found.total) == (Benchmark.UNKNOWN, None)
    assert found.parts == Parts(fees=D("0.1"), funding=D(0))


def test_what_the_exchange_rounds_is_in_the_rest() -> None:
    """A realised result that is a hundred-millionth off."""
    assert shortfall_of(known(gross_pnl=D("3.99999999"), other_income=D(0))).parts.other == D("0.00000001")


PRICE = st.decimals(min_value="0.0001", max_value=200_000, places=8)
QUANTITY = st.decimals(min_value="0.001", max_value=10_000, places=8)
AMOUNT = st.decimals(min_value=-10_000, max_value=10_000, places=12)


@given(
    sign=st.sampled_from([1, -1]),
    wanted=QUANTITY,
    share=st.decimals(min_value="0.01", max_value="1.2", places=2),
    fill_price=PRICE,
    exit_price=st.decimals(min_value="0.0001", max_value=200_000, places=18),
    decision=st.none() | PRICE,
    book=st.none() | st.tuples(PRICE, st.decimals(min_value=0, max_value=100, places=8)),
    amounts=st.tuples(AMOUNT, AMOUNT, AMOUNT, AMOUNT),
)
def test_the_parts_add_up_to_the_last_digit(
    sign: int,
    wanted: D,
    share: D,
    fill_price: D,
    exit_price: D,
    decision: D | None,
    book: tuple[D, D] | None,
    amounts: tuple[D, D, D, D],
) -> None:
    filled = wanted * share
    gross, fees, funding, other = amounts
    trade = Execution(
        sign=sign,
        wanted=wanted,
        filled=filled,
        entry_value=fill_price * filled,
        exit_price=exit_price,
        decision_price=decision,
        arrival=BestPrices(bid=book[0], ask=book[0] + book[1]) if book else None,
        gross_pnl=gross,
        fees=fees,
        funding=funding,
        other_income=other,
    )

    found = shortfall_of(trade)

    if found.total is None:
        assert (decision, book) == (None, None)
        return
    assert found.parts.total() == found.total
    # It should be what the paper trade earned more, and the spread never be earned.
    price = found.benchmark_price or D(0)
    paper = sign * (exit_price - price) * max(wanted, filled)
    assert abs(found.total - (paper - (gross - fees + funding + other))) < D("1e-9")
    assert found.parts.spread is None or found.parts.spread >= 0
    assert (found.parts.delay is None) == (decision is None or book is None)


@pytest.mark.parametrize(
    ("notional", "size"), [("999.99", "<1k"), ("1000", "1k-10k"), ("99999", "10k-100k"), ("100000", ">=100k")]
)
def test_classes_of_size(notional: str, size: str) -> None:
    assert size_of(D(notional)) == TradeSize(size)


def test_what_is_not_known_has_no_class_and_no_share() -> None:
    assert (size_of(None), in_basis_points(None, D(1)), in_basis_points(D(1), D(0))) == (None, None, None)
    assert in_basis_points(D("1.25"), D(1000)) == D("12.50")
