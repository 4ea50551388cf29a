from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from execution.domain.attribution import exits_of_trade, part_of_fill, unbooked_fills
from execution.domain.outcomes import FillReport

D = Decimal
OURS, HAND = "1", "2"
quantities = st.integers(1, 50).map(lambda steps: steps * D("0.001"))


def fill(number: int, quantity: str | Decimal, order_id: str = HAND, fee: str = "0.05") -> FillReport:
    return FillReport(
        trade_id=number,
        order_id=order_id,
        symbol="BTCUSDT",
        buyer=False,
        position_side="BOTH",
        price=D(50000),
        quantity=D(quantity),
        realized_pnl=D(1),
        commission=D(fee),
        commission_asset="USDT",
        maker=False,
        at=datetime(2026, 3, 2, tzinfo=UTC),
    )


def taken(open_quantity: str, ours: list[FillReport], others: list[FillReport], held: str) -> list[tuple[int, Decimal]]:
    found = exits_of_trade(D(open_quantity), ours, others, D(held))
    return [(each.trade_id, each.quantity) for each in found]


def test_our_own_exits_are_ours_whatever_else_is_held() -> None:
    assert taken("0.010", [fill(1, "0.010", OURS)], [fill(2, "0.005")], "0.030") == [(1, D("0.010"))]


def test_what_others_close_counts_as_far_as_the_position_falls_short() -> None:
    assert taken("0.010", [], [fill(1, "0.004")], "0.006") == [(1, D("0.004"))]
    # Somebody added 0.020 and took it away again
    assert taken("0.010", [], [fill(1, "0.020")], "0.010") == []
    # Added 0.020, then sold 0.020 and 0.005: the newest fill is what was ours
    assert taken("0.010", [], [fill(1, "0.020"), fill(2, "0.005")], "0.005") == [(2, D("0.005"))]


def test_a_fill_that_turns_the_position_is_ours_up_to_what_was_open() -> None:
    assert taken("0.010", [], [fill(1, "0.025")], "0") == [(1, D("0.010"))]
    assert taken("0.010", [fill(1, "0.004", OURS)], [fill(2, "0.025")], "0") == [(1, D("0.004")), (2, D("0.006"))]


def test_a_part_of_a_fill_has_all_of_its_pnl_and_its_share_of_the_fee() -> None:
    part = part_of_fill(fill(1, "0.025"), D("0.010"))

    # The rest of the fill opened a position: it has realised nothing
    assert (part.quantity, part.commission, part.realized_pnl) == (D("0.010"), D("0.02"), D(1))


@given(quantities, st.lists(quantities, max_size=5), st.lists(quantities, max_size=5), st.integers(0, 60))
def test_never_more_than_was_open_and_never_a_fill_twice(
    open_quantity: Decimal, ours: list[Decimal], others: list[Decimal], held: int
) -> None:
    own = [fill(number, quantity, OURS) for number, quantity in enumerate(ours)]
    foreign = [fill(100 + number, quantity) for number, quantity in enumerate(others)]

    found = exits_of_trade(open_quantity, own, foreign, held * D("0.001"))

    assert sum((each.quantity for each in found), D(0)) <= open_quantity
    assert len({each.trade_id for each in found}) == len(found)
    for each in found:
        whole = next(one for one in (*own, *foreign) if one.trade_id == each.trade_id)
        assert Fraction(each.commission) <= Fraction(whole.commission)
        assert each.quantity <= whole.quantity


def test_what_is_left_of_a_fill_that_was_booked_in_part() -> None:
    fills = [fill(1, "0.010", fee="0.10"), fill(2, "0.004"), fill(3, "0.003")]

    [rest, new] = unbooked_fills(fills, {1: D("0.004"), 2: D("0.004")})

    # It should be its quantity's share of the fee; the PnL went with the first part
    assert (rest.trade_id, rest.quantity, rest.commission, rest.realized_pnl) == (1, D("0.006"), D("0.06"), D(0))
    assert new == fills[2]


def test_our_exits_are_taken_oldest_first_in_whatever_order_they_are_read() -> None:
    ours = [fill(3, "0.004", OURS), fill(1, "0.004", OURS), fill(2, "0.004", OURS)]

    assert taken("0.010", ours, [], "0") == [(1, D("0.004")), (2, D("0.004")), (3, D("0.002"))]


def test_fills_of_others_are_taken_newest_first_and_told_oldest_first() -> None:
    others = [fill(4, "0.003"), fill(2, "0.003"), fill(6, "0.003")]

    assert taken("0.012", [fill(5, "0.004", OURS)], others, "0") == [
        (2, D("0.002")),
        (4, D("0.003")),
        (5, D("0.004")),
        (6, D("0.003")),
    ]
    # It should take less of theirs while the exchange still holds a part
    assert taken("0.012", [fill(5, "0.004", OURS)], others, "0.004") == [
        (4, D("0.001")),
        (5, D("0.004")),
        (6, D("0.003")),
    ]
    assert taken("0.012", [fill(5, "0.004", OURS)], others, "0.008") == [(5, D("0.004"))]


def test_a_part_has_its_share_of_the_fees_value_too() -> None:
    whole = replace(fill(1, "0.025", fee="0.0001"), commission_asset="BNB", fee_value=D("0.075"))

    part = part_of_fill(whole, D("0.010"))
    assert (part.commission, part.fee_value) == (D("0.00004"), D("0.03"))
    assert part_of_fill(replace(whole, fee_value=None), D("0.010")).fee_value is None
    # It should be told to a trillionth, and be the fill itself when it is all of it
    assert part_of_fill(replace(whole, commission=D(1)), D("0.003")).commission == D("0.12")
    assert part_of_fill(replace(whole, quantity=D("0.003"), commission=D(1)), D("0.001")).commission == D(
        "0.333333333333"
    )
    assert part_of_fill(whole, D("0.025")) == whole


def test_what_was_booked_of_a_fill_is_not_booked_again_whatever_lies_around_it() -> None:
    fills = [replace(fill(1, "0.010"), pnl_value=D(2)), replace(fill(2, "0.004"), pnl_value=D(3))]

    # It should take the PnL's value away with the PnL
    (rest, new) = unbooked_fills(fills, {1: D("0.009")})
    assert (rest.quantity, rest.realized_pnl, rest.pnl_value) == (D("0.001"), D(0), D(0))
    assert new == fills[1]
    assert unbooked_fills(fills, {1: D("0.010"), 2: D("0.005")}) == []


def test_a_fill_that_is_taken_whole_is_left_to_the_last_digit() -> None:
    whole = replace(fill(1, "0.010", OURS), fee_value=D("0.12345678901234"))

    assert exits_of_trade(D("0.010"), [whole], [], D(0)) == [whole]
    assert exits_of_trade(D("0.011"), [whole], [], D(0)) == [whole]
