from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain import policy as keys
from execution.domain.depth import Level, walk
from execution.domain.lots import LotRule, lot_rule
from execution.domain.money import floor_to
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import AskedSize, Proposal, RuleVerdict, SizeMeasure
from execution.domain.safety import Verdict, judge
from execution.domain.sizing import Loss, SizingMode, needs_equity, quantity_at_risk, quantity_for, sizing_mode
from execution.domain.trading import Direction, OrderType
from tests.unit.examples import BTCUSDT, levels, quote

DECISION = Proposal(
    symbol="BTCUSDT",
    direction=Direction.LONG,
    order_type=OrderType.MARKET,
    notional_usd=Decimal(100),
    base_quantity=None,
    limit_price=None,
    expected_price=Decimal(50000),
    leverage=5,
    stop_price=Decimal(49000),
    target_price=Decimal(53000),
    confidence=None,
)

notionals = st.decimals(min_value="0.01", max_value="1e7", places=2)
prices = st.decimals(min_value="0.00001", max_value="200000", places=5)
steps = st.sampled_from(["0.00001", "0.001", "0.1", "1", "10", "1000"]).map(Decimal)


def one_price(price: Decimal) -> list[Level]:
    return [Level(price=price, quantity=Decimal("Infinity"))]


@given(notionals, prices, steps)
def test_a_quantity_is_a_multiple_of_the_step_and_never_worth_more_than_asked(
    notional: Decimal, price: Decimal, step: Decimal
) -> None:
    quantity = quantity_for(notional, one_price(price), LotRule(step=step, minimum=step, maximum=Decimal(10**9)))

    assert quantity % step == 0
    assert quantity * price <= notional
    # It should not waste a whole step either
    assert (quantity + step) * price > notional


def test_too_little_money_for_one_step_buys_nothing() -> None:
    lot = LotRule(step=Decimal("0.001"), minimum=Decimal("0.001"), maximum=Decimal(1000))

    # It should not be enlarged to the step, nor to the minimum
    assert quantity_for(Decimal("49.99"), one_price(Decimal(50000)), lot) == 0
    assert quantity_for(Decimal(50), one_price(Decimal(50000)), lot) == Decimal("0.001")


def test_a_limit_order_is_held_against_the_limit_filter_only() -> None:
    rules = replace(BTCUSDT, market_step=Decimal("0.01"), market_max_quantity=Decimal(120))

    assert lot_rule(rules, OrderType.LIMIT) == LotRule(
        step=Decimal("0.001"), minimum=Decimal("0.001"), maximum=Decimal(1000)
    )


@pytest.mark.parametrize(
    ("limit_step", "market_step", "step"), [("0.001", "0.01", "0.01"), ("0.01", "0.001", "0.01"), ("1", "1", "1")]
)
def test_a_market_order_fits_both_filters(limit_step: str, market_step: str, step: str) -> None:
    rules = replace(
        BTCUSDT,
        limit_step=Decimal(limit_step),
        market_step=Decimal(market_step),
        market_min_quantity=Decimal("0.02"),
        market_max_quantity=Decimal(120),
    )

    lot = lot_rule(rules, OrderType.MARKET)

    # It should take the coarser step, the larger minimum and the smaller maximum
    assert lot == LotRule(step=Decimal(step), minimum=Decimal("0.02"), maximum=Decimal(120))


def policy(mode: SizingMode, **values: str) -> Policy:
    named = {getattr(keys, name): Decimal(value) for name, value in values.items()}
    return Policy(values={keys.SIZING_MODE: Decimal(mode)} | named, version=1)


def sized(proposal: Proposal, values: Policy, equity: str | None = None) -> Verdict:
    worth = None if equity is None else Decimal(equity)
    return judge(proposal, quote=quote(), rules=BTCUSDT, policy=values, equity=worth)


def size_rule(verdict: Verdict) -> RuleVerdict:
    (found,) = (rule for rule in verdict.rules if rule.rule == "size")
    return found


@pytest.mark.parametrize(
    ("equity", "fraction", "quantity", "refused"),
    [
        ("10000", "0.02", "0.004", None),
        # The step is floored: 249.99 USD are 0.00499 BTC
        ("9999.99", "0.025", "0.004", None),
        ("10000", "0.025", "0.005", None),
        ("10000", "1", "0.2", None),
        ("10000", "1.01", "0.202", Reason.NOTIONAL_EXCEEDS_LIMIT),
        ("10000", "0.0049", "0", Reason.QUANTITY_BELOW_MINIMUM),
        ("0", "0.02", "0", Reason.EQUITY_UNKNOWN),
        ("-50", "0.02", "0", Reason.EQUITY_UNKNOWN),
        (None, "0.02", "0", Reason.EQUITY_UNKNOWN),
    ],
)
def test_a_size_by_equity(equity: str | None, fraction: str, quantity: str, refused: Reason | None) -> None:
    verdict = sized(DECISION, policy(SizingMode.EQUITY_FRACTION, EQUITY_FRACTION=fraction), equity)

    assert verdict.quantity == Decimal(quantity)
    assert (verdict.refusal.refusal if verdict.refusal else None) is refused


def test_a_size_by_the_policy_is_recorded_before_and_after() -> None:
    rule = size_rule(sized(DECISION, policy(SizingMode.EQUITY_FRACTION, EQUITY_FRACTION="0.02"), "10000"))

    assert (rule.before, rule.after) == (Decimal(100), Decimal(200))
    assert rule.numbers == "mode=equity_fraction equity=10000 fraction=0.02 price=50000 quantity=0.004"


@pytest.mark.parametrize(
    ("stop", "costs", "quantity", "at_stop"),
    [
        # 1000 USD a BTC to the stop: 10 USD are 0.01 BTC
        ("49000", {"TAKER_FEE": "0", "STOP_SLIPPAGE": "0"}, "0.010", "10"),
        ("49500", {"TAKER_FEE": "0", "STOP_SLIPPAGE": "0"}, "0.020", "10"),
        # fees of both sides: 1000 + 0.0005 x 99000 = 1049.5
        ("49000", {"TAKER_FEE": "0.0005", "STOP_SLIPPAGE": "0"}, "0.009", "9.4455"),
        # the stop fills at 48951: 1049 + 0.0005 x 98951 = 1098.4755
        ("49000", {"TAKER_FEE": "0.0005", "STOP_SLIPPAGE": "0.001"}, "0.009", "9.8862795"),
    ],
)
def test_a_size_by_what_the_stop_may_lose(stop: str, costs: dict[str, str], quantity: str, at_stop: str) -> None:
    values = policy(SizingMode.RISK_PER_TRADE, RISK_PER_TRADE="10", **costs)

    verdict = sized(replace(DECISION, stop_price=Decimal(stop)), values)

    assert verdict.refusal is None
    assert verdict.quantity == Decimal(quantity)
    assert f" at_stop={at_stop} " in size_rule(verdict).numbers


def test_a_short_and_a_limit_order_are_sized_by_their_stop_too() -> None:
    values = policy(SizingMode.RISK_PER_TRADE, RISK_PER_TRADE="10", TAKER_FEE="0", STOP_SLIPPAGE="0")
    short = replace(DECISION, direction=Direction.SHORT, stop_price=Decimal(50500), target_price=None)
    limit = replace(DECISION, order_type=OrderType.LIMIT, limit_price=Decimal(49500), expected_price=None)

    assert sized(short, values).quantity == Decimal("0.02")
    # It should count from the limit: 500 USD a BTC
    assert sized(limit, values).quantity == Decimal("0.02")


def test_a_stop_that_was_moved_is_the_one_that_sizes() -> None:
    values = policy(SizingMode.RISK_PER_TRADE, RISK_PER_TRADE="1", TAKER_FEE="0", STOP_SLIPPAGE="0")

    verdict = sized(replace(DECISION, stop_price=Decimal(49999)), values)

    # It should not take the 1 USD to the stop as asked for, but the 50 USD to where it is moved
    assert verdict.stop_price == 49950
    assert verdict.quantity == Decimal("0.02")


def test_without_a_stop_nothing_can_be_sized_by_it() -> None:
    values = policy(SizingMode.RISK_PER_TRADE, DEFAULT_STOP="0", ALLOW_NO_STOP="1")

    verdict = sized(replace(DECISION, stop_price=None), values)

    assert verdict.refusal
    assert (verdict.refusal.rule, verdict.refusal.refusal) == ("stop_to_size_by", Reason.STOP_REQUIRED)


@pytest.mark.parametrize("mode", SizingMode)
def test_a_persons_quantity_stands_in_every_mode(mode: SizingMode) -> None:
    proposal = replace(DECISION, notional_usd=None, base_quantity=Decimal("0.003"))

    assert sizing_mode(proposal, policy(mode)) is SizingMode.NOTIONAL
    assert sized(proposal, policy(mode)).quantity == Decimal("0.003")


def asking(measure: SizeMeasure, amount: str) -> Proposal:
    return replace(DECISION, notional_usd=None, size=AskedSize(measure=measure, amount=Decimal(amount)))


NO_COSTS = {"TAKER_FEE": "0", "STOP_SLIPPAGE": "0"}


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(
    ("measure", "amount", "quantity", "numbers"),
    [
        # 2 % of 10,000 USD are 200 USD.
        (SizeMeasure.EQUITY_PERCENT, "2", "0.004", "asked=equity_percent amount=2 equity=10000 fraction=0.02 price="),
        # 1000 USD a BTC to the stop.
        (SizeMeasure.RISK_USD, "10", "0.010", "asked=risk_usd amount=10 risk=10 stop="),
        (SizeMeasure.RISK_PERCENT, "0.2", "0.020", "asked=risk_percent amount=0.2 equity=10000 risk=20 stop="),
    ],
)
def test_a_size_that_the_decision_asks_for(
    direction: Direction, measure: SizeMeasure, amount: str, quantity: str, numbers: str
) -> None:
    stop = {Direction.LONG: Decimal(49000), Direction.SHORT: Decimal(51000)}[direction]
    proposal = replace(asking(measure, amount), direction=direction, stop_price=stop, target_price=None)

    verdict = sized(proposal, policy(SizingMode.NOTIONAL, **NO_COSTS), "10000")

    assert verdict.quantity == Decimal(quantity)
    assert size_rule(verdict).numbers.startswith(numbers)


@pytest.mark.parametrize("beside", [{"notional_usd": Decimal(100)}, {"base_quantity": Decimal("0.002")}])
def test_a_size_in_dollars_or_in_the_base_asset_goes_before_one_by_risk(beside: dict[str, Any]) -> None:
    proposal = replace(asking(SizeMeasure.RISK_USD, "10"), **beside)

    assert sized(proposal, policy(SizingMode.NOTIONAL, **NO_COSTS)).quantity == Decimal("0.002")


def test_a_base_quantity_is_by_hand_only_without_a_notional() -> None:
    by_both = replace(DECISION, base_quantity=Decimal("0.003"))

    assert sizing_mode(by_both, policy(SizingMode.EQUITY_FRACTION)) is SizingMode.EQUITY_FRACTION
    assert sizing_mode(asking(SizeMeasure.RISK_USD, "10"), policy(SizingMode.RISK_PER_TRADE)) is (
        SizingMode.RISK_PER_TRADE
    )


@pytest.mark.parametrize(
    ("mode", "proposal", "needed"),
    [
        (SizingMode.NOTIONAL, DECISION, False),
        (SizingMode.EQUITY_FRACTION, DECISION, True),
        (SizingMode.RISK_PER_TRADE, DECISION, False),
        (SizingMode.NOTIONAL, asking(SizeMeasure.EQUITY_PERCENT, "2"), True),
        (SizingMode.NOTIONAL, asking(SizeMeasure.RISK_PERCENT, "2"), True),
        (SizingMode.NOTIONAL, asking(SizeMeasure.RISK_USD, "2"), False),
        # The policy sizes instead.
        (SizingMode.RISK_PER_TRADE, asking(SizeMeasure.RISK_PERCENT, "2"), False),
    ],
)
def test_equity_is_read_where_it_decides_the_size(mode: SizingMode, proposal: Proposal, *, needed: bool) -> None:
    assert needs_equity(proposal, policy(mode)) is needed


@given(
    direction=st.sampled_from(Direction),
    risk=st.decimals(min_value="0.01", max_value=100_000, places=2),
    distance=st.decimals(min_value="0.001", max_value="0.5", places=4),
    fee=st.decimals(min_value=0, max_value="0.01", places=4),
    worse=st.decimals(min_value=0, max_value="0.05", places=3),
    further=st.lists(
        st.tuples(
            st.decimals(min_value="0.0001", max_value="0.01", places=4),
            st.decimals(min_value="0.001", max_value=50, places=3),
        ),
        max_size=6,
    ),
)
def test_a_size_by_risk_loses_no_more_and_not_a_step_less(
    direction: Direction,
    risk: Decimal,
    distance: Decimal,
    fee: Decimal,
    worse: Decimal,
    further: list[tuple[Decimal, Decimal]],
) -> None:
    best, step = Decimal(50000), Decimal("0.001")
    rows = sorted(further)
    book = (
        *levels(f"{best}x0.004"),
        *(Level(price=best * (1 + each * direction.sign), quantity=quantity) for each, quantity in rows),
        *levels(f"{best * (1 + Decimal('0.02') * direction.sign)}"),
    )
    stop = best * (1 - distance * direction.sign)
    values = policy(SizingMode.RISK_PER_TRADE, TAKER_FEE=str(fee), STOP_SLIPPAGE=str(worse))
    loss = Loss.at(direction, stop, values)

    quantity = floor_to(quantity_at_risk(risk, book, loss), step)

    # A cent for the digits that an average price is rounded to
    cent = Decimal("0.01")
    assert quantity * loss.of_unit(walk(book, quantity).average_price) <= risk + cent
    more = quantity + step
    assert more * loss.of_unit(walk(book, more).average_price) > risk - cent


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(("worse_by", "quantity"), [("0", "0"), ("-1", "0"), ("2", "50")])
def test_what_loses_nothing_at_its_stop_has_no_size(direction: Direction, worse_by: str, quantity: str) -> None:
    loss = Loss(direction=direction, exit_price=Decimal(100) - Decimal(worse_by) * direction.sign, fee=Decimal(0))

    assert quantity_at_risk(Decimal(100), one_price(Decimal(100)), loss) == Decimal(quantity)


@pytest.mark.parametrize(
    ("direction", "book"), [(Direction.LONG, ("100x4", "101x3", "103x1")), (Direction.SHORT, ("100x4", "99x3", "97x1"))]
)
@pytest.mark.parametrize(
    ("risk", "quantity"),
    [
        # Each unit loses 2, 3 and 5 by the level that it was entered at.
        ("2", "1"),
        ("8", "4"),
        ("11", "5"),
        ("17", "7"),
        ("19.5", "7.5"),
        ("22", "8"),
        # Beyond the book its last price goes on.
        ("32", "10"),
    ],
)
def test_a_size_by_risk_is_taken_level_by_level(
    direction: Direction, book: tuple[str, ...], risk: str, quantity: str
) -> None:
    loss = Loss(direction=direction, exit_price=Decimal(100) - 2 * direction.sign, fee=Decimal(0))

    assert quantity_at_risk(Decimal(risk), levels(*book), loss) == Decimal(quantity)


def test_an_empty_book_gives_no_size_by_risk() -> None:
    loss = Loss(direction=Direction.SHORT, exit_price=Decimal(100), fee=Decimal(0))

    assert quantity_at_risk(Decimal(100), (), loss) == 0
