"""A stop that has moved is what limits count and what pages, events and copies show; the first one has its own name."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.test import Client

from execution.domain.limits import LimitUsage
from execution.domain.money import plain
from execution.domain.reasons import CloseReason
from execution.domain.trading import PositionSide
from execution.models import Order, OutboxEvent, Trade
from execution.models.bracket import LegOrigin
from execution.outbox.payloads import trade_opened
from execution.protection.amend_legs import move_stop, move_target
from execution.protection.coverage import uncovered_positions
from execution.queries.metrics import book_counts
from execution.risk.limit_usage import usage_for
from execution.risk.policy_store import policy_in_force, set_policy_value
from execution.trades.close_position import close_position
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
D = Decimal
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
SIGN = {"buy": 1, "sell": -1}
MIDDLE, QUANTITY = D(50_000), D("0.010")


def level(side: str, distance: int) -> Decimal:
    """Return a price that lies so far on the losing side of a position; negative: on its winning side."""
    return MIDDLE - SIGN[side] * distance


@pytest.fixture
def others(desk: Desk) -> UUID:
    """Return a decision of another symbol, for which what all others use is counted."""
    return desk.decide("ETHUSDT")


def opened(desk: Desk, side: str, **fields: Any) -> Trade:
    """Open 0.010 BTC with the stop 1,000 away and the target 2,000."""
    exits = {"stop_loss": plain(level(side, 1000)), "take_profit": plain(level(side, -2000))}
    request_id = desk.signal(side=side, **(exits | fields))
    assert desk.run(request_id) == "RECORDED"
    return desk.trade(request_id)


def used(desk: Desk, others: UUID) -> LimitUsage:
    return usage_for(desk.request(others), PositionSide.BOTH, policy_in_force(), now=desk.clock())


def move(desk: Desk, trade: Trade, price: Decimal, *, operator: str = "alice") -> None:
    assert move_stop(trade, price, origin=LegOrigin.OPERATOR, now=desk.clock(), operator=operator)


def told(trade: Trade) -> list[tuple[float | None, float | None]]:
    events = OutboxEvent.objects.filter(event_type="position.updated", aggregate=str(trade.pk)).order_by("id")
    return [(event.payload["stop_loss"], event.payload["take_profit"]) for event in events]


@SIDES
def test_a_loosened_stop_is_counted_from_the_plan_on(desk: Desk, others: UUID, side: str) -> None:
    trade = opened(desk, side)
    assert used(desk, others).open_risk == QUANTITY * abs(trade.entry_price - level(side, 1000))

    move(desk, trade, level(side, 1500))

    # It should count the plan before the order follows, and the same afterwards.
    expected = QUANTITY * abs(trade.entry_price - level(side, 1500))
    assert used(desk, others).open_risk == expected
    desk.step("protect_position", trade.pk)
    assert used(desk, others).open_risk == expected


@SIDES
@pytest.mark.parametrize(("distance", "risks"), [(400, True), (-10, False), (-900, False)])
def test_a_tightened_stop_frees_its_risk_once_its_order_waits(
    desk: Desk, others: UUID, side: str, distance: int, *, risks: bool
) -> None:
    trade = opened(desk, side)
    desk.paper.set_price("BTCUSDT", plain(level(side, -1000)))
    before = used(desk, others).open_risk
    assert before > 0

    move(desk, trade, level(side, distance))

    # The old order is what protects until the new one is there.
    assert used(desk, others).open_risk == before
    desk.step("protect_position", trade.pk)
    expected = QUANTITY * abs(trade.entry_price - level(side, distance)) if risks else 0
    assert used(desk, others).open_risk == expected


@SIDES
def test_after_break_even_a_second_entry_fits_where_the_first_stop_left_no_room(desk: Desk, side: str) -> None:
    trade = opened(
        desk,
        side,
        break_even=True,
        take_profit=None,
        take_profits=[
            {"price": plain(level(side, -1000)), "share": "0.5"},
            {"price": plain(level(side, -2000)), "share": "0.5"},
        ],
    )
    set_policy_value("risk.max_open_risk_usd", D(15), source="operator", now=desk.clock())
    refused = desk.decide("ETHUSDT", side)
    assert desk.run(refused) == "DENIED"
    assert desk.request(refused).reason_code == "OPEN_RISK_EXCEEDS_LIMIT"

    desk.paper.set_price("BTCUSDT", plain(level(side, -1000)))
    desk.cycle()

    assert desk.trade(trade.pk).state == "REDUCED"
    assert desk.run(desk.decide("ETHUSDT", side, stop_loss=None)) == "RECORDED"


@SIDES
def test_each_move_is_told_with_the_levels_that_hold_from_then_on(desk: Desk, side: str) -> None:
    trade = opened(desk, side)
    desk.cycle()
    first, target = float(level(side, 1000)), float(level(side, -2000))
    assert told(trade) == [(first, target)]

    move(desk, trade, level(side, 500))
    leg = trade.request.bracket.legs.get(purpose="TARGET")
    assert move_target(trade, leg, level(side, -1500), now=desk.clock(), operator="alice", why="")

    stop = float(level(side, 500))
    assert told(trade)[1:] == [(stop, target), (stop, float(level(side, -1500)))]
    # What does not move is not told.
    assert not move_stop(trade, level(side, 500), origin=LegOrigin.OPERATOR, now=desk.clock(), operator="alice")
    assert len(told(trade)) == 3


@SIDES
def test_page_and_mirror_show_the_live_stop_and_the_first_one(desk: Desk, client: Client, side: str) -> None:
    trade = opened(desk, side)
    move(desk, trade, level(side, 500))
    desk.cycle()

    answer = client.get(f"/api/execution/trades/{trade.pk}").json()
    levels = {name: answer[name] for name in ("stop_loss", "initial_stop_loss", "take_profit", "initial_take_profit")}
    first, target = float(level(side, 1000)), float(level(side, -2000))
    assert levels == {
        "stop_loss": float(level(side, 500)),
        "initial_stop_loss": first,
        "take_profit": target,
        "initial_take_profit": target,
    }
    mirrored = desk.mirrored(trade.pk)
    assert (mirrored["sl_price"], mirrored["initial_sl_price"]) == (plain(level(side, 500)), plain(level(side, 1000)))


def test_none_is_null_everywhere(desk: Desk, client: Client) -> None:
    trade = opened(desk, "buy", take_profit=None)
    # As a position that is adopted without a target.
    Order.objects.filter(request=trade.request, purpose="TARGET").update(leg=None)
    trade.request.bracket.legs.filter(purpose="TARGET").delete()
    Trade.objects.filter(pk=trade.pk).update(target_price=None)
    trade.refresh_from_db()
    desk.cycle()

    assert (trade.target_price, told(trade)) == (None, [(49000.0, None)])
    opening = trade_opened(trade, trade.request, desk.order(trade.pk, "ENTRY"), desk.clock())
    assert (opening["stop_loss"], opening["take_profit"]) == (49000.0, None)
    answer = client.get(f"/api/execution/trades/{trade.pk}").json()
    assert (answer["take_profit"], answer["initial_take_profit"]) == (None, None)
    assert (desk.mirrored(trade.pk)["tp_price"], desk.mirrored(trade.pk)["initial_tp_price"]) == ("", "")


@SIDES
def test_a_close_at_market_is_placed_at_no_price(desk: Desk, side: str) -> None:
    trade = opened(desk, side)
    tools = desk.tools()
    assert close_position(trade.pk, CloseReason.TIME, exchange=desk.exchange, rules=tools.protection, clock=desk.clock)

    placed = OutboxEvent.objects.filter(event_type="order.placed").order_by("id")
    prices = {event.payload["purpose"]: event.payload["price"] for event in placed}
    assert prices["stop"] == float(level(side, 1000))
    assert prices["entry"] == float(trade.request.reference_price)
    assert prices["close"] is None


@SIDES
def test_a_plan_without_a_stop_is_no_alarm(desk: Desk, client: Client, settings: LazySettings, side: str) -> None:
    settings.POLICY_CEILINGS = {}
    for key, value in (("default_sl_pct", 0), ("allow_no_stop", 1)):
        set_policy_value(f"execution.{key}", D(value), source="operator", now=desk.clock())
    bare, planned = desk.trade_opened("BTCUSDT", side), desk.trade_opened("ETHUSDT", side, **stop_of_eth(side))
    desk.clock.let_pass(60)
    desk.cycle()

    assert (uncovered_positions(), book_counts().unprotected) == ([], 0)
    shown = {row["symbol"]: row for row in client.get("/api/execution/positions").json()["positions"]}
    facts = ("stop_required", "protected", "protected_by")
    assert [shown["BTCUSDT"][name] for name in facts] == [False, False, "none"]
    assert [shown["ETHUSDT"][name] for name in facts] == [True, True, "venue"]
    told = OutboxEvent.objects.filter(event_type="position.updated").order_by("id")
    required = {event.aggregate: event.payload["stop_required"] for event in told}
    assert required == {str(bare): False, str(planned): True}
    # It should take none of its time for a time without cover.
    assert not Trade.objects.get(pk=bare).cover_measured_until


def stop_of_eth(side: str) -> dict[str, Any]:
    return {"stop_loss": 2400.0 if side == "buy" else 2600.0}
