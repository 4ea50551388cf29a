"""A LIMIT entry that the book meets is filled by the book: the guard refers to the better of limit and book."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain import policy as keys
from execution.domain.depth import levels_within, quantity_worth, walk
from execution.domain.liquidation import MarginBracket
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal
from execution.domain.safety import Verdict, judge
from execution.domain.sizing import SizingMode
from execution.domain.trading import Direction, OrderType, Quote
from tests.unit.examples import BTCUSDT, levels

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
RULES = replace(BTCUSDT, percent_price_up=D("1.05"), percent_price_down=D("0.95"))


def limit(direction: Direction, price: str, **fields: object) -> Proposal:
    asked = Proposal(
        symbol="BTCUSDT",
        direction=direction,
        order_type=OrderType.LIMIT,
        notional_usd=D(1000),
        base_quantity=None,
        limit_price=D(price),
        expected_price=None,
        leverage=5,
        stop_price=None,
        target_price=None,
        confidence=None,
    )
    return replace(asked, **fields)  # type: ignore[arg-type]  # fields of Proposal


def book(bids: tuple[str, ...] = ("49999",), asks: tuple[str, ...] = ("50001",)) -> Quote:
    return Quote(symbol="BTCUSDT", bids=levels(*bids), asks=levels(*asks), mark=D(50_000))


def judged(asked: Proposal, quote: Quote | None = None, **values: str) -> Verdict:
    policy = Policy(values={getattr(keys, name): D(value) for name, value in values.items()}, version=1)
    return judge(asked, quote=quote or book(), rules=RULES, policy=policy)


# Far through the book, a tick through it, equal to it, and resting.
@pytest.mark.parametrize(
    ("direction", "price", "reference", "stop", "target"),
    [
        (LONG, "52500", "50001", "48750.9", "53001.0"),
        (LONG, "50001.1", "50001", "48750.9", "53001.0"),
        (LONG, "50001", "50001", "48750.9", "53001.0"),
        (LONG, "50000.9", "50000.9", "48750.8", "53000.9"),
        (LONG, "49000", "49000", "47775", "51940"),
        (SHORT, "47500", "49999", "51249.0", "46999.1"),
        (SHORT, "49998.9", "49999", "51249.0", "46999.1"),
        (SHORT, "49999", "49999", "51249.0", "46999.1"),
        (SHORT, "49999.1", "49999.1", "51249.1", "46999.2"),
        (SHORT, "51000", "51000", "52275", "47940"),
    ],
)
def test_exits_refer_to_the_better_of_limit_and_book(
    direction: Direction, price: str, reference: str, stop: str, target: str
) -> None:
    verdict = judged(limit(direction, price))

    assert verdict.refusal is None
    assert (verdict.limit_price, verdict.reference_price) == (D(price), D(reference))
    assert (verdict.stop_price, verdict.target_price) == (D(stop), D(target))
    # It should never plan a stop that the market has passed already
    assert (D(50_000) - verdict.stop_price) * direction.sign > 0
    met = [each.numbers for each in verdict.rules if each.rule == "limit_meets_book"]
    assert met == ([f"limit={price} reference={reference}"] if price != reference else [])


@pytest.mark.parametrize(
    ("direction", "price", "stop", "target"), [(LONG, "52000", "49000", "51500"), (SHORT, "48000", "51000", "48500")]
)
def test_exits_that_are_sane_by_the_book_are_not_refused_by_the_limit(
    direction: Direction, price: str, stop: str, target: str
) -> None:
    verdict = judged(limit(direction, price, stop_price=D(stop), target_price=D(target)))

    # Held against the limit, the target would lie on the losing side
    assert verdict.refusal is None
    assert (verdict.stop_price, verdict.target_price) == (D(stop), D(target))


@pytest.mark.parametrize(("direction", "price", "stop"), [(LONG, "52000", "51000"), (SHORT, "48000", "49000")])
def test_a_stop_between_book_and_limit_is_on_the_wrong_side(direction: Direction, price: str, stop: str) -> None:
    verdict = judged(limit(direction, price, stop_price=D(stop)))

    assert verdict.refusal
    assert verdict.refusal.refusal is Reason.STOP_ON_WRONG_SIDE


# 1000 USD: 0.010 are there at the best price, the rest is taken at the next level or rests at the limit.
@pytest.mark.parametrize(
    ("direction", "price", "sides", "quantity"),
    [
        # Alone at the ask 1000 / 50001 = 0.0199
        (LONG, "52000", ("50001",), "0.019"),
        # 0.010 at 50001 are 500.01; 499.99 / 52000 = 0.0096 more rest at the limit
        (LONG, "52000", ("50001x0.010", "52001"), "0.019"),
        # 0.001 at 50001 is 50.001; 949.999 / 52500 = 0.01809
        (LONG, "52500", ("50001x0.001",), "0.019"),
        (LONG, "52500", ("50001x0.0001",), "0.019"),
        # At 47500, 0.0210; of 0.001 at 49999 950.001 / 47500 = 0.02
        (SHORT, "47500", ("49999",), "0.020"),
        (SHORT, "47500", ("49999x0.001",), "0.021"),
    ],
)
def test_a_notional_is_counted_where_each_part_of_it_fills(
    direction: Direction, price: str, sides: tuple[str, ...], quantity: str
) -> None:
    quote = book(asks=sides) if direction is LONG else book(bids=sides)

    verdict = judged(limit(direction, price), quote)

    assert verdict.refusal is None
    assert verdict.quantity == D(quantity)


@pytest.mark.parametrize(("direction", "price"), [(LONG, "52500"), (SHORT, "47500")])
def test_the_exchange_counts_its_least_notional_at_the_limit(direction: Direction, price: str) -> None:
    verdict = judged(limit(direction, price, notional_usd=None, base_quantity=D("0.002")))

    numbers = {each.rule: each.numbers for each in verdict.rules}
    paid = verdict.reference_price * D("0.002")
    assert numbers["min_notional"] == f"expected>=5 actual={(D(price) * D('0.002')).normalize():f}"
    assert numbers["max_notional"] == f"expected<=10000 actual={paid.normalize():f}"


@pytest.mark.parametrize(
    ("direction", "fits", "beyond", "bound"),
    [(LONG, "52500", "52500.1", "<=52500"), (SHORT, "47500", "47499.9", ">=47500")],
)
def test_a_limit_beyond_the_exchanges_band_is_refused_before_it_is_sent(
    direction: Direction, fits: str, beyond: str, bound: str
) -> None:
    refused = judged(limit(direction, beyond)).refusal

    assert judged(limit(direction, fits)).refusal is None
    assert refused
    assert refused.refusal is Reason.PRICE_OUT_OF_BOUNDS
    assert refused.numbers == f"expected{bound} actual={beyond} mark=50000"


@pytest.mark.parametrize(("direction", "away"), [(LONG, "30000"), (SHORT, "70000")])
def test_the_band_is_one_sided(direction: Direction, away: str) -> None:
    assert judged(limit(direction, away)).refusal is None


@pytest.mark.parametrize(("direction", "price"), [(LONG, "52000"), (SHORT, "48000")])
def test_an_empty_side_of_the_book_leaves_the_limit(direction: Direction, price: str) -> None:
    verdict = judged(limit(direction, price), Quote(symbol="BTCUSDT", bids=(), asks=(), mark=D(50_000)))

    assert (verdict.reference_price, verdict.refusal) == (D(price), None)


@pytest.mark.parametrize(("direction", "price"), [(LONG, "52000"), (SHORT, "48000")])
def test_a_part_that_rests_brings_liquidation_nearer(direction: Direction, price: str) -> None:
    """Nine tenths of it are entered at the limit, so the whole is liquidated nearer to the market."""
    size = {"notional_usd": None, "base_quantity": D("0.010"), "leverage": 10}
    stop = D(50_000) - direction.sign * D(4_000)
    brackets = (MarginBracket(notional_cap=D(10**9), rate=D("0.01"), deduction=D(0)),)
    policy = Policy(values={keys.MAX_STOP_DISTANCE: D("0.5")}, version=1)
    asked = limit(direction, price, stop_price=stop, **size)
    thin = book(bids=("49999x0.001",), asks=("50001x0.001",))

    deep = judge(asked, quote=book(), rules=RULES, policy=policy, brackets=brackets)
    resting = judge(asked, quote=thin, rules=RULES, policy=policy, brackets=brackets)

    assert deep.refusal is None
    assert resting.refusal
    assert resting.refusal.refusal is Reason.STOP_BEYOND_LIQUIDATION


@pytest.mark.parametrize(("direction", "price", "stop"), [(LONG, "52000", "49001"), (SHORT, "48000", "50999")])
def test_a_size_by_risk_enters_at_the_book(direction: Direction, price: str, stop: str) -> None:
    mode = str(SizingMode.RISK_PER_TRADE.value)
    asked = limit(direction, price, stop_price=D(stop))

    verdict = judged(asked, SIZING_MODE=mode, RISK_PER_TRADE="100", TAKER_FEE="0", STOP_SLIPPAGE="0")

    # 1000 a unit from the book, 3000 a unit from the limit
    assert verdict.quantity == D("0.1")


sizes = st.decimals(min_value="0.001", max_value="5", places=3)


@given(st.lists(sizes, max_size=6), st.decimals(min_value="0", max_value="60", places=1), sizes)
def test_nothing_is_counted_worse_than_the_limit(depths: list[Decimal], through: Decimal, quantity: Decimal) -> None:
    asks = [replace(levels("1")[0], price=D(50_000) + 10 * number, quantity=size) for number, size in enumerate(depths)]
    price = D(50_000) + through

    counted = levels_within(asks, price, 1)

    assert D(50_000) <= walk(counted, quantity).average_price <= price
    # It should take as much as is there, and cost what its levels cost
    cost = walk(counted, quantity).average_price * quantity
    assert abs(quantity_worth(counted, cost) - quantity) < D("1e-20")
