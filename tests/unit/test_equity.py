"""What moved the wallets: the parts always add up to the change, and transfers are never a result."""

from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from execution.domain.equity import (
    Drawdown,
    Peak,
    WalletIncome,
    WalletPart,
    Wallets,
    added,
    drawdowns,
    explain_change,
    part_of,
    parts_in_usd,
    worth,
)

D = Decimal
AMOUNT = st.decimals(min_value=-(10**9), max_value=10**9, places=8)
WALLETS = st.dictionaries(st.sampled_from(["USDT", "USDC", "BNB"]), AMOUNT, max_size=3)
LINES = st.lists(
    st.tuples(st.sampled_from(["USDT", "USDC", "BTC"]), st.sampled_from([*WalletIncome, "NEW_KIND"]), AMOUNT),
    max_size=12,
)


@given(WALLETS, WALLETS, LINES)
def test_the_parts_add_up_to_each_asset_s_change(
    before: dict[str, D], after: dict[str, D], lines: list[tuple[str, str, D]]
) -> None:
    parts = explain_change(before, after, lines)

    for asset in {*before, *after, *(line[0] for line in lines)}:
        assert sum(parts.get(asset, {}).values(), D(0)) == after.get(asset, D(0)) - before.get(asset, D(0))


@given(st.lists(WALLETS, min_size=2, max_size=5), LINES)
def test_the_parts_of_a_span_are_the_sums_of_its_rows(
    wallets: list[dict[str, D]], lines: list[tuple[str, str, D]]
) -> None:
    """A row that stands for several has the parts that the whole span has, unexplained ones too."""
    steps = [explain_change(a, b, lines if n == 0 else []) for n, (a, b) in enumerate(pairwise(wallets))]
    whole = explain_change(wallets[0], wallets[-1], lines)

    sums = {asset: {p: v for p, v in parts.items() if v} for asset, parts in added(steps).items()}
    assert {asset: parts for asset, parts in sums.items() if parts} == whole


def test_what_no_line_explains_is_shown() -> None:
    parts = explain_change({"USDT": D(100)}, {"USDT": D("98.5")}, [("USDT", "COMMISSION", D("-0.5"))])

    assert parts == {"USDT": {WalletPart.FEES: D("-0.5"), WalletPart.UNEXPLAINED: D(-1)}}


def test_a_kind_that_is_not_known_yet_is_other_income() -> None:
    assert part_of("SOMETHING_NEW") is WalletPart.OTHER
    assert [part_of(kind) for kind in ("TRANSFER", "REALIZED_PNL", "FUNDING_FEE", "COMMISSION")] == [
        WalletPart.TRANSFERS,
        WalletPart.REALISED,
        WalletPart.FUNDING,
        WalletPart.FEES,
    ]


def test_an_asset_without_an_index_is_in_no_sum_and_named() -> None:
    wallets = Wallets(balances={"USDT": D(100), "ODD": D(5)}, unrealized={"BTC": D("0.1")})

    value = worth(wallets, {"USDT": D(1), "BTC": D(50_000)})

    assert (value.wallet_usd, value.unrealized_usd, value.unpriced) == (D(100), D(5000), ["ODD"])
    parts = parts_in_usd({"ODD": {WalletPart.FEES: D(-1)}, "BTC": {WalletPart.FEES: D("-0.001")}}, {"BTC": D(50_000)})
    assert parts[WalletPart.FEES] == D(-50)


def test_drawdown_from_the_highest_point_by_hand() -> None:
    """1000, up to 1200, down to 900: 300 below, a quarter of the highest point. A deposit of 500 mends nothing."""
    points = [(D(1000), D(0)), (D(1200), D(0)), (D(900), D(0)), (D(1400), D(500)), (D(1000), D(-700))]

    found = [fallen for fallen, _ in drawdowns(points)]

    assert [fallen.usd for fallen in found] == [0, 0, 300, 300, 0]
    assert [fallen.percent for fallen in found[:3]] == [0, 0, 25]
    # 1400 now, and 1700 if nothing had been lost.
    assert found[3].percent == D(300) / D(1700) * 100


def test_a_run_goes_on_from_the_peak_of_the_one_before() -> None:
    points = [(D(1000), D(0)), (D(1100), D(50)), (D(800), D(0)), (D(900), D(-10))]
    whole = list(drawdowns(points))

    peak: Peak | None = None
    parts = []
    for point in points:
        [(fallen, peak)] = list(drawdowns([point], begin=peak))
        parts.append((fallen, peak))

    assert parts == whole


def test_nothing_to_lose_has_no_percentage() -> None:
    [(fallen, _)] = list(drawdowns([(D(0), D(0))]))

    assert fallen == Drawdown(usd=D(0), percent=None)
