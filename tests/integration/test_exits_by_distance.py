"""Exits by distance from the entry: percent, R and ATR, as planned, as sent, and after a fill at another price."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings

from execution.crash_points import CrashPoint
from execution.domain import policy as keys
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, BracketLeg
from execution.queries.requests import story_of
from execution.queries.story import lines
from execution.risk.decision_snapshot import replay
from execution.risk.policy_store import set_policy_value
from execution.risk.proposal import proposal_of
from tests.support.candles import minutes_of_range
from tests.support.desk import Desk
from tests.support.interference import at_point

pytestmark = pytest.mark.django_db
D = Decimal
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
SIGN = {"buy": 1, "sell": -1}
# What a market entry takes at rest.
ENTRY = {"buy": D("50000.1"), "sell": D("49999.9")}
ATR: dict[str, Any] = {"atr_interval": "1m", "atr_period": 2}


def away(side: str, distance: str, entry: Decimal | None = None) -> Decimal:
    """Return the price so far on the winning side of the entry; negative: on the losing side."""
    return (entry or ENTRY[side]) + SIGN[side] * D(distance)


def levels(desk: Desk, request_id: UUID) -> dict[str, list[Decimal]]:
    """Return the plan's levels, held against what waits at the exchange."""
    legs = BracketLeg.objects.filter(bracket_id=request_id).order_by("purpose", "number")
    plan = {
        purpose.lower(): [leg.price for leg in legs if leg.purpose == purpose and leg.price is not None]
        for purpose in OrderPurpose
    }
    assert [D(row["triggerPrice"]) for row in desk.ledger.live_stops] == plan["stop"]
    assert sorted(D(row["triggerPrice"]) for row in desk.ledger.live_targets) == sorted(plan["target"])
    return {name: prices for name, prices in plan.items() if prices}


def opened(desk: Desk, side: str, **fields: Any) -> UUID:
    request_id = desk.signal(side=side, **fields)
    state = desk.run(request_id)
    assert state == "RECORDED", desk.request(request_id).reason
    return request_id


def rules(request_id: UUID) -> dict[str, str]:
    step = AuditEvent.objects.get(entity_id=str(request_id), trigger__startswith="guard_")
    return {rule["rule"]: rule["numbers"] for rule in step.details["rules"]}


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@SIDES
def test_stop_in_multiples_of_the_atr_and_target_in_r(desk: Desk, side: str, mode: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    minutes_of_range(desk, 23)

    request_id = opened(desk, side, stop_loss_atr="1.5", take_profit_r="2", **ATR)

    # The ATR is 200: 1.5 of it is 300 away, and twice that 600.
    assert levels(desk, request_id) == {"stop": [away(side, "-300")], "target": [away(side, "600")]}
    assert rules(request_id)["atr"] == "interval=1m period=2 atr=200"
    desk.check()


@SIDES
def test_stop_and_target_in_percent(desk: Desk, side: str) -> None:
    request_id = opened(desk, side, stop_loss_percent="2", take_profit_percent="4")

    # 50000.1 x 0.98 = 49000.098 and x 1.04 = 52000.104; 49999.9 x 1.02 = 50999.898 and x 0.96 = 47999.904. The stop is
    # rounded away from the entry, the target towards it.
    expected = {"buy": (D("49000.0"), D("52000.1")), "sell": (D("50999.9"), D("48000.0"))}[side]
    found = levels(desk, request_id)
    assert (found["stop"], found["target"]) == ([expected[0]], [expected[1]])


@SIDES
def test_an_ai_decision_takes_distances_too(desk: Desk, side: str) -> None:
    minutes_of_range(desk, 23)
    fields: dict[str, Any] = {"stop_loss": None, "take_profit": None, "stop_loss_atr": 2, "take_profit_atr": 3}

    request_id = desk.trade_opened(side=side, **fields, **ATR)

    assert levels(desk, request_id) == {"stop": [away(side, "-400")], "target": [away(side, "600")]}


@SIDES
def test_several_targets_and_an_activation_each_by_its_own_measure(desk: Desk, side: str) -> None:
    minutes_of_range(desk, 23)
    targets = [{"r": 3, "share": "0.3"}, {"atr": 2, "share": "0.4"}, {"price": str(away(side, "900")), "share": "0.3"}]

    request_id = opened(
        desk,
        side,
        stop_loss=str(away(side, "-500")),
        take_profits=targets,
        trailing={"callback_percent": 1, "activation_r": "1.2"},
        **ATR,
    )

    # R is 500: 1500, 400 (2 x 200) and 900, the nearest first; the trailing stop follows from 1.2 x 500 on.
    assert levels(desk, request_id) == {
        "stop": [away(side, "-500")],
        "target": [away(side, "400"), away(side, "900"), away(side, "1500")],
        "trailing": [away(side, "600")],
    }


@SIDES
def test_distances_are_kept_from_the_price_of_the_fill(desk: Desk, side: str) -> None:
    minutes_of_range(desk, 23)
    middle = 50_000 + SIGN[side] * 10
    entry = D(middle) + SIGN[side] * D("0.1")
    request_id = desk.signal(side=side, stop_loss_atr="1.5", take_profit_r="2", **ATR)

    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: desk.paper.set_price("BTCUSDT", str(middle))):
        assert desk.run(request_id) == "RECORDED"

    # Filled 10 worse: the stop comes nearer to the market, and both keep their distance from the fill.
    assert desk.trade(request_id).entry_price == entry
    assert levels(desk, request_id) == {"stop": [away(side, "-300", entry)], "target": [away(side, "600", entry)]}
    desk.cycle()
    assert levels(desk, request_id) == {"stop": [away(side, "-300", entry)], "target": [away(side, "600", entry)]}
    desk.check()


@SIDES
def test_r_counts_from_a_stop_that_has_its_own_price(desk: Desk, side: str) -> None:
    middle = 50_000 + SIGN[side] * 10
    entry = D(middle) + SIGN[side] * D("0.1")
    request_id = desk.signal(side=side, stop_loss=str(away(side, "-500")), take_profit_r="2")

    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: desk.paper.set_price("BTCUSDT", str(middle))):
        assert desk.run(request_id) == "RECORDED"

    # The stop stays at its price, which is 510 from the fill now.
    assert levels(desk, request_id) == {"stop": [away(side, "-500")], "target": [away(side, "1020", entry)]}


@SIDES
def test_a_distance_that_a_rule_has_moved_stays_where_the_rule_put_it(desk: Desk, side: str) -> None:
    request_id = opened(desk, side, stop_loss_percent="0.05", take_profit="60000" if side == "buy" else "40000")

    [stop] = BracketLeg.objects.filter(bracket_id=request_id, purpose="STOP")
    # The policy's least distance is 0.1 %: 49950.0999 and 50049.8999.
    least = {"buy": D("49950.0"), "sell": D("50049.9")}[side]
    assert (stop.price, stop.measure, stop.distance) == (least, "", None)


@SIDES
def test_the_rules_hold_for_distances_as_for_prices(desk: Desk, side: str) -> None:
    request_id = desk.signal(side=side, stop_loss_percent="11")

    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason_code == "STOP_TOO_FAR"
    assert desk.ledger.entries_sent == []


def test_a_target_below_zero_is_refused(desk: Desk) -> None:
    request_id = desk.signal(side="sell", stop_loss_percent="2", take_profit_r="60")

    assert desk.run(request_id) == "DENIED"
    # The stop is 1000 away.
    assert desk.request(request_id).reason == "PRICE_OUT_OF_BOUNDS: expected>0 actual=-10000.1"


def test_r_without_a_stop_is_refused(desk: Desk, settings: LazySettings) -> None:
    settings.POLICY_CEILINGS = {}
    set_policy_value(keys.DEFAULT_STOP, D(0), source="operator", now=desk.clock())
    set_policy_value(keys.ALLOW_NO_STOP, D(1), source="operator", now=desk.clock())
    request_id = desk.signal(take_profit_r="2")

    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason == "STOP_REQUIRED: r=2 risk=none"


def test_candles_that_are_old_refuse_the_entry_with_their_time(desk: Desk) -> None:
    minutes_of_range(desk, 23)
    desk.clock.let_pass(180)
    request_id = desk.signal(stop_loss_atr="1.5", **ATR)

    assert desk.run(request_id) == "DENIED"

    request = desk.request(request_id)
    assert request.reason_code == "ATR_UNAVAILABLE"
    assert request.reason.startswith("ATR_UNAVAILABLE: interval=1m period=2 candles=21 newest_closed_at=")
    assert desk.event(request_id, "order.failed")["reason_code"] == "ATR_UNAVAILABLE"
    assert desk.ledger.entries_sent == []


def test_candles_that_cannot_be_read_let_the_entry_wait_until_it_is_too_old(desk: Desk) -> None:
    minutes_of_range(desk, 23)
    desk.paper.add_fault(path="/fapi/v1/klines", method="GET", action="refuse", code=-1001, count=1)
    request_id = desk.signal(stop_loss_atr="1.5", **ATR)

    assert desk.run(request_id) == "CLEARED"
    # The next try reads them.
    assert desk.run(request_id) == "RECORDED"


def test_the_journal_replays_the_verdict_with_the_atr_of_that_moment(desk: Desk) -> None:
    minutes_of_range(desk, 23)
    request_id = opened(desk, "buy", stop_loss_atr="1.5", take_profit_r="2", **ATR)
    step = AuditEvent.objects.get(entity_id=str(request_id), trigger="guard_approved")

    again = replay(proposal_of(desk.request(request_id)), step.details)

    assert D(step.details["inputs"]["atr"]) == 200
    found = {rule.rule: rule.after for rule in again}
    assert (found["stop_level"], found["target_level"]) == (D("49700.1"), D("50600.1"))
    assert "stop=atr:1.5 target=r:2" in "\n".join(lines(story_of(request_id)))


@SIDES
def test_a_resting_entry_keeps_its_distances_from_its_limit(desk: Desk, side: str) -> None:
    limit = D(50_000) - SIGN[side] * 500
    request_id = desk.signal(side=side, price=str(limit), stop_loss_percent="1", take_profit_r="3")
    assert desk.run(request_id) == "ACCEPTED"

    desk.paper.set_price("BTCUSDT", str(limit))
    desk.clock.let_pass(timedelta(seconds=3).total_seconds())
    desk.cycle()

    # 1 % of the limit, three times that.
    risk = limit / 100
    assert levels(desk, request_id) == {
        "stop": [limit - SIGN[side] * risk],
        "target": [limit + SIGN[side] * 3 * risk],
    }
