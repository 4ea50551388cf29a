"""Ends of a trade that nobody of ours has ordered, and money that moves without an order: booked as it happened."""

from decimal import Decimal

import pytest
from django.conf import LazySettings

from execution.models import AuditEvent, PolicyValue, PositionSlot
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.mark.parametrize("kind", ["ADL", "LIQUIDATION"])
def test_position_closed_by_the_exchange_closes_the_trade_with_that_reason(desk: Desk, kind: str) -> None:
    request_id = desk.trade_opened()
    desk.paper.control("POST", "close", {"symbol": "BTCUSDT", "kind": kind})

    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason) == ("CLOSED", kind)
    assert trade.gross_pnl == D(ledger.summary["realized_pnl"])
    assert trade.entry_fees + trade.exit_fees == D(ledger.summary["commission"])
    # It should neither enter nor protect again, and cancel what waits.
    assert (ledger.live(), ledger.positions, len(ledger.entries_sent)) == ([], {}, 1)
    assert not PositionSlot.objects.exists()
    assert desk.event(request_id, "trade.closed")["reason"] == kind
    desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_funding_is_part_of_the_result(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(side=side, position_size_usd=455.0)
    for _ in range(2):
        desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})

    exit_side = "SELL" if side == "buy" else "BUY"
    desk.person.new_order(symbol="BTCUSDT", side=exit_side, type="MARKET", quantity="0.009", reduceOnly="true")
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    # The long side pays a positive rate, the short side receives it: 2 x 0.1 % of 0.009 x 50000.
    assert trade.funding == D(ledger.summary["funding"]) == (D("-0.9") if side == "buy" else D("0.9"))
    assert trade.net_pnl == D(ledger.summary["wallet"]) - D(ledger.summary["deposits"])
    assert desk.event(request_id, "trade.closed")["funding_usd"] == float(trade.funding)
    desk.check()


def test_market_entry_in_a_thin_market_is_covered_for_what_it_got(desk: Desk, settings: LazySettings) -> None:
    """The book thins out after the guard has read it: the exchange fills a part, the rest of a MARKET order expires."""
    settings.POLICY_CEILINGS = {}
    PolicyValue.objects.create(
        key="risk.max_order_notional_usd", value=D(200_000), source="test", version=1, changed_at=desk.clock()
    )
    request_id = desk.decide(position_size_usd=150_000.0, leverage=20)
    assert desk.run(request_id, until="guard_safety") == "APPROVED"
    desk.paper.control("POST", "liquidity", {"symbol": "BTCUSDT", "levels": 1})
    [[_, available]] = desk.person.depth("BTCUSDT", limit=5)["asks"]

    assert desk.run(request_id) == "RECORDED"

    entry, trade = desk.order(request_id, "ENTRY"), desk.trade(request_id)
    assert (entry.state, entry.quantity) == ("EXPIRED", D("2.999"))
    assert entry.executed_quantity == trade.quantity == D(available) < D("2.999")
    assert [D(stop["quantity"]) for stop in desk.ledger.live_stops] == [D(available)]
    assert desk.event(request_id, "trade.opened")["quantity"] == float(available)
    desk.check()


def test_exit_in_parts_is_one_trade_with_the_price_of_all_its_fills(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    for price, quantity in (("50100", "0.002"), ("50200", "0.003"), ("50300", "0.004")):
        desk.paper.set_price("BTCUSDT", price)
        desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity=quantity, reduceOnly="true")
        desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    exits = ledger.fills[1:]
    average = sum(D(fill["price"]) * D(fill["qty"]) for fill in exits) / D("0.009")
    assert trade.exit_price == average.quantize(D("1e-18"))
    # A part that explains itself by its fills is no alarm.
    assert trade.flat_readings == 0
    assert not AuditEvent.objects.filter(to_state="UNEXPLAINED").exists()
    assert (trade.fills.count(), trade.net_pnl) == (4, ledger.net_pnl)
    assert desk.events(request_id).count("trade.closed") == 1
    desk.check()


def test_blind_lists_of_orders_do_not_cost_a_position_its_cover(desk: Desk) -> None:
    """The Algo Service forgets for a minute what it has: in the end there is one stop, and at no time none."""
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    blind = [
        desk.paper.add_fault(path=path, method="GET", action="hide", count=None)
        for path in ("/fapi/v1/openAlgoOrders", "/fapi/v1/algoOrder")
    ]

    for _ in range(4):
        desk.clock.let_pass(10)
        desk.cycle()
        assert desk.ledger.live_stops

    for fault in blind:
        desk.paper.control("DELETE", f"faults?id={fault['id']}")
    for _ in range(3):
        desk.clock.let_pass(10)
        desk.cycle()
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    assert len(desk.ledger.entries_sent) == 1
    desk.check()

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()
    assert desk.trade(request_id).close_reason == "SL"
    desk.check()


@pytest.mark.parametrize("rest", ["CANCELED", "EXPIRED"])
def test_market_entry_that_ends_empty_ends_its_request_and_frees_the_symbol(desk: Desk, rest: str) -> None:
    desk.paper.control("POST", "portions", {"fraction": 0.4, "rest": rest})
    # Two fifths of the smallest quantity are nothing.
    request_id = desk.decide(position_size_usd=55.0)

    assert desk.run(request_id) == "CANCELED"

    # It should tell first that it was placed, then that it came to nothing, and let the next decision in.
    assert desk.events(request_id) == ["order.placed", "order.failed"]
    assert not PositionSlot.objects.exists()
    assert desk.ledger.positions == {}
    desk.check()
