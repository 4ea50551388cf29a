"""The limits over all positions, in exact numbers: long and short, beside other positions, with prices that differ."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from execution.domain import policy as keys
from execution.domain.limits import LimitUsage, OrderImpact, judge_limits
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict

D = Decimal
# Two positions beside the entry, and every figure another number.
USED = LimitUsage(
    positions=2,
    exposure=D(700),
    symbol_exposure=D(300),
    open_risk=D(35),
    entries_last_minute=4,
    day_result=D(-12),
    day_peak=D(20),
    open_loss=D(-5),
)
STAKE = OrderImpact(symbol="ETHUSDT", notional=D(150), risk=D(7))


def policy(**values: Any) -> Policy:
    return Policy(values={getattr(keys, name): D(value) for name, value in values.items()}, version=1)


def policied(key: str, value: str) -> dict[str, Any]:
    return {key: value}


def verdicts(
    usage: LimitUsage = USED, stake: OrderImpact = STAKE, **values: Any
) -> dict[str, tuple[str, Reason | None]]:
    """What each limit says, by its name."""
    rules: tuple[RuleVerdict, ...] = judge_limits(stake, usage, policy(**values))
    assert len({rule.rule for rule in rules}) == len(rules)
    return {rule.rule: (rule.numbers, rule.refusal) for rule in rules}


@pytest.mark.parametrize(
    ("stop", "risk"),
    [
        # A long's stop lies below and a short's above: both lose 0.5 times the distance.
        ("1900", "50"),
        ("2100", "50"),
        ("1999", "0.5"),
        ("2001", "0.5"),
        # Without a stop all of it may be lost.
        ("0", "1000"),
    ],
)
def test_what_an_entry_may_lose_is_the_distance_to_its_stop_on_either_side(stop: str, risk: str) -> None:
    stake = OrderImpact.of("ETHUSDT", quantity=D("0.5"), price=D(2000), stop_price=D(stop))

    assert stake == OrderImpact(symbol="ETHUSDT", notional=D(1000), risk=D(risk))


@pytest.mark.parametrize(("stop", "risk"), [("1900", "55"), ("2150", "82.5"), ("0", "1100")])
def test_a_stake_is_in_dollars_whatever_the_quote_asset_is_worth(stop: str, risk: str) -> None:
    stake = OrderImpact.of("ETHBTC", quantity=D("0.5"), price=D(2000), stop_price=D(stop), usd_per_quote=D("1.1"))

    assert (stake.notional, stake.risk) == (D(1100), D(risk))


def test_every_limit_tells_the_use_with_this_entry() -> None:
    assert verdicts() == {
        "no_unsettled_entry": ("symbol=ETHUSDT", None),
        "look_alike": ("expected>=0s actual=none", None),
        "one_open_trade": ("symbol=ETHUSDT", None),
        "stop_out_pause": ("expected>=0s actual=none", None),
        "usage_in_usd": ("unpriced=none", None),
        "max_positions": ("expected<=30 actual=3", None),
        "symbol_exposure": ("expected<=1000000 actual=450", None),
        "total_exposure": ("expected<=10000000 actual=850", None),
        "entry_rate": ("expected<=1200 actual=5", None),
        "open_risk": ("expected<=1000000000 actual=42", None),
        "daily_loss": ("expected<=1000000000 actual=54 lost=12 open_risk=35 this_risk=7", None),
        "daily_drawdown": ("expected<=1000000000 actual=37", None),
    }


@pytest.mark.parametrize(
    ("key", "rule", "actual", "less", "refusal"),
    [
        ("MAX_POSITIONS", "max_positions", "3", "2", Reason.POSITIONS_EXCEED_LIMIT),
        ("MAX_SYMBOL_EXPOSURE", "symbol_exposure", "450", "449.99", Reason.SYMBOL_EXPOSURE_EXCEEDS_LIMIT),
        ("MAX_TOTAL_EXPOSURE", "total_exposure", "850", "849.99", Reason.TOTAL_EXPOSURE_EXCEEDS_LIMIT),
        ("MAX_ENTRIES_PER_MINUTE", "entry_rate", "5", "4", Reason.ENTRIES_EXCEED_RATE),
        # 35 at the other stops and 7 at this one.
        ("MAX_OPEN_RISK", "open_risk", "42", "41.99", Reason.OPEN_RISK_EXCEEDS_LIMIT),
        # 12 lost today, 35 at the other stops and 7 at this one.
        ("MAX_DAILY_LOSS", "daily_loss", "54", "53.99", Reason.DAILY_LOSS_EXCEEDS_LIMIT),
        # From 20 above to 12 below, and 5 in positions that are open.
        ("MAX_DAILY_DRAWDOWN", "daily_drawdown", "37", "36.99", Reason.DRAWDOWN_EXCEEDS_LIMIT),
    ],
)
def test_a_limit_takes_its_own_amount_and_refuses_one_below(
    key: str, rule: str, actual: str, less: str, refusal: Reason
) -> None:
    one, other = policied(key, actual), policied(key, less)
    just, beyond = verdicts(**one), verdicts(**other)

    assert just[rule][1] is None
    assert beyond[rule][1] is refusal
    assert beyond[rule][0].startswith(f"expected<={less} actual={actual}")
    # It should refuse by this limit alone
    assert [name for name, (_, refused) in beyond.items() if refused] == [rule]


@pytest.mark.parametrize(
    ("day_result", "numbers"),
    [
        # A day's gain is no room for more loss.
        ("40", "actual=42 lost=0 open_risk=35 this_risk=7"),
        ("0", "actual=42 lost=0 open_risk=35 this_risk=7"),
        ("-0.5", "actual=42.5 lost=0.5 open_risk=35 this_risk=7"),
        ("-100", "actual=142 lost=100 open_risk=35 this_risk=7"),
    ],
)
def test_only_a_days_losses_use_the_daily_loss(day_result: str, numbers: str) -> None:
    shown, _ = verdicts(replace(USED, day_result=D(day_result)))["daily_loss"]

    assert shown == f"expected<=1000000000 {numbers}"


@pytest.mark.parametrize(
    ("peak", "result", "open_loss", "fallen"),
    [
        ("0", "0", "0", "0"),
        ("0", "-30", "0", "30"),
        ("50", "50", "0", "0"),
        ("50", "20", "0", "30"),
        ("50", "20", "-11", "41"),
        ("0", "0", "-11", "11"),
        ("50", "-20", "-11", "81"),
    ],
)
def test_drawdown_is_the_fall_from_the_days_best_with_what_is_open(
    peak: str, result: str, open_loss: str, fallen: str
) -> None:
    usage = replace(USED, day_peak=D(peak), day_result=D(result), open_loss=D(open_loss))

    assert verdicts(usage)["daily_drawdown"][0] == f"expected<=1000000000 actual={fallen}"


@pytest.mark.parametrize(
    ("key", "column", "rule", "refusal"),
    [
        ("LOOK_ALIKE_WINDOW", "look_alike_age", "look_alike", Reason.LOOK_ALIKE_DECISION),
        ("STOP_OUT_PAUSE", "stopped_out_age", "stop_out_pause", Reason.SYMBOL_PAUSED_AFTER_STOP),
    ],
)
def test_a_pause_is_over_at_its_end(key: str, column: str, rule: str, refusal: Reason) -> None:
    def after(seconds: str) -> tuple[str, Reason | None]:
        aged: dict[str, Decimal] = {column: D(seconds)}
        return verdicts(replace(USED, **aged), **{key: "60"})[rule]  # type: ignore[arg-type]

    assert after("0") == ("expected>=60s actual=0s", refusal)
    assert after("59.999") == ("expected>=60s actual=59.999s", refusal)
    assert after("60") == ("expected>=60s actual=60s", None)
    assert after("61") == ("expected>=60s actual=61s", None)
    # It should not pause after nothing
    assert verdicts(**policied(key, "60"))[rule] == ("expected>=60s actual=none", None)


@pytest.mark.parametrize(
    ("columns", "rule", "numbers", "refusal"),
    [
        ({"held_by": "a-trade"}, "one_open_trade", "symbol=ETHUSDT held_by=a-trade", Reason.OPEN_TRADE_EXISTS),
        ({"unsettled": "one"}, "no_unsettled_entry", "symbol=ETHUSDT unknown_since=one", Reason.ENTRY_UNSETTLED),
        ({"unpriced": "BTCUSDX"}, "usage_in_usd", "unpriced=BTCUSDX", Reason.QUOTE_ASSET_UNPRICED),
    ],
)
def test_what_stands_in_the_way_is_named(columns: dict[str, str], rule: str, numbers: str, refusal: Reason) -> None:
    found = verdicts(replace(USED, **columns))  # type: ignore[arg-type]

    assert found[rule] == (numbers, refusal)
    assert [name for name, (_, refused) in found.items() if refused] == [rule]
