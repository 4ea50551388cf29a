from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.pnl import FillAmounts, assumed_cost, excursion, result_of, total_commission, total_quantity, vwap


def fill(price: str, quantity: str, realized: str = "0", commission: str = "0") -> FillAmounts:
    return FillAmounts(
        price=Decimal(price),
        quantity=Decimal(quantity),
        realized_pnl=Decimal(realized),
        commission=Decimal(commission),
    )


amounts = st.decimals(min_value="-10000", max_value="10000", places=6)
fills = st.lists(
    st.builds(
        FillAmounts,
        price=st.decimals(min_value="0.01", max_value="100000", places=2),
        quantity=st.decimals(min_value="0.001", max_value="1000", places=3),
        realized_pnl=amounts,
        commission=st.decimals(min_value="-1", max_value="50", places=6),
    ),
    min_size=1,
    max_size=6,
)


def test_a_trade_is_booked_from_its_fills() -> None:
    result = result_of(
        entries=[fill("50000", "0.001", commission="0.02"), fill("50010", "0.001", commission="0.02")],
        exits=[fill("52000", "0.0005", "0.9975", "0.0104"), fill("52100", "0.0015", "3.1425", "0.0313")],
        funding=Decimal("-0.01"),
        margin=Decimal("10.001"),
        risk=Decimal("2.01"),
    )

    # It should take the exchange's realised PnL, less the commissions of both sides, plus funding
    assert result.gross_pnl == Decimal("4.14")
    assert result.fees == Decimal("0.0817")
    assert result.net_pnl == Decimal("4.0483")
    # It should average the exit over its quantities: (26 + 78.15) / 0.002
    assert result.exit_price == 52075
    assert result.pnl_percent == Decimal("4.0483") / Decimal("10.001") * 100
    assert result.r_multiple == Decimal("4.0483") / Decimal("2.01")


def test_leverage_does_not_multiply_the_result() -> None:
    # 0.01 BTC from 50000 to 51000 earns 10 USD, at 10x (margin 50) as at 1x
    result = result_of(
        entries=[fill("50000", "0.01")],
        exits=[fill("51000", "0.01", "10")],
        funding=Decimal(0),
        margin=Decimal(50),
        risk=Decimal(10),
    )

    assert [result.net_pnl, result.pnl_percent, result.r_multiple] == [10, 20, 1]


@given(fills, fills, amounts)
def test_net_is_realised_less_fees_plus_funding(
    entries: list[FillAmounts], exits: list[FillAmounts], funding: Decimal
) -> None:
    result = result_of(entries=entries, exits=exits, funding=funding, margin=None, risk=None)

    # It should hold to the last digit
    assert result.net_pnl + result.fees - funding == result.gross_pnl
    assert result.gross_pnl == sum(entry.realized_pnl for entry in [*entries, *exits])
    assert result.fees == sum(entry.commission for entry in [*entries, *exits])
    # It should average within the exits' own prices
    prices = [entry.price for entry in exits]
    rounding = Decimal("1e-20")
    assert min(prices) - rounding <= result.exit_price <= max(prices) + rounding


@pytest.mark.parametrize("unknown", [None, Decimal(0)])
def test_what_is_not_known_stays_unknown(unknown: Decimal | None) -> None:
    result = result_of(
        entries=[fill("50000", "1")], exits=[fill("50001", "1", "1")], funding=Decimal(0), margin=unknown, risk=unknown
    )

    # It should say nothing rather than zero
    assert (result.pnl_percent, result.r_multiple) == (None, None)


def test_fees_alone_make_a_loss() -> None:
    result = result_of(
        entries=[fill("100", "1", commission="0.05")],
        exits=[fill("100", "1", commission="0.05")],
        funding=Decimal("-0.02"),
        margin=None,
        risk=None,
    )

    assert result.net_pnl == Decimal("-0.12")


def test_sums_over_fills() -> None:
    several = [fill("100", "1", commission="0.1"), fill("200", "3", commission="-0.02")]

    assert vwap(several) == 175
    assert total_quantity(several) == 4
    assert total_commission(several) == Decimal("0.08")
    assert total_quantity([]) == total_commission([]) == 0


@pytest.mark.parametrize(
    ("sign", "adverse", "favourable"), [(1, Decimal("0.5"), Decimal(2)), (-1, Decimal(2), Decimal("0.5"))]
)
def test_the_excursion_is_how_far_the_price_went_both_ways(sign: int, adverse: Decimal, favourable: Decimal) -> None:
    moved = excursion(
        sign=sign, entry_price=Decimal(100), quantity=Decimal("0.5"), lowest=Decimal(99), highest=Decimal(104)
    )

    assert moved is not None
    assert (moved.adverse, moved.favourable) == (adverse, favourable)
    assert (moved.adverse_percent, moved.favourable_percent) == (adverse * 2, favourable * 2)


def test_there_is_no_excursion_without_a_price() -> None:
    assert excursion(sign=1, entry_price=Decimal(100), quantity=Decimal(1), lowest=None, highest=None) is None


@pytest.mark.parametrize(
    ("fees_unvalued", "income_unvalued", "cost"),
    [(False, False, "0"), (True, False, "2.5"), (False, True, "40"), (True, True, "42.5")],
)
def test_what_nobody_can_value_counts_at_its_worst(fees_unvalued: bool, income_unvalued: bool, cost: str) -> None:  # noqa: FBT001
    # A tenth of a percent of 2,500, and the whole margin.
    found = assumed_cost(
        turnover=Decimal(2500), margin=Decimal(40), fees_unvalued=fees_unvalued, income_unvalued=income_unvalued
    )

    assert found == Decimal(cost)


@pytest.mark.parametrize(("other", "net"), [("0", "6.5"), ("-2", "4.5"), ("3", "9.5")])
def test_what_a_liquidation_costs_beside_its_fills_is_in_the_net_result(other: str, net: str) -> None:
    result = result_of(
        entries=[fill("100", "1", commission="0.25")],
        exits=[fill("90", "1", realized="7", commission="0.75")],
        funding=Decimal("0.5"),
        other=Decimal(other),
        margin=None,
        risk=None,
    )

    assert (result.gross_pnl, result.fees, result.net_pnl) == (Decimal(7), Decimal(1), Decimal(net))
    assert (result.pnl_percent, result.r_multiple) == (None, None)


@pytest.mark.parametrize(
    ("entry", "lowest", "highest"), [("100", None, "110"), ("100", "90", None), ("0", "90", "110"), ("100", None, None)]
)
def test_without_prices_there_is_no_excursion(entry: str, lowest: str | None, highest: str | None) -> None:
    low, high = (None if price is None else Decimal(price) for price in (lowest, highest))

    assert excursion(sign=-1, entry_price=Decimal(entry), quantity=Decimal(1), lowest=low, highest=high) is None
