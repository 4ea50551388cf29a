from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from execution.domain import policy as keys
from execution.domain.brackets import stop_fraction, target_distance
from execution.domain.liquidation import liquidation_distance
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal, RuleVerdict
from execution.domain.safety import Verdict, judge
from execution.domain.trading import Direction, InstrumentFilters, OrderType, Quote
from tests.unit.examples import BTCUSDT, levels, quote

LONG, SHORT = Direction.LONG, Direction.SHORT
PROPOSAL = Proposal(
    symbol="BTCUSDT",
    direction=LONG,
    order_type=OrderType.MARKET,
    notional_usd=Decimal(100),
    base_quantity=None,
    limit_price=None,
    expected_price=Decimal(50000),
    leverage=5,
    stop_price=Decimal(48750),
    target_price=Decimal(53000),
    confidence=Decimal("0.85"),
)
LIMIT = replace(PROPOSAL, order_type=OrderType.LIMIT, limit_price=Decimal(50000), expected_price=None)
DEFAULTS = Policy(values={}, version=0)


def policy(**values: str) -> Policy:
    """A policy with some values of its own, named by the constants of the policy module."""
    return Policy(values={getattr(keys, name): Decimal(value) for name, value in values.items()}, version=1)


def judged(
    proposal: Proposal, book: Quote | None = None, rules: InstrumentFilters = BTCUSDT, values: Policy = DEFAULTS
) -> Verdict:
    return judge(proposal, quote=book or quote(), rules=rules, policy=values)


def refusal(verdict: Verdict) -> Reason | None:
    return verdict.refusal.refusal if verdict.refusal else None


def rule(verdict: Verdict, name: str) -> RuleVerdict:
    """The one verdict of a rule; fails when the rule has not spoken, or has spoken twice."""
    (found,) = (entry for entry in verdict.rules if entry.rule == name)
    return found


def adjusted(verdict: Verdict) -> list[str]:
    return [entry.rule for entry in verdict.rules if entry.after is not None]


def test_a_sane_decision_is_approved_as_it_is() -> None:
    verdict = judged(PROPOSAL)

    # It should size from the notional and keep both exits
    assert verdict.refusal is None
    assert (verdict.reference_price, verdict.limit_price, verdict.quantity) == (Decimal(50000), None, Decimal("0.002"))
    assert [verdict.stop_price, verdict.target_price] == [48750, 53000]
    # It should have asked every rule once, and adjusted nothing
    assert [entry.rule for entry in verdict.rules] == [
        "quote_index",
        "book",
        "symbol_trading",
        "symbol_allowed",
        "confidence",
        "leverage",
        "stop_side",
        "stop_max_distance",
        "target_side",
        "size",
        "min_quantity",
        "max_quantity",
        "min_notional",
        "max_notional",
        "exit_orders",
        "stop_before_liquidation",
        "book_depth",
        "slippage",
        "mark",
        "mark_collar",
    ]
    assert adjusted(verdict) == []


@pytest.mark.parametrize(
    ("market", "leverage", "expected"),
    [
        ("50100", 5, None),
        ("50400", 5, Reason.SLIPPAGE_EXCEEDS_LIMIT),
        ("50200", 5, None),
        ("50200", 20, Reason.SLIPPAGE_EXCEEDS_LIMIT),
        ("50200", 10, None),
        ("50200", 11, Reason.SLIPPAGE_EXCEEDS_LIMIT),
    ],
)
def test_slippage_is_limited_and_halved_above_ten_times(market: str, leverage: int, expected: Reason | None) -> None:
    proposal = replace(PROPOSAL, leverage=leverage)

    assert refusal(judged(proposal, quote(ask=market))) is expected


def test_a_refused_slippage_says_its_numbers() -> None:
    verdict = judged(PROPOSAL, quote(ask="50400"))

    numbers = "expected<=50.00bps actual=79.37bps planned=50000 average=50400 best=50400 levels=1"
    assert rule(verdict, "slippage").numbers == numbers


@pytest.mark.parametrize(
    ("quantity", "leverage", "expected"),
    [
        # 0.004 at 50000 and 0.006 at 50400 are 50240 on average, 47.77 bps; of 0.012 they are 50266.67, 53.05 bps
        ("0.010", 5, None),
        ("0.012", 5, Reason.SLIPPAGE_EXCEEDS_LIMIT),
        # half of that above 10x: 0.001 of 0.005 at 50400 is 15.97 bps, 0.002 of 0.006 is 26.6 bps
        ("0.005", 11, None),
        ("0.006", 11, Reason.SLIPPAGE_EXCEEDS_LIMIT),
    ],
)
def test_slippage_is_what_the_orders_size_would_pay(quantity: str, leverage: int, expected: Reason | None) -> None:
    book = replace(quote(), asks=levels("50000x0.004", "50400x1"))
    proposal = replace(PROPOSAL, notional_usd=None, base_quantity=Decimal(quantity), leverage=leverage)

    assert refusal(judged(proposal, book)) is expected


def test_the_journal_tells_how_far_the_size_reached() -> None:
    book = replace(quote(), asks=levels("50000x0.004", "50100x0.004", "50200x1"))

    verdict = judged(replace(PROPOSAL, notional_usd=None, base_quantity=Decimal("0.01")), book)

    numbers = "expected<=50.00bps actual=15.97bps planned=50000 average=50080 best=50000 levels=3"
    assert rule(verdict, "slippage").numbers == numbers
    assert rule(verdict, "book_depth").numbers == "expected>=0.01 actual=1.008 levels=3"


def test_a_book_too_thin_for_the_size_is_refused_by_its_own_name() -> None:
    book = replace(quote(), asks=levels("50000x0.004", "50000.1x0.005"))

    just = judged(replace(PROPOSAL, notional_usd=None, base_quantity=Decimal("0.009")), book)
    verdict = judged(replace(PROPOSAL, notional_usd=None, base_quantity=Decimal("0.010")), book)

    assert refusal(just) is None
    assert refusal(verdict) is Reason.BOOK_TOO_THIN
    assert rule(verdict, "book_depth").numbers == "expected>=0.01 actual=0.009 levels=2"


def test_the_collar_holds_what_the_size_would_pay() -> None:
    book = replace(quote(), asks=levels("50000x0.001", "60000x1"))
    deep = replace(PROPOSAL, expected_price=Decimal(60000), notional_usd=None, base_quantity=Decimal("0.004"))

    # It should refuse 57500 on average, though the best price is the mark price
    assert refusal(judged(deep, book)) is Reason.PRICE_BEYOND_COLLAR
    assert refusal(judged(replace(deep, base_quantity=Decimal("0.001")), book)) is None


def test_without_a_plan_the_size_is_held_against_the_best_price() -> None:
    planless = replace(PROPOSAL, expected_price=None, notional_usd=None, base_quantity=Decimal("0.01"))
    book = replace(quote(), asks=levels("50000x0.001", "50400x1"))

    assert refusal(judged(planless, book)) is Reason.SLIPPAGE_EXCEEDS_LIMIT
    assert rule(judged(planless), "slippage").numbers.startswith("expected<=50.00bps actual=0.00bps planned=50000 ")


@pytest.mark.parametrize(
    ("direction", "planned", "book", "expected"),
    [
        # 0.5 % of 50000 is 250; one tick more refuses
        (LONG, "49750", quote(ask="50000"), None),
        (LONG, "49749.9", quote(ask="50000"), Reason.SLIPPAGE_EXCEEDS_LIMIT),
        (SHORT, "50250", quote(bid="50000"), None),
        (SHORT, "50250.1", quote(bid="50000"), Reason.SLIPPAGE_EXCEEDS_LIMIT),
    ],
)
def test_slippage_at_its_boundary(direction: Direction, planned: str, book: Quote, expected: Reason | None) -> None:
    proposal = replace(
        PROPOSAL, direction=direction, expected_price=Decimal(planned), stop_price=None, target_price=None
    )

    assert refusal(judged(proposal, book)) is expected


@given(
    st.sampled_from(Direction),
    st.decimals(min_value=0, max_value="0.9", places=4),
    st.integers(1, 20),
    st.lists(st.decimals(min_value=0, max_value="0.004", places=4), max_size=5).map(sorted),
)
def test_a_better_price_is_never_refused(
    direction: Direction, better: Decimal, leverage: int, further: list[Decimal]
) -> None:
    # The whole size is to be had for no worse than was planned, however far it reaches.
    worst = Decimal(50000) * (1 + max(further, default=Decimal(0)) * direction.sign)
    prices = [Decimal(50000) * (1 + step * direction.sign) for step in (Decimal(0), *further)]
    side = levels(*(f"{price}x0.001" for price in prices), f"{worst}")
    planned = worst * (1 + better * direction.sign)
    proposal = replace(
        PROPOSAL,
        direction=direction,
        expected_price=planned,
        leverage=leverage,
        stop_price=None,
        target_price=None,
    )

    assert refusal(judged(proposal, replace(quote(), bids=side, asks=side))) is None


def test_a_limit_order_has_no_slippage_and_needs_no_depth() -> None:
    far = replace(quote(mark="60000"), bids=(), asks=levels("60000x0.001"))

    assert not {"slippage", "book_depth"} & {entry.rule for entry in judged(LIMIT, far).rules}


@pytest.mark.parametrize(
    ("change", "rules", "values", "expected"),
    [
        ({}, replace(BTCUSDT, trading=False), DEFAULTS, Reason.SYMBOL_NOT_TRADING),
        ({"confidence": Decimal("0.5")}, BTCUSDT, policy(MIN_CONFIDENCE="0.5"), None),
        ({"confidence": Decimal("0.49")}, BTCUSDT, policy(MIN_CONFIDENCE="0.5"), Reason.CONFIDENCE_BELOW_LIMIT),
        ({"confidence": None}, BTCUSDT, policy(MIN_CONFIDENCE="1"), None),
        ({"leverage": 20}, BTCUSDT, DEFAULTS, None),
        ({"leverage": 21}, BTCUSDT, DEFAULTS, Reason.LEVERAGE_EXCEEDS_LIMIT),
        ({"notional_usd": Decimal(50)}, BTCUSDT, DEFAULTS, None),
        ({"notional_usd": Decimal("49.99")}, BTCUSDT, DEFAULTS, Reason.QUANTITY_BELOW_MINIMUM),
        ({"notional_usd": Decimal(10000)}, BTCUSDT, DEFAULTS, None),
        ({"notional_usd": Decimal(10050)}, BTCUSDT, DEFAULTS, Reason.NOTIONAL_EXCEEDS_LIMIT),
        ({}, replace(BTCUSDT, market_max_quantity=Decimal("0.002")), DEFAULTS, None),
        ({}, replace(BTCUSDT, market_max_quantity=Decimal("0.001")), DEFAULTS, Reason.QUANTITY_ABOVE_MAXIMUM),
        ({}, replace(BTCUSDT, min_notional=Decimal(100)), DEFAULTS, None),
        ({}, replace(BTCUSDT, min_notional=Decimal("100.1")), DEFAULTS, Reason.NOTIONAL_BELOW_MINIMUM),
        # 10 % under 50000 is 45000
        ({"stop_price": Decimal(45000)}, BTCUSDT, DEFAULTS, None),
        ({"stop_price": Decimal("44999.9")}, BTCUSDT, DEFAULTS, Reason.STOP_TOO_FAR),
        # a crossing of 0.1 % is 50050
        ({"stop_price": Decimal(50050)}, BTCUSDT, DEFAULTS, None),
        ({"stop_price": Decimal("50050.1")}, BTCUSDT, DEFAULTS, Reason.STOP_ON_WRONG_SIDE),
        ({"target_price": Decimal(49950)}, BTCUSDT, DEFAULTS, None),
        ({"target_price": Decimal("49949.9")}, BTCUSDT, DEFAULTS, Reason.TARGET_ON_WRONG_SIDE),
        # at 20x: (1/20 - 0.5 %) / (1 - 0.5 %) = 4.5226 % to liquidation, which is 47738.69
        ({"leverage": 20, "stop_price": Decimal("47738.7")}, BTCUSDT, DEFAULTS, None),
        ({"leverage": 20, "stop_price": Decimal("47738.6")}, BTCUSDT, DEFAULTS, Reason.STOP_BEYOND_LIQUIDATION),
    ],
)
def test_each_rule_at_its_boundary(
    change: dict[str, object], rules: InstrumentFilters, values: Policy, expected: Reason | None
) -> None:
    proposal = replace(PROPOSAL, **change)  # type: ignore[arg-type]

    assert refusal(judged(proposal, rules=rules, values=values)) is expected


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("49000", Reason.STOP_BEYOND_LIQUIDATION), ("49849.2", Reason.STOP_BEYOND_LIQUIDATION), ("49849.3", None)],
)
def test_at_125_times_a_stop_of_two_percent_is_beyond_liquidation(stop: str, expected: Reason | None) -> None:
    proposal = replace(PROPOSAL, leverage=125, stop_price=Decimal(stop))

    verdict = judged(proposal, values=policy(MAX_LEVERAGE="125"))

    # It should refuse from (1/125 - 0.5 %) / (1 - 0.5 %) = 0.3015 % on
    assert refusal(verdict) is expected


def test_a_stop_moved_to_its_minimum_distance_is_held_against_liquidation_too() -> None:
    proposal = replace(PROPOSAL, leverage=20, stop_price=Decimal(49900))

    verdict = judged(proposal, values=policy(MIN_STOP_DISTANCE="0.05"))

    # It should measure the stop that would be sent, 5 % away, not the one that was asked for
    assert refusal(verdict) is Reason.STOP_BEYOND_LIQUIDATION


def test_a_stop_that_rounding_takes_too_far_is_refused() -> None:
    rules = replace(BTCUSDT, tick_size=Decimal(1000))

    verdict = judged(replace(PROPOSAL, stop_price=Decimal(45900), target_price=None), rules=rules)

    # It should pass at 45000, exactly 10 % under 50000
    assert verdict.stop_price == 45000
    assert verdict.refusal is None
    # It should refuse the same stop when it is rounded to more than 10 % under 50100
    farther = judged(replace(PROPOSAL, stop_price=Decimal(45900)), quote(ask="50100"), rules=rules)
    assert refusal(farther) is Reason.STOP_TOO_FAR


@pytest.mark.parametrize(
    ("direction", "stop", "target", "moved_stop", "moved_target"),
    [
        (LONG, "50000", "50000", "49950", "50050"),
        (LONG, "50049", "49951", "49950", "50050"),
        (LONG, "49999.99", "50000.01", "49950", "50050"),
        (SHORT, "50000", "50000", "50050", "49950"),
        (SHORT, "49951", "50049", "50050", "49950"),
    ],
)
def test_small_crossings_are_moved_to_the_minimum_distance_and_recorded(
    direction: Direction, stop: str, target: str, moved_stop: str, moved_target: str
) -> None:
    proposal = replace(PROPOSAL, direction=direction, stop_price=Decimal(stop), target_price=Decimal(target))

    verdict = judged(proposal)

    assert verdict.refusal is None
    assert (verdict.stop_price, verdict.target_price) == (Decimal(moved_stop), Decimal(moved_target))
    # It should record what was asked for and what it became
    assert adjusted(verdict) == ["stop_distance", "target_distance"]
    assert rule(verdict, "stop_distance").before == Decimal(stop)
    assert rule(verdict, "stop_distance").after == Decimal(moved_stop)


def test_a_stop_exactly_at_the_minimum_distance_is_not_moved() -> None:
    verdict = judged(replace(PROPOSAL, stop_price=Decimal(49950), target_price=Decimal(50050)))

    assert adjusted(verdict) == []
    assert [verdict.stop_price, verdict.target_price] == [49950, 50050]


def test_missing_exits_get_the_distances_of_the_policy() -> None:
    proposal = replace(PROPOSAL, direction=SHORT, stop_price=None, target_price=None)

    verdict = judged(proposal)

    # It should be 2.5 % and 6 %
    assert [verdict.stop_price, verdict.target_price] == [51250, 47000]
    assert adjusted(verdict) == ["stop_default", "target_default"]
    assert rule(verdict, "stop_default").before is None


def test_a_very_far_target_is_noted_and_kept() -> None:
    verdict = judged(replace(PROPOSAL, target_price=Decimal(90000)))

    assert verdict.refusal is None
    assert verdict.target_price == 90000
    assert rule(verdict, "target_far").numbers == "usual<=0.5 actual=0.800000"


def test_prices_between_ticks_are_rounded_outwards_for_the_stop_and_inwards_for_the_target() -> None:
    proposal = replace(PROPOSAL, stop_price=Decimal("48750.07"), target_price=Decimal("53000.07"))

    verdict = judged(proposal)

    assert (verdict.stop_price, verdict.target_price) == (Decimal("48750.0"), Decimal("53000.0"))


@pytest.mark.parametrize(
    ("direction", "asked", "limit"),
    [(LONG, "50000.19", "50000.1"), (SHORT, "50000.11", "50000.2"), (LONG, "50000.1", "50000.1")],
)
def test_a_limit_is_rounded_in_the_users_favour(direction: Direction, asked: str, limit: str) -> None:
    proposal = replace(LIMIT, direction=direction, limit_price=Decimal(asked), stop_price=None, target_price=None)

    verdict = judged(proposal)

    # It should refer to the book at 50000 where that is better than the limit
    assert (verdict.limit_price, verdict.reference_price) == (
        Decimal(limit),
        max(Decimal(limit), Decimal(50000)) if direction is SHORT else Decimal(50000),
    )
    assert ("limit_on_tick" in adjusted(verdict)) is (asked != limit)


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("556.80", None),
        ("556.79", Reason.PRICE_OUT_OF_BOUNDS),
        ("0.05", Reason.PRICE_OUT_OF_BOUNDS),
        ("0.000000000001", Reason.PRICE_OUT_OF_BOUNDS),
        ("4529764.1", Reason.PRICE_OUT_OF_BOUNDS),
    ],
)
def test_a_limit_price_outside_of_the_filter_is_refused(price: str, expected: Reason | None) -> None:
    proposal = replace(LIMIT, limit_price=Decimal(price), notional_usd=Decimal(100), stop_price=None, target_price=None)

    # It should refuse even a price that rounds to nothing, which nothing could be divided by
    assert refusal(judged(proposal)) is expected


@pytest.mark.parametrize(("direction", "book"), [(LONG, quote(ask="0")), (SHORT, replace(quote(), bids=()))])
def test_an_empty_book_is_refused(direction: Direction, book: Quote) -> None:
    verdict = judged(replace(PROPOSAL, direction=direction), book)

    assert refusal(verdict) is Reason.MARKET_DATA_UNAVAILABLE
    assert verdict.quantity == 0


def test_a_market_order_refers_to_the_price_that_it_takes() -> None:
    book = quote(bid="49990", ask="50010")

    assert judged(PROPOSAL, book).reference_price == 50010
    assert judged(replace(PROPOSAL, direction=SHORT, stop_price=None, target_price=None), book).reference_price == 49990


def test_a_market_order_is_worth_its_mark_price_at_the_exchange() -> None:
    rules = replace(BTCUSDT, min_notional=Decimal(100))

    # It should refuse what the exchange would refuse, though the book alone says otherwise
    assert refusal(judged(PROPOSAL, quote(mark="49999"), rules)) is Reason.NOTIONAL_BELOW_MINIMUM
    assert refusal(judged(LIMIT, quote(mark="49999"), rules)) is None


def test_a_base_quantity_is_floored_and_recorded() -> None:
    proposal = replace(PROPOSAL, notional_usd=None, base_quantity=Decimal("0.0029"))

    verdict = judged(proposal)

    assert verdict.quantity == Decimal("0.002")
    assert adjusted(verdict) == ["quantity_on_step"]
    row = rule(verdict, "quantity_on_step")
    assert (row.numbers, row.before, row.after) == ("step=0.001", Decimal("0.0029"), Decimal("0.002"))
    # It should adjust nothing that lies on its step
    assert adjusted(judged(replace(proposal, base_quantity=Decimal("0.002")))) == []


def test_the_notional_wins_over_a_base_quantity() -> None:
    verdict = judged(replace(PROPOSAL, base_quantity=Decimal(100)))

    assert verdict.quantity == Decimal("0.002")


def test_no_size_at_all_is_refused() -> None:
    verdict = judged(replace(PROPOSAL, notional_usd=None, base_quantity=None))

    assert refusal(verdict) is Reason.QUANTITY_BELOW_MINIMUM


def test_the_first_rule_that_refuses_is_the_refusal_and_all_others_still_speak() -> None:
    verdict = judged(replace(PROPOSAL, leverage=50, stop_price=Decimal(60000)), rules=replace(BTCUSDT, trading=False))

    assert refusal(verdict) is Reason.SYMBOL_NOT_TRADING
    assert [entry.refusal for entry in verdict.rules if entry.refusal] == [
        Reason.SYMBOL_NOT_TRADING,
        Reason.LEVERAGE_EXCEEDS_LIMIT,
        Reason.STOP_ON_WRONG_SIDE,
    ]


def test_judging_again_gives_the_same_verdict() -> None:
    assert judged(PROPOSAL) == judged(PROPOSAL)


ticks = st.sampled_from(["0.00001", "0.01", "0.10", "1"]).map(Decimal)
offsets = st.none() | st.decimals(min_value="-0.001", max_value="0.09", places=5)
fine = Decimal("0.00000001")


@given(
    direction=st.sampled_from(Direction),
    tick=ticks,
    price_in_ticks=st.integers(50, 10**6),
    stop=offsets,
    target=offsets,
    leverage=st.integers(1, 12),
    notional=st.decimals(min_value=5, max_value=10000, places=2),
)
def test_what_is_approved_keeps_every_promise(
    direction: Direction,
    tick: Decimal,
    price_in_ticks: int,
    stop: Decimal | None,
    target: Decimal | None,
    leverage: int,
    notional: Decimal,
) -> None:
    price = tick * price_in_ticks
    rules = replace(
        BTCUSDT,
        tick_size=tick,
        limit_step=fine,
        market_step=fine,
        limit_min_quantity=fine,
        market_min_quantity=fine,
        limit_max_quantity=Decimal(10**12),
        market_max_quantity=Decimal(10**12),
        min_notional=Decimal(1),
    )
    proposal = replace(
        PROPOSAL,
        direction=direction,
        notional_usd=notional,
        leverage=leverage,
        expected_price=price,
        stop_price=None if stop is None else price * (1 - stop * direction.sign),
        target_price=None if target is None else price * (1 + target * direction.sign),
    )
    verdict = judged(proposal, quote(bid=str(price), ask=str(price), mark=str(price)), rules)
    assume(verdict.refusal is None)

    # It should place the stop on the losing side, at least 0.1 % and at most 10 % away, and before liquidation
    assert Decimal("0.001") <= stop_fraction(direction, price, verdict.stop_price) <= Decimal("0.10")
    liquidation = liquidation_distance(direction, leverage=leverage, notional=notional, rate=Decimal("0.005"))
    assert stop_fraction(direction, price, verdict.stop_price) < liquidation
    # It should place the target on the winning side, as far away at least
    assert target_distance(direction, price, verdict.target_price) >= Decimal("0.001")
    # It should send prices on their tick and a quantity on its step, worth no more than was asked
    assert verdict.stop_price % tick == verdict.target_price % tick == verdict.quantity % fine == 0
    assert 0 < verdict.quantity * price <= notional


# Limits at the edges of the filters, and coins that cost less than a dollar


@pytest.mark.parametrize(
    ("direction", "price", "expected"),
    [
        (LONG, "0.09", Reason.PRICE_OUT_OF_BOUNDS),
        (LONG, "0.5", None),
        (LONG, "0.1", None),
        (SHORT, "0.5", None),
        (LONG, "4529764", None),
        (LONG, "4529764.1", Reason.PRICE_OUT_OF_BOUNDS),
    ],
)
def test_a_limit_has_to_be_a_price_also_where_the_filter_has_no_bound(
    direction: Direction, price: str, expected: Reason | None
) -> None:
    rules = replace(BTCUSDT, min_price=Decimal(0), percent_price_up=Decimal("1.05"), percent_price_down=Decimal("0.95"))
    verdict = judged(replace(LIMIT, direction=direction, limit_price=Decimal(price)), rules=rules)

    assert rule(verdict, "limit_price").refusal is expected
    # It should measure nothing against a price that has been rounded to none
    gone = price == "0.09"
    assert [entry.rule for entry in verdict.rules if entry.rule == "percent_price"] == (
        [] if gone else ["percent_price"]
    )
    assert (verdict.reference_price == 0) is gone
    if gone:
        assert (verdict.exits, verdict.stop_price, verdict.target_price) == (None, Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("direction", "limit", "reference"),
    [
        (LONG, "0.6", "0.5"),
        (LONG, "0.5", "0.5"),
        (LONG, "0.4", "0.4"),
        (SHORT, "0.4", "0.5"),
        (SHORT, "0.6", "0.6"),
    ],
)
def test_a_limit_refers_to_the_better_of_itself_and_the_book(direction: Direction, limit: str, reference: str) -> None:
    rules = replace(BTCUSDT, min_price=Decimal(0), percent_price_up=Decimal(2), percent_price_down=Decimal("0.5"))
    proposal = replace(LIMIT, direction=direction, limit_price=Decimal(limit), stop_price=None, target_price=None)

    verdict = judged(proposal, quote(bid="0.5", ask="0.5", mark="0.5"), rules)
    assert verdict.reference_price == Decimal(reference)
    # It should hold the limit against twice or half the mark price
    sign, bound = ("<", "1") if direction is LONG else (">", "0.25")
    assert rule(verdict, "percent_price").numbers == f"expected{sign}={bound} actual={limit} mark=0.5"
    assert rule(verdict, "mark_collar").numbers.endswith(" mark=0.5")
    # It should stand alone without a book
    empty = judged(proposal, quote(bid="0", ask="0", mark="0.5"), rules)
    assert empty.reference_price == Decimal(limit)


def test_a_limit_without_a_mark_price_has_no_band_and_is_refused_for_that() -> None:
    rules = replace(BTCUSDT, percent_price_up=Decimal("1.05"))
    verdict = judged(LIMIT, quote(mark="0"), rules)

    assert [entry.rule for entry in verdict.rules if entry.rule in {"percent_price", "mark_collar"}] == []
    assert rule(verdict, "mark").refusal is Reason.MARKET_DATA_UNAVAILABLE


@pytest.mark.parametrize("direction", [LONG, SHORT])
@pytest.mark.parametrize(
    ("minimum", "quantity", "expected"),
    [
        ("0.005", "0.004", Reason.QUANTITY_BELOW_MINIMUM),
        ("0.005", "0.005", None),
        # A filter without a minimum still wants a quantity.
        ("0", "0.0009", Reason.QUANTITY_BELOW_MINIMUM),
        ("0", "0.001", None),
    ],
)
@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.LIMIT])
def test_a_quantity_has_its_minimum(
    direction: Direction, order_type: OrderType, minimum: str, quantity: str, expected: Reason | None
) -> None:
    least = Decimal(minimum)
    rules = replace(BTCUSDT, market_min_quantity=least, limit_min_quantity=least)
    limit = Decimal(50000) if order_type is OrderType.LIMIT else None
    proposal = replace(
        PROPOSAL,
        direction=direction,
        order_type=order_type,
        limit_price=limit,
        notional_usd=None,
        base_quantity=Decimal(quantity),
        stop_price=None,
        target_price=None,
    )

    found = rule(judged(proposal, rules=rules), "min_quantity")
    assert found.refusal is expected
    assert found.numbers == f"expected>={minimum} actual={'0' if quantity == '0.0009' else quantity}"


@pytest.mark.parametrize(("direction", "stop"), [(LONG, "0.45"), (SHORT, "0.55")])
def test_a_coin_below_a_dollar_is_sized_by_its_stop(direction: Direction, stop: str) -> None:
    rules = replace(
        BTCUSDT,
        tick_size=Decimal("0.01"),
        min_price=Decimal("0.01"),
        market_step=Decimal(1),
        market_max_quantity=Decimal(1000),
    )
    proposal = replace(PROPOSAL, direction=direction, stop_price=Decimal(stop), target_price=None, expected_price=None)
    values = policy(SIZING_MODE="2", RISK_PER_TRADE="5", TAKER_FEE="0", STOP_SLIPPAGE="0")

    verdict = judged(proposal, quote(bid="0.5", ask="0.5", mark="0.5"), rules, values)
    # It should buy or sell a hundred, which lose 0.05 each
    assert (verdict.refusal, verdict.quantity) == (None, Decimal(100))
    assert rule(verdict, "stop_to_size_by").numbers == f"stop={stop} risk=5"
    # It should be nothing without a stop
    bare = policy(SIZING_MODE="2", DEFAULT_STOP="0", ALLOW_NO_STOP="1")
    without = judged(replace(proposal, stop_price=None), quote(bid="0.5", ask="0.5", mark="0.5"), rules, bare)
    assert (refusal(without), without.quantity) == (Reason.STOP_REQUIRED, Decimal(0))
    assert [entry.rule for entry in without.rules if entry.rule == "size"] == []
