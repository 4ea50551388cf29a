"""Several targets and a trailing stop beside the fixed one: what rests at the exchange after each fill, to the step."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings

from execution.models import Bracket, PolicyValue
from execution.models.bracket import LegOrigin
from tests.support.desk import Desk

D = Decimal
THREE_TARGETS = [
    {"price": "51000", "share": "0.5"},
    {"price": "52000", "share": "0.3"},
    {"price": "53000", "share": "0.2"},
]


def resting(desk: Desk, kind: str = "") -> list[tuple[str, Decimal, Decimal]]:
    """Return what waits at the exchange: type, trigger price and quantity, ordered by them."""
    rows = [(row["orderType"], D(row["triggerPrice"] or 0), D(row["quantity"])) for row in desk.ledger.live(kind)]
    return sorted(rows)


def opened(desk: Desk, **fields: Any) -> UUID:
    """Carry a person's order of 0.010 BTC with a stop at 49000 to its open trade."""
    request_id = desk.signal(**({"stop_loss": "49000"} | fields))
    assert desk.run(request_id) == "RECORDED", desk.request(request_id).reason
    return request_id


def test_three_targets_share_the_position_and_the_stop_covers_what_is_left(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS)

    # It should split 0.010 into 0.005, 0.003 and 0.002 under one stop for all of it.
    assert resting(desk) == [
        ("STOP_MARKET", D(49000), D("0.010")),
        ("TAKE_PROFIT_MARKET", D(51000), D("0.005")),
        ("TAKE_PROFIT_MARKET", D(52000), D("0.003")),
        ("TAKE_PROFIT_MARKET", D(53000), D("0.002")),
    ]
    desk.check()

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # It should book the first half and shrink the stop; the other targets are not touched.
    trade = desk.trade(request_id)
    assert (trade.state, trade.exited_quantity) == ("REDUCED", D("0.005"))
    assert resting(desk) == [
        ("STOP_MARKET", D(49000), D("0.005")),
        ("TAKE_PROFIT_MARKET", D(52000), D("0.003")),
        ("TAKE_PROFIT_MARKET", D(53000), D("0.002")),
    ]
    assert desk.request(request_id).orders.filter(purpose="TARGET").count() == 3
    desk.check()

    desk.paper.set_price("BTCUSDT", "52000")
    desk.cycle()
    assert resting(desk) == [("STOP_MARKET", D(49000), D("0.002")), ("TAKE_PROFIT_MARKET", D(53000), D("0.002"))]

    desk.paper.set_price("BTCUSDT", "53000")
    desk.cycle()

    # It should have closed with the exchange's own figures: three exits, nothing left behind.
    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason) == ("CLOSED", "TP")
    assert [(D(fill["price"]), D(fill["qty"])) for fill in ledger.fills[1:]] == [
        (D("50999.9"), D("0.005")),
        (D("51999.9"), D("0.003")),
        (D("52999.9"), D("0.002")),
    ]
    assert (trade.net_pnl, ledger.live(), ledger.positions) == (ledger.net_pnl, [], {})
    assert desk.events(request_id).count("trade.closed") == 1
    desk.check()


def test_stop_after_the_first_target_closes_exactly_the_rest(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS)
    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "SL", ledger.net_pnl)
    assert [D(fill["qty"]) for fill in ledger.fills] == [D("0.010"), D("0.005"), D("0.005")]
    assert (ledger.live(), ledger.positions) == ([], {})
    desk.check()


def test_two_targets_reached_at_once_are_booked_together(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS)

    desk.paper.set_price("BTCUSDT", "52500")
    desk.cycle()

    assert desk.trade(request_id).exited_quantity == D("0.008")
    assert resting(desk) == [("STOP_MARKET", D(49000), D("0.002")), ("TAKE_PROFIT_MARKET", D(53000), D("0.002"))]
    desk.check()


def test_targets_of_equal_size_are_not_taken_for_replacements_of_each_other(desk: Desk) -> None:
    targets = [{"price": "51000", "share": "0.5"}, {"price": "52000", "share": "0.5"}]
    opened(desk, take_profits=targets)

    for _ in range(3):
        desk.clock.let_pass(10)
        desk.cycle()

    assert resting(desk, "TAKE_PROFIT_MARKET") == [
        ("TAKE_PROFIT_MARKET", D(51000), D("0.005")),
        ("TAKE_PROFIT_MARKET", D(52000), D("0.005")),
    ]
    desk.check()


def test_target_for_a_part_leaves_the_rest_to_the_stop(desk: Desk) -> None:
    opened(desk, take_profits=[{"price": "51000", "share": "0.4"}])

    assert resting(desk) == [("STOP_MARKET", D(49000), D("0.010")), ("TAKE_PROFIT_MARKET", D(51000), D("0.004"))]


def test_short_position_has_its_targets_below(desk: Desk) -> None:
    targets = [{"price": "48000", "share": "0.5"}, {"price": "49000", "share": "0.5"}]
    request_id = desk.signal(side="sell", stop_loss="51000", take_profits=targets)
    desk.run(request_id)

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()

    # It should take the nearer one first, whatever the order in which they were asked for.
    assert desk.trade(request_id).exited_quantity == D("0.005")
    assert resting(desk) == [("STOP_MARKET", D(51000), D("0.005")), ("TAKE_PROFIT_MARKET", D(48000), D("0.005"))]
    assert desk.trade(request_id).target_price == D(49000)


def test_target_whose_level_was_reached_before_it_could_be_placed_is_taken_at_market(desk: Desk) -> None:
    desk.paper.add_fault(
        path="/fapi/v1/algoOrder",
        method="POST",
        action="reply",
        status=400,
        body={"code": -2021, "msg": "Order would immediately trigger."},
        match={"type": "TAKE_PROFIT_MARKET", "triggerPrice": "51000"},
    )
    request_id = desk.signal(stop_loss="49000", take_profits=THREE_TARGETS)
    desk.run(request_id)
    desk.cycle()
    desk.cycle()

    # It should have taken this target's share alone, and gone on with the others.
    assert desk.trade(request_id).exited_quantity == D("0.005")
    close = desk.order(request_id, "CLOSE")
    assert (close.state, close.quantity, close.close_reason) == ("FILLED", D("0.005"), "TP")
    assert resting(desk) == [
        ("STOP_MARKET", D(49000), D("0.005")),
        ("TAKE_PROFIT_MARKET", D(52000), D("0.003")),
        ("TAKE_PROFIT_MARKET", D(53000), D("0.002")),
    ]
    desk.check()


# Trailing


def test_trailing_stop_follows_the_best_price_over_the_fixed_stop(desk: Desk) -> None:
    request_id = opened(desk, take_profit="60000", trailing={"callback_percent": "1"})

    [trailing] = desk.ledger.live("TRAILING_STOP_MARKET")
    assert (D(trailing["callbackRate"]), D(trailing["quantity"]), trailing["reduceOnly"]) == (D(1), D("0.010"), True)
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D(49000), D("0.010"))]
    desk.check()

    # The best price is 52000; one percent below is 51480.
    for price in ("51000", "52000", "51480.1"):
        desk.paper.set_price("BTCUSDT", price)
    desk.cycle()
    assert desk.trade(request_id).state == "OPEN"

    desk.paper.set_price("BTCUSDT", "51480")
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason, trade.exit_price) == ("CLOSED", "TRAILING", D("51479.9"))
    assert (trade.net_pnl, ledger.live(), ledger.positions) == (ledger.net_pnl, [], {})
    assert desk.event(request_id, "trade.closed")["reason"] == "TRAILING"
    desk.check()


def test_trailing_stop_waits_for_its_activation_and_the_fixed_stop_is_the_floor(desk: Desk) -> None:
    trailing = {"callback_percent": "1", "activation_price": "52000"}
    request_id = opened(desk, take_profit="60000", trailing=trailing)
    [leg] = desk.ledger.live("TRAILING_STOP_MARKET")
    assert D(leg["activatePrice"]) == D(52000)

    # Two percent back without having reached 52000: it should not follow yet.
    for price in ("51500", "50300"):
        desk.paper.set_price("BTCUSDT", price)
    desk.cycle()
    assert desk.trade(request_id).state == "OPEN"

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()
    assert (desk.trade(request_id).close_reason, desk.ledger.live()) == ("SL", [])
    desk.check()


def test_trailing_stop_keeps_its_best_price_when_a_target_fills(desk: Desk) -> None:
    targets = [{"price": "52000", "share": "0.5"}]
    request_id = opened(desk, take_profits=targets, trailing={"callback_percent": "2"})

    desk.paper.set_price("BTCUSDT", "52000")
    desk.cycle()
    [leg] = desk.ledger.live("TRAILING_STOP_MARKET")
    # It should not be placed anew for the smaller size: reduce-only trims it.
    assert (D(leg["quantity"]), desk.request(request_id).orders.filter(purpose="TRAILING").count()) == (D("0.010"), 1)

    desk.paper.set_price("BTCUSDT", "50960")
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "TRAILING", desk.ledger.net_pnl)
    assert [D(fill["qty"]) for fill in desk.ledger.fills[1:]] == [D("0.005"), D("0.005")]
    desk.check()


def test_trailing_of_an_ai_decision_is_acted_upon(desk: Desk) -> None:
    desk.trade_opened(stop_loss=49000.0, trail_percent=1.5)

    [leg] = desk.ledger.live("TRAILING_STOP_MARKET")
    assert D(leg["callbackRate"]) == D("1.5")
    desk.check()


def test_trailing_stop_whose_activation_was_reached_meanwhile_follows_at_once(desk: Desk) -> None:
    desk.paper.add_fault(
        path="/fapi/v1/algoOrder",
        method="POST",
        action="reply",
        status=400,
        body={"code": -2021, "msg": "Order would immediately trigger."},
        match={"type": "TRAILING_STOP_MARKET", "activatePrice": "52000"},
    )

    opened(desk, trailing={"callback_percent": "1", "activation_price": "52000"})

    [leg] = desk.ledger.live("TRAILING_STOP_MARKET")
    assert (D(leg["activatePrice"]), D(leg["quantity"])) == (D(50000), D("0.010"))


# Plans


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"trail_percent": "0.05"}, "TRAILING_OUT_OF_BOUNDS"),
        ({"trail_percent": "21"}, "TRAILING_OUT_OF_BOUNDS"),
        ({"take_profits": [{"price": "49000", "share": "0.5"}]}, "TARGET_ON_WRONG_SIDE"),
    ],
)
def test_plan_that_makes_no_sense_is_refused_before_the_wire(desk: Desk, fields: dict[str, Any], code: str) -> None:
    request_id = desk.signal(stop_loss="49000", **fields)

    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason_code == code
    assert desk.ledger.sent("POST", "/fapi/v1/order") == []


def set_policy(desk: Desk, **values: str) -> None:
    for version, (name, value) in enumerate(values.items(), start=1):
        PolicyValue.objects.create(
            key=f"execution.{name}", value=D(value), source="test", version=version, changed_at=desk.clock()
        )


def test_decision_that_ends_without_a_stop_is_refused_unless_policy_and_ceiling_allow_it(
    desk: Desk, settings: LazySettings
) -> None:
    set_policy(desk, default_sl_pct="0")
    refused = desk.decide()
    assert desk.run(refused) == "DENIED"
    assert desk.request(refused).reason == "STOP_REQUIRED: stop=none default=none"

    set_policy(desk, allow_no_stop="1")
    capped = desk.decide()
    assert desk.run(capped) == "DENIED"
    assert desk.request(capped).reason == "STOP_REQUIRED: stop=none default=none"

    # As with the setting HARD_STOP_REQUIRED switched off.
    settings.POLICY_CEILINGS = {}
    allowed = desk.trade_opened()

    # It should have its target, no stop, and say so.
    assert [row[0] for row in resting(desk)] == ["TAKE_PROFIT_MARKET"]
    assert desk.event(allowed, "trade.opened")["stop_loss"] is None
    desk.paper.set_price("BTCUSDT", "60000")
    desk.cycle()
    assert (desk.trade(allowed).close_reason, desk.trade(allowed).r_multiple) == ("TP", None)


def test_plan_is_written_with_the_approval_and_before_the_entry_is_sent(desk: Desk) -> None:
    request_id = desk.signal(
        stop_loss="49000", take_profits=THREE_TARGETS, trail_percent="1.25", break_even=True, time_exit_seconds=3600
    )

    desk.run(request_id, until="guard_safety")

    bracket = Bracket.objects.get(request_id=request_id)
    assert (bracket.break_even, bracket.break_even_buffer, bracket.time_exit_seconds) == (True, D("0.001"), 3600)
    assert (bracket.tick_size, bracket.quantity_step) == (D("0.1"), D("0.001"))
    legs = bracket.legs.order_by("purpose", "number")
    assert [(leg.purpose, leg.number, leg.origin, leg.price, leg.share, leg.callback_percent) for leg in legs] == [
        ("STOP", 1, LegOrigin.ASKED, D(49000), D(1), None),
        ("TARGET", 1, LegOrigin.ASKED, D(51000), D("0.5"), None),
        ("TARGET", 2, LegOrigin.ASKED, D(52000), D("0.3"), None),
        ("TARGET", 3, LegOrigin.ASKED, D(53000), D("0.2"), None),
        # Rounded up to the exchange's tenth of a percent, so that it never triggers earlier than asked.
        ("TRAILING", 1, LegOrigin.ASKED, None, D(1), D("1.3")),
    ]
    assert desk.ledger.requests == [] or desk.ledger.sent("POST", "/fapi/v1/order") == []
