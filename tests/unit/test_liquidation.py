"""Where a position is closed by force, by the bracket that its size falls into."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.adapters.binance import parse
from execution.domain.liquidation import MarginBracket, bracket_for, liquidation_distance
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal
from execution.domain.safety import judge
from execution.domain.trading import Direction, OrderType
from tests.unit.examples import BTCUSDT, quote

# 1 % up to 5,000 USD, 5 % of what is beyond: the deduction keeps the amount from leaping where they meet.
SMALL = MarginBracket(notional_cap=Decimal(5000), rate=Decimal("0.01"), deduction=Decimal(0))
LARGE = MarginBracket(notional_cap=Decimal(100_000), rate=Decimal("0.05"), deduction=Decimal(200))
LADDER = (SMALL, LARGE)


@pytest.mark.parametrize(
    ("notional", "bracket"),
    [("0", SMALL), ("5000", SMALL), ("5000.01", LARGE), ("100000", LARGE), ("100000.01", LARGE)],
)
def test_a_cap_belongs_to_its_bracket_and_the_last_has_no_end(notional: str, bracket: MarginBracket) -> None:
    assert bracket_for(LADDER, Decimal(notional)) is bracket
    assert bracket_for(LADDER[::-1], Decimal(notional)) is bracket


LARGEST = MarginBracket(notional_cap=Decimal(300_000), rate=Decimal("0.1"), deduction=Decimal(5200))


@pytest.mark.parametrize("ladder", [(SMALL,), (SMALL, LARGE), (SMALL, LARGE, LARGEST), (LARGEST, SMALL, LARGE)])
def test_beyond_every_cap_the_bracket_of_the_highest_counts(ladder: tuple[MarginBracket, ...]) -> None:
    assert bracket_for(ladder, Decimal(300_001)) is max(ladder, key=lambda bracket: bracket.notional_cap)


def test_without_brackets_there_is_none() -> None:
    assert bracket_for((), Decimal(1)) is None


@given(
    st.sampled_from(Direction),
    st.integers(1, 125),
    st.decimals(min_value=5, max_value=1_000_000, places=2),
    st.decimals(min_value=0, max_value="0.1", places=4),
    st.decimals(min_value=0, max_value=5, places=2),
)
def test_at_the_distance_margin_and_result_are_what_maintenance_needs(
    direction: Direction, leverage: int, notional: Decimal, rate: Decimal, deduction: Decimal
) -> None:
    distance = liquidation_distance(direction, leverage=leverage, notional=notional, rate=rate, deduction=deduction)

    left = notional / leverage - notional * distance
    needed = notional * (1 - distance * direction.sign) * rate - deduction
    assert abs(left - needed) < Decimal("0.000001")


@pytest.mark.parametrize(("quantity", "expected"), [("0.1", None), ("0.16", Reason.STOP_BEYOND_LIQUIDATION)])
def test_the_size_decides_which_bracket_a_stop_is_held_against(quantity: str, expected: Reason | None) -> None:
    # 8 % away at 10x. 5,000 USD stand until 9.09 %; 8,000 USD until (10 % - 5 % + 200 / 8000) / 0.95 = 7.89 %.
    proposal = Proposal(
        symbol="BTCUSDT",
        direction=Direction.LONG,
        order_type=OrderType.MARKET,
        notional_usd=None,
        base_quantity=Decimal(quantity),
        limit_price=None,
        expected_price=None,
        leverage=10,
        stop_price=Decimal(46000),
        target_price=None,
        confidence=None,
    )

    verdict = judge(proposal, quote=quote(), rules=BTCUSDT, policy=Policy(values={}, version=0), brackets=LADDER)

    assert (verdict.refusal.refusal if verdict.refusal else None) is expected


def test_the_brackets_of_the_exchange() -> None:
    row = {
        "symbol": "BTCUSDT",
        "brackets": [
            {
                "bracket": 1,
                "initialLeverage": 125,
                "notionalCap": 300000,
                "notionalFloor": 0,
                "maintMarginRatio": 0.004,
                "cum": 0.0,
            }
        ],
    }

    expected = MarginBracket(notional_cap=Decimal(300_000), rate=Decimal("0.004"), deduction=Decimal(0))
    assert parse.margin_brackets([row]) == {"BTCUSDT": (expected,)}
