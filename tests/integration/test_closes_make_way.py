"""A close that is refused because orders hold its quantity: they make way, the stop last, and the close follows."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.models import AuditEvent, Order
from execution.protection.coverage import uncovered_positions
from tests.integration.test_refused_exits import SteppedClock, closes, told
from tests.support.desk import Desk
from tests.support.exits import (
    ADOPTED,
    CHAIN,
    DUST,
    EXITS,
    IN_TIME,
    KILL_SWITCH,
    MODES,
    SIDES,
    SYMBOL,
    TARGET,
    TRIP,
    Exit,
    each_exit,
    named,
    opened,
)
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
D = Decimal
CODES = (-4118, -2022, -4164)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.clock = SteppedClock()
    return desk


def hold(desk: Desk, code: int = -4118) -> None:
    """Let closes be refused while orders hold the quantity."""
    desk.paper.add_fault(path=ORDER, method="POST", action="refuse_reducing", code=code, count=None, id="held")


def steps(desk: Desk, since: int) -> list[str]:
    """Return what we have cancelled and sent since then, in order: the purpose's letter, and the answer's code."""
    found = []
    for row in desk.ledger.requests[since:]:
        name = str(row["params"].get("newClientOrderId") or row["params"].get("clientAlgoId") or "")
        if row["method"] == "DELETE":
            found.append(f"cancel {name[4:5] or 'of others'}")
        elif row["method"] == "POST" and row["path"] in {ORDER, ALGO_ORDER} and name.startswith("es1-"):
            found.append(f"{name[4]} {row['code'] or 'taken'}")
    return found


def remarks(request_id: UUID) -> list[dict[str, Any]]:
    lines = AuditEvent.objects.filter(entity="request", entity_id=str(request_id), to_state="MADE_WAY").order_by("id")
    return [line.details for line in lines]


@pytest.mark.parametrize(("way", "side", "mode"), each_exit(), ids=named)
def test_in_every_way_out_what_holds_the_quantity_makes_way(desk: Desk, way: Exit, side: str, mode: str) -> None:
    request_id = opened(desk, way, side=side, mode=mode)
    hold(desk)
    since = len(desk.ledger.requests)

    way.act(desk, request_id)

    done = [step for step in steps(desk, since) if step[0] != "s" or step.endswith("taken")]
    freed = {TARGET: ["cancel s"], DUST: done[1:-1]}.get(way, ["cancel t", "c -4118", "cancel s"])
    if not way.has_stop:
        freed = ["cancel t"]
    assert done[-len(freed) - 2 :] == ["c -4118", *freed, "c taken"] or way is TARGET, done
    assert desk.ledger.positions == {}
    assert remarks(request_id)
    # Each try is a row.
    assert {order.error_code for order in closes(request_id)[:-1]} == {-4118}
    desk.paper.clear_faults()
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    assert not desk.ledger.live()
    if way is not ADOPTED:
        desk.check()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", SIDES)
def test_whichever_code_says_so(desk: Desk, side: str, mode: str, code: int) -> None:
    request_id = opened(desk, IN_TIME, side=side, mode=mode)
    hold(desk, code)
    since = len(desk.ledger.requests)

    IN_TIME.act(desk, request_id)

    assert steps(desk, since) == [f"c {code}", "cancel t", f"c {code}", "cancel s", "c taken"]
    assert [sorted(row) for row in remarks(request_id)] == [["cancelled", "code", "quantity"]] * 2
    assert (desk.trade(request_id).state, desk.trade(request_id).close_reason) == ("CLOSED", "TIME")
    desk.check()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("way", [IN_TIME, KILL_SWITCH], ids=named)
def test_a_stop_that_made_way_in_vain_is_put_back(desk: Desk, way: Exit, side: str, code: int) -> None:
    request_id = opened(desk, way, side=side)
    desk.paper.add_fault(path=ORDER, method="POST", action="refuse", code=code, count=None, id="always")
    since = len(desk.ledger.requests)

    way.act(desk, request_id)

    # It should have tried each step once, and cover the position again.
    assert steps(desk, since) == [f"c {code}", "cancel t", f"c {code}", "cancel s", f"c {code}", "s taken"]
    assert [D(stop["quantity"]) for stop in desk.ledger.live_stops] == [abs(desk.ledger.positions[SYMBOL])]
    assert uncovered_positions() == []
    # It should count as one try, and be told.
    assert f"{SYMBOL} CLOSE refused: code={code} tries=1 since=" in str(told())
    for tries, pause in ((2, 5), (3, 10)):
        desk.clock.let_pass(pause - 0.5)
        sent = len(closes(request_id))
        way.act(desk, request_id)
        assert len(closes(request_id)) == sent, "the same request is not sent before its pause is over"
        desk.clock.let_pass(0.5)
        way.act(desk, request_id)
        assert f"code={code} tries={tries} since=" in str(told())
        assert uncovered_positions() == []

    desk.paper.clear_faults()
    desk.clock.let_pass(21)
    way.act(desk, request_id)
    desk.cycle()
    assert (desk.trade(request_id).state, told()) == ("CLOSED", None)
    desk.check()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", [KILL_SWITCH, TRIP], ids=named)
def test_what_others_let_rest_makes_way_for_flatten(desk: Desk, way: Exit, mode: str, side: str) -> None:
    request_id = opened(desk, way, side=side, mode=mode)
    rest_by_hand(desk, side, mode)
    hold(desk)
    since = len(desk.ledger.requests)

    way.act(desk, request_id)

    cancels = [step for step in steps(desk, since) if step.startswith("cancel")]
    assert cancels == ["cancel t", "cancel of others", "cancel of others", "cancel s"]
    assert desk.ledger.positions == {}
    assert str(remarks(request_id)).count("of others: ") >= 2
    # An order that would open is nobody's hold on the quantity.
    assert [order["origQty"] for order in desk.person.get_orders()] == ["0.003"]


@pytest.mark.parametrize("side", SIDES)
def test_what_others_let_rest_stays_for_any_other_exit(desk: Desk, side: str) -> None:
    request_id = opened(desk, IN_TIME, side=side)
    rest_by_hand(desk, side, "one-way", quantity="0.009")
    hold(desk)

    IN_TIME.act(desk, request_id)

    assert len(desk.person.get_orders()) == 2
    assert [(order.state, order.error_code) for order in closes(request_id)] == [("REJECTED", -4118)] * 3
    assert uncovered_positions() == []
    assert "CLOSE refused: code=-4118 tries=1" in str(told())


def rest_by_hand(desk: Desk, side: str, mode: str, quantity: str = "0.004") -> None:
    """Let a person rest a limit and a conditional order against the position, and a limit order that adds to it."""
    adds, closes_by, price = ("BUY", "SELL", 53_000) if side == "buy" else ("SELL", "BUY", 47_000)
    place = {"positionSide": "LONG" if side == "buy" else "SHORT"} if mode == "hedge" else {}
    flag = {} if mode == "hedge" else {"reduceOnly": "true"}
    limit = {"symbol": SYMBOL, "type": "LIMIT", "timeInForce": "GTC", **place}
    desk.person.new_order(side=closes_by, quantity=quantity, price=str(price), **limit, **flag)
    desk.person.new_order(side=adds, quantity="0.003", price="40000" if side == "buy" else "60000", **limit)
    terms = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": closes_by,
        "type": "STOP_MARKET",
        "quantity": quantity,
    }
    trigger = {"triggerPrice": "45000" if side == "buy" else "55000", **place, **flag}
    desk.person.sign_request("POST", ALGO_ORDER, terms | trigger)


@pytest.mark.parametrize("side", SIDES)
def test_the_target_of_a_part_makes_way_and_the_stop_does_not(desk: Desk, side: str) -> None:
    """A position that is not to be closed keeps its stop, whatever holds the quantity of a part of it."""
    sign = 1 if side == "buy" else -1
    targets = [{"price": str(50_000 + sign * far), "share": "0.5"} for far in (1_000, 2_000)]
    request_id = desk.signal(side=side, stop_loss=str(50_000 - sign * 1_000), take_profits=targets)
    assert desk.run(request_id) == "RECORDED"
    near = Order.objects.filter(request_id=request_id, purpose="TARGET").order_by("sequence")[0]
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": near.client_order_id})
    Order.objects.filter(pk=near.pk).update(state="CANCELED")
    kind = {"type": "TAKE_PROFIT_MARKET"}
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, match=kind)
    hold(desk)
    since = len(desk.ledger.requests)

    TARGET.act(desk, request_id)

    done = steps(desk, since)
    assert "cancel s" not in done
    assert done[:4] == ["t -2021", "c -4118", "cancel t", "c -4118"]
    assert uncovered_positions() == []


def test_all_ways_out_are_walked() -> None:
    assert {ADOPTED, CHAIN, DUST, IN_TIME, KILL_SWITCH, TARGET, TRIP} < set(EXITS)
