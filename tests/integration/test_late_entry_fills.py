"""Fills of an entry that the exchange shows after the trade's end: booked when the side is free, else reported."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.models import Fill
from tests.support.desk import Desk
from tests.support.ledger import ORDER
from tests.support.log_lines import log_lines

pytestmark = pytest.mark.django_db
D = Decimal
PRICES = {"buy": ("49500", "49000"), "sell": ("50500", "51000")}
EXITS = {"buy": "SELL", "sell": "BUY"}


def closed_short_of_a_fill(desk: Desk, side: str) -> UUID:
    """Close a trade of 0.004 whose entry has filled 0.007, of which the exchange shows 0.004."""
    price, stop = PRICES[side]
    request_id = desk.signal(side=side, price=price, stop_loss=stop)
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    fill(desk, entry.client_order_id, "0.004")
    desk.clock.let_pass(3)
    desk.cycle()
    shown = desk.person.query_order(symbol="BTCUSDT", origClientOrderId=entry.client_order_id)
    fill(desk, entry.client_order_id, "0.003")
    desk.person.cancel_order(symbol="BTCUSDT", origClientOrderId=entry.client_order_id)
    stale = shown | {"status": "CANCELED"}
    desk.paper.add_fault(
        path=ORDER,
        method="GET",
        action="reply",
        status=200,
        body=stale,
        count=None,
        match={"origClientOrderId": entry.client_order_id},
    )
    desk.paper.add_fault(path="/fapi/v1/userTrades", action="hide", order=entry.client_order_id, count=None)
    desk.person.new_order(symbol="BTCUSDT", side=EXITS[side], type="MARKET", quantity="0.007", reduceOnly="true")
    for _ in range(2):
        desk.clock.let_pass(3)
        desk.cycle()
    trade = desk.trade(request_id)
    assert (trade.state, trade.quantity, desk.order(request_id, "ENTRY").state) == ("CLOSED", D("0.004"), "CANCELED")
    desk.paper.clear_faults()
    return request_id


def fill(desk: Desk, client_order_id: str, quantity: str) -> None:
    desk.paper.control("POST", "orders/fill", {"order": client_order_id, "quantity": quantity})


def look_over(desk: Desk) -> list[Any]:
    """Let the cycle look over the closed books; return what was logged as an error."""
    desk.clock.let_pass(61)
    with log_lines() as logs:
        desk.cycle()
        desk.clock.let_pass(10)
        desk.cycle()
    return [line for line in logs if line["log_level"] == "error"]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_late_fill_opens_its_trade_again_while_the_side_is_free(desk: Desk, side: str) -> None:
    request_id = closed_short_of_a_fill(desk, side)

    errors = look_over(desk)

    # It should have booked the fill and its exit, and closed the trade anew.
    trade = desk.trade(request_id)
    assert [line["event"] for line in errors] == ["closed_trade_grew"]
    assert (trade.state, trade.quantity, trade.exited_quantity) == ("CLOSED", D("0.007"), D("0.007"))
    assert trade.net_pnl == desk.ledger.net_pnl
    desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_late_fill_beside_an_open_trade_is_reported_and_booked_to_neither(desk: Desk, side: str) -> None:
    request_id = closed_short_of_a_fill(desk, side)
    following = desk.trade_opened(side=side)
    quantity = desk.trade(following).quantity

    errors = look_over(desk)

    # It should say so once, and leave both trades as they are: whose the position is, no fill tells.
    assert [(line["event"], line["trade_id"]) for line in errors] == [
        ("late_entry_fill_beside_an_open_trade", str(request_id))
    ]
    late, beside = desk.trade(request_id), desk.trade(following)
    assert (late.state, late.quantity, late.corrections) == ("CLOSED", D("0.004"), 0)
    assert (beside.state, beside.quantity, beside.exited_quantity) == ("OPEN", quantity, 0)
    assert Fill.objects.filter(trade_id=following).count() == 1
    # The open one keeps its exact stop, and closes for its own quantity.
    [stop] = desk.ledger.live_stops
    assert D(stop["quantity"]) == quantity
    desk.person.new_order(symbol="BTCUSDT", side=EXITS[side], type="MARKET", quantity=str(quantity), reduceOnly="true")
    desk.cycle()
    assert (desk.trade(following).state, desk.trade(following).exited_quantity) == ("CLOSED", quantity)
    assert desk.ledger.live_stops == []
