from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.pnl import FillAmounts, excursion, settle, total_commission, total_quantity, vwap


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
    result = settle(
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
    result = settle(
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
    result = settle(entries=entries, exits=exits, funding=funding, margin=None, risk=None)

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
    result = settle(
        entries=[fill("50000", "1")], exits=[fill("50001", "1", "1")], funding=Decimal(0), margin=unknown, risk=unknown
    )

    # It should say nothing rather than zero
    assert (result.pnl_percent, result.r_multiple) == (None, None)


def test_fees_alone_make_a_loss() -> None:
    result = settle(
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
