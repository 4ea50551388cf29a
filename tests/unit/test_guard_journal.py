"""The guard's whole journal, rule by rule with every number: each case once long and once short.

Bid, ask, mark, plan and limit are five prices; the quote asset is worth 0.9 dollars; the book has three levels a side.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from execution.domain import policy as keys
from execution.domain.liquidation import MarginBracket
from execution.domain.policy import Policy
from execution.domain.quote_index import QuoteIndex
from execution.domain.reasons import Reason
from execution.domain.risk_review import AskedTarget, Proposal
from execution.domain.safety import Verdict, judge
from execution.domain.trading import Direction, OrderType, Quote
from tests.unit.examples import BTCUSDT, levels

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
RULES = replace(BTCUSDT, quote_asset="USDC", percent_price_up=D("1.05"), percent_price_down=D("0.95"))
BOOK = Quote(
    symbol="BTCUSDT",
    asks=levels("50010x0.004", "50020x0.006", "50050x1"),
    bids=levels("49990x0.004", "49980x0.006", "49950x1"),
    mark=D(50002),
)
INDEX = QuoteIndex(asset="USDC", price=D("0.9"))
BRACKETS = (
    MarginBracket(notional_cap=D(500), rate=D("0.004"), deduction=D(0)),
    MarginBracket(notional_cap=D(5000), rate=D("0.02"), deduction=D(8)),
    MarginBracket(notional_cap=D(50000), rate=D("0.05"), deduction=D(158)),
)
ASKED = Proposal(
    symbol="BTCUSDT",
    direction=LONG,
    order_type=OrderType.MARKET,
    notional_usd=D(405),
    base_quantity=None,
    limit_price=None,
    expected_price=None,
    leverage=12,
    stop_price=None,
    target_price=None,
    confidence=D("0.7"),
)
Line = tuple[str, str] | tuple[str, str, Decimal | None, Decimal | None]


def judged(values: dict[str, str] | None = None, equity: str | None = None, **change: Any) -> Verdict:
    policy = Policy(values={getattr(keys, name): D(value) for name, value in (values or {}).items()}, version=1)
    return judge(
        replace(ASKED, **change),
        quote=BOOK,
        rules=RULES,
        policy=policy,
        equity=None if equity is None else D(equity),
        brackets=BRACKETS,
        index=INDEX,
    )


def journal(verdict: Verdict) -> list[Line]:
    """Every rule with its numbers, and what it has adjusted; nothing may have refused."""
    assert verdict.refusal is None
    return [
        (row.rule, row.numbers) if row.after is None else (row.rule, row.numbers, row.before, row.after)
        for row in verdict.rules
    ]


MARKET_LONG: list[Line] = [
    ("quote_index", "quote_index=USDCUSD 0.9"),
    ("book", "price=50010"),
    ("symbol_trading", "status=TRADING"),
    ("symbol_allowed", "symbol=BTCUSDT allowed"),
    ("confidence", "expected>=0 actual=0.7"),
    ("leverage", "expected<=20 actual=12"),
    ("stop_side", "stop=48999.96 reference=50010 crossing<=0.001"),
    ("stop_max_distance", "expected<=0.1 actual=0.020198"),
    ("target_side", "target=52000.04 reference=50010 crossing<=0.001"),
    ("target_side", "target=51000.07 reference=50010 crossing<=0.001"),
    ("size", "notional=405 price=50010 quantity=0.008"),
    ("min_quantity", "expected>=0.001 actual=0.008"),
    ("max_quantity", "expected<=120 actual=0.008"),
    ("min_notional", "expected>=5 actual=400.016"),
    ("max_notional", "expected<=10000 actual=360.072"),
    ("exit_orders", "expected<=40 actual=3 quantity=0.008 closable=0.008 step=0.001 minimum=0.001 maximum=120"),
    ("stop_before_liquidation", "expected<0.078727 actual=0.020198 leverage=12 maintenance=0.005 notional=400.08"),
    ("book_depth", "expected>=0.008 actual=1.01 levels=3"),
    ("slippage", "expected<=25.00bps actual=7.00bps planned=49980 average=50015 best=50010 levels=2"),
    ("mark", "price=50002"),
    ("mark_collar", "expected<=500.00bps actual=2.60bps mark=50002"),
]
MARKET_SHORT: list[Line] = [
    ("quote_index", "quote_index=USDCUSD 0.9"),
    ("book", "price=49990"),
    ("symbol_trading", "status=TRADING"),
    ("symbol_allowed", "symbol=BTCUSDT allowed"),
    ("confidence", "expected>=0 actual=0.7"),
    ("leverage", "expected<=20 actual=12"),
    ("stop_side", "stop=51000.04 reference=49990 crossing<=0.001"),
    ("stop_max_distance", "expected<=0.1 actual=0.020206"),
    ("target_side", "target=47999.96 reference=49990 crossing<=0.001"),
    ("target_side", "target=48999.93 reference=49990 crossing<=0.001"),
    ("size", "notional=405 price=49990 quantity=0.009"),
    ("min_quantity", "expected>=0.001 actual=0.009"),
    ("max_quantity", "expected<=120 actual=0.009"),
    ("min_notional", "expected>=5 actual=450.018"),
    ("max_notional", "expected<=10000 actual=404.919"),
    ("exit_orders", "expected<=40 actual=3 quantity=0.009 closable=0.009 step=0.001 minimum=0.001 maximum=120"),
    ("stop_before_liquidation", "expected<0.077944 actual=0.020206 leverage=12 maintenance=0.005 notional=449.91"),
    ("book_depth", "expected>=0.009 actual=1.01 levels=3"),
    ("slippage", "expected<=25.00bps actual=7.11bps planned=50020 average=49984.44444444 best=49990 levels=2"),
    ("mark", "price=50002"),
    ("mark_collar", "expected<=500.00bps actual=3.51bps mark=50002"),
]
LIMIT_LONG: list[Line] = [
    ("quote_index", "quote_index=USDCUSD 0.9"),
    ("limit_on_tick", "tick=0.1", D("50020.07"), D("50020.00")),
    ("limit_price", "expected=556.8..4529764 actual=50020"),
    ("percent_price", "expected<=52502.1 actual=50020 mark=50002"),
    ("limit_meets_book", "limit=50020 reference=50010"),
    ("symbol_trading", "status=TRADING"),
    ("symbol_allowed", "symbol=BTCUSDT allowed"),
    ("confidence", "expected>=0 actual=0.7"),
    ("leverage", "expected<=20 actual=12"),
    ("stop_default", "distance=0.025", None, D("48759.750")),
    ("stop_side", "stop=48759.75 reference=50010 crossing<=0.001"),
    ("stop_max_distance", "expected<=0.1 actual=0.025001"),
    ("target_default", "distance=0.06", None, D("53010.60")),
    ("target_side", "target=53010.6 reference=50010 crossing<=0.001"),
    ("trailing_callback", "step=0.1% default=False", D("1.25"), D("1.3")),
    ("trailing_range", "expected=0.1%..20% actual=1.25%"),
    ("size", "notional=405 price=50015 quantity=0.008"),
    ("min_quantity", "expected>=0.001 actual=0.008"),
    ("max_quantity", "expected<=1000 actual=0.008"),
    ("min_notional", "expected>=5 actual=400.16"),
    ("max_notional", "expected<=10000 actual=360.108"),
    ("exit_orders", "expected<=40 actual=3 quantity=0.008 closable=0.008 step=0.001 minimum=0.001 maximum=120"),
    ("stop_before_liquidation", "expected<0.078727 actual=0.025098 leverage=12 maintenance=0.005 notional=400.12"),
    ("mark", "price=50002"),
    ("mark_collar", "expected<=500.00bps actual=2.60bps mark=50002"),
]
LIMIT_SHORT: list[Line] = [
    ("quote_index", "quote_index=USDCUSD 0.9"),
    ("limit_on_tick", "tick=0.1", D("49979.93"), D("49980.00")),
    ("limit_price", "expected=556.8..4529764 actual=49980"),
    ("percent_price", "expected>=47501.9 actual=49980 mark=50002"),
    ("limit_meets_book", "limit=49980 reference=49990"),
    ("symbol_trading", "status=TRADING"),
    ("symbol_allowed", "symbol=BTCUSDT allowed"),
    ("confidence", "expected>=0 actual=0.7"),
    ("leverage", "expected<=20 actual=12"),
    ("stop_default", "distance=0.025", None, D("51239.750")),
    ("stop_side", "stop=51239.75 reference=49990 crossing<=0.001"),
    ("stop_max_distance", "expected<=0.1 actual=0.025001"),
    ("target_default", "distance=0.06", None, D("46990.60")),
    ("target_side", "target=46990.6 reference=49990 crossing<=0.001"),
    ("trailing_callback", "step=0.1% default=False", D("1.25"), D("1.3")),
    ("trailing_range", "expected=0.1%..20% actual=1.25%"),
    ("size", "notional=405 price=49984.44444444 quantity=0.009"),
    ("min_quantity", "expected>=0.001 actual=0.009"),
    ("max_quantity", "expected<=1000 actual=0.009"),
    ("min_notional", "expected>=5 actual=449.82"),
    ("max_notional", "expected<=10000 actual=404.874"),
    ("exit_orders", "expected<=40 actual=3 quantity=0.009 closable=0.009 step=0.001 minimum=0.001 maximum=120"),
    ("stop_before_liquidation", "expected<0.077944 actual=0.025115 leverage=12 maintenance=0.005 notional=449.86"),
    ("mark", "price=50002"),
    ("mark_collar", "expected<=500.00bps actual=3.51bps mark=50002"),
]
STOP_L, STOP_S = {"stop_price": D("48999.96")}, {"stop_price": D("51000.04"), "direction": SHORT}
MARKET = {"expected_price": D(49980)}, {"expected_price": D(50020)}
LIMIT: dict[str, Any] = {"order_type": OrderType.LIMIT, "callback_percent": D("1.25")}


def targets(*prices: str) -> tuple[AskedTarget, ...]:
    return tuple(
        AskedTarget(price=D(price), share=D(share)) for price, share in zip(prices, ("0.4", "0.6"), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "lines", "quantity", "exits"),
    [
        pytest.param(
            STOP_L | MARKET[0] | {"targets": targets("52000.04", "51000.07")},
            MARKET_LONG,
            "0.008",
            ("48999.9", [("51000", "0.6"), ("52000", "0.4")]),
            id="long",
        ),
        pytest.param(
            STOP_S | MARKET[1] | {"targets": targets("47999.96", "48999.93")},
            MARKET_SHORT,
            "0.009",
            ("51000.1", [("49000", "0.6"), ("48000", "0.4")]),
            id="short",
        ),
    ],
)
def test_the_journal_of_a_market_entry(
    change: dict[str, Any], lines: list[Line], quantity: str, exits: tuple[str, list[tuple[str, str]]]
) -> None:
    verdict = judged(**change)

    assert journal(verdict) == lines
    assert (verdict.reference_price, verdict.limit_price) == (D(lines[1][1].removeprefix("price=")), None)
    assert (verdict.quantity, verdict.index) == (D(quantity), INDEX)
    assert verdict.exits is not None
    stop, near_and_far = exits
    # It should sort the targets by their nearness, and default nothing
    assert verdict.exits.stop_price == verdict.stop_price == D(stop)
    assert [(each.price, each.share) for each in verdict.exits.targets] == [(D(p), D(s)) for p, s in near_and_far]
    assert verdict.target_price == D(near_and_far[0][0])
    assert (verdict.exits.stop_defaulted, verdict.exits.target_defaulted) == (False, False)
    assert (verdict.exits.callback_percent, verdict.exits.activation_price) == (None, None)


@pytest.mark.parametrize(
    ("change", "lines", "prices", "exits"),
    [
        pytest.param(
            {"limit_price": D("50020.07"), "activation_price": D("50700.04")},
            LIMIT_LONG,
            ("50010", "50020", "0.008"),
            ("48759.7", "53010.6", "50700"),
            id="long",
        ),
        pytest.param(
            {"limit_price": D("49979.93"), "activation_price": D("49300.06"), "direction": SHORT},
            LIMIT_SHORT,
            ("49990", "49980", "0.009"),
            ("51239.8", "46990.6", "49300.1"),
            id="short",
        ),
    ],
)
def test_the_journal_of_a_limit_entry(
    change: dict[str, Any], lines: list[Line], prices: tuple[str, str, str], exits: tuple[str, str, str]
) -> None:
    verdict = judged(**LIMIT | change)

    assert journal(verdict) == lines
    assert (verdict.reference_price, verdict.limit_price, verdict.quantity) == tuple(map(D, prices))
    assert verdict.exits is not None
    assert (verdict.stop_price, verdict.target_price, verdict.exits.activation_price) == tuple(map(D, exits))
    # It should note what is a default, and round the callback up
    assert (verdict.exits.stop_defaulted, verdict.exits.target_defaulted) == (True, True)
    assert (verdict.exits.callback_percent, verdict.exits.targets[0].share) == (D("1.3"), D(1))


@pytest.mark.parametrize(
    ("change", "stop", "expected"),
    [
        # 1450.29 at 12x, of the second bracket: (1/12 - 0.02 + 8/1450.29) / 0.98 = 7.02545 % below 50010 is 46496.57
        ({}, "46496.6", None),
        ({}, "46496.5", Reason.STOP_BEYOND_LIQUIDATION),
        # 1499.7: (1/12 - 0.02 + 8/1499.7) / 1.02 = 6.73213 % above 49990 is 53355.39
        ({"direction": SHORT}, "53355.3", None),
        ({"direction": SHORT}, "53355.4", Reason.STOP_BEYOND_LIQUIDATION),
    ],
)
def test_the_exchanges_bracket_counts_where_it_is_stricter(
    change: dict[str, Any], stop: str, expected: Reason | None
) -> None:
    verdict = judged(notional_usd=D(1350), stop_price=D(stop), **change)

    (row,) = (row for row in verdict.rules if row.rule == "stop_before_liquidation")
    assert row.refusal is expected
    assert "leverage=12 maintenance=0.02 notional=1" in row.numbers


@pytest.mark.parametrize(
    ("change", "stop", "expected"),
    [
        # The same with a policy that assumes 3 %: (1/12 - 0.03) / 0.97 = 5.49828 % below 50010 is 47260.31
        ({}, "47260.4", None),
        ({}, "47260.3", Reason.STOP_BEYOND_LIQUIDATION),
        # (1/12 - 0.03) / 1.03 = 5.17799 % above 49990 is 52578.48
        ({"direction": SHORT}, "52578.4", None),
        ({"direction": SHORT}, "52578.5", Reason.STOP_BEYOND_LIQUIDATION),
    ],
)
def test_a_stricter_policy_counts_and_not_the_laxer_bracket(
    change: dict[str, Any], stop: str, expected: Reason | None
) -> None:
    verdict = judged({"MAINTENANCE_MARGIN": "0.03"}, notional_usd=D(1350), stop_price=D(stop), **change)

    (row,) = (row for row in verdict.rules if row.rule == "stop_before_liquidation")
    assert row.refusal is expected
    assert "maintenance=0.03" in row.numbers


@pytest.mark.parametrize(
    ("values", "equity", "change", "numbers", "usd"),
    [
        # A quarter of 1620 USD is 450 USDC, at 50010 or 49990 a unit.
        (
            {"SIZING_MODE": "1", "EQUITY_FRACTION": "0.25"},
            "1620",
            {},
            "mode=equity_fraction equity=1620 fraction=0.25 price=50010 quantity=0.008",
            "360.072",
        ),
        (
            {"SIZING_MODE": "1", "EQUITY_FRACTION": "0.25"},
            "1620",
            {"direction": SHORT},
            "mode=equity_fraction equity=1620 fraction=0.25 price=49990 quantity=0.009",
            "404.919",
        ),
        # Stop at 48759.7, filled at 48710.9403: a unit from 50010 loses 1299.0597 and fees of 49.36047015.
        (
            {"SIZING_MODE": "2", "RISK_PER_TRADE": "9"},
            None,
            {},
            (
                "mode=risk_per_trade risk=9 stop=48759.7 "
                "entry=50014.28571429 unit_loss=1217.43722456 at_stop=8.52206057 "
                "price=50010 quantity=0.007"
            ),
            "315.063",
        ),
        (
            {"SIZING_MODE": "2", "RISK_PER_TRADE": "9"},
            None,
            {"direction": SHORT},
            (
                "mode=risk_per_trade risk=9 stop=51239.8 "
                "entry=49985.71428571 unit_loss=1220.3675022 at_stop=8.54257252 "
                "price=49990 quantity=0.007"
            ),
            "314.937",
        ),
        # A LIMIT takes 0.004 of the book and rests with the other 0.005.
        (
            {"SIZING_MODE": "2", "RISK_PER_TRADE": "9", "DEFAULT_STOP": "0.02"},
            None,
            {"order_type": OrderType.LIMIT, "limit_price": D(50015)},
            (
                "mode=risk_per_trade risk=9 stop=49009.8 "
                "entry=50012.77777778 unit_loss=991.32692559 at_stop=8.92194233 "
                "price=50012.77777778 quantity=0.009"
            ),
            "405.1035",
        ),
        (
            {"SIZING_MODE": "2", "RISK_PER_TRADE": "9", "DEFAULT_STOP": "0.02"},
            None,
            {"order_type": OrderType.LIMIT, "limit_price": D(49985), "direction": SHORT},
            (
                "mode=risk_per_trade risk=9 stop=50989.8 "
                "entry=49987.22222222 unit_loss=993.67342541 at_stop=8.94306083 "
                "price=49987.22222222 quantity=0.009"
            ),
            "404.8965",
        ),
    ],
)
def test_a_size_by_the_policy_tells_its_numbers(
    values: dict[str, str], equity: str | None, change: dict[str, Any], numbers: str, usd: str
) -> None:
    verdict = judged(values, equity, **change)

    rows = [row for row in verdict.rules if row.rule == "size"]
    # It should replace the 405 USD that were asked for
    assert [(row.numbers, row.before, row.after and row.after.quantize(D("1E-8"))) for row in rows] == [
        (numbers, D(405), D(usd))
    ]
    assert verdict.refusal is None
