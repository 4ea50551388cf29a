"""What has no stop is told from positions: without a trade row, beside it, and by every door that tells it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.test import Client

from execution.models import Order, OutboxEvent, Trade
from execution.protection.coverage import coverage, uncovered_positions
from execution.queries.health_rows import health_rows
from execution.queries.metrics import book_counts
from execution.queries.positions import held_positions
from tests.support.desk import STACK, Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
D = Decimal
SYMBOL = "BTCUSDT"
SENTENCE = "BTCUSDT {} POSITION_UNPROTECTED: uncovered={} of={}"


def refuse_all_exits(desk: Desk) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", count=None, action="refuse", code=-4120)
    desk.paper.add_fault(path=ORDER, method="POST", count=None, action="refuse", code=-4005, match={"type": "MARKET"})


def told(desk: Desk) -> list[str]:
    return [each.sentence for each in health_rows(desk.clock(), account=STACK.account).uncovered]


@pytest.mark.parametrize(("side", "direction"), [("buy", "LONG"), ("sell", "SHORT")])
def test_position_without_stop_and_without_trade_row_is_told_everywhere(
    desk: Desk, client: Client, side: str, direction: str
) -> None:
    desk.max_unprotected = timedelta(0)
    desk.close_what_has_no_stop()
    request_id = desk.signal(
        side=side, price="50000", quantity="0.150", stop_loss="49000" if side == "buy" else "51000"
    )
    assert desk.run(request_id) == "ACCEPTED"
    refuse_all_exits(desk)
    entry = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": "0.150"})

    for _ in range(2):
        desk.clock.let_pass(3)
        desk.cycle()

    assert not Trade.objects.exists()
    assert abs(desk.ledger.positions[SYMBOL]) == D("0.150")
    # Health, figures and positions agree.
    assert told(desk) == [SENTENCE.format(direction, "0.15", "0.15")]
    counts = book_counts()
    assert (counts.unprotected, list(counts.uncovered_since)) == (1, [SYMBOL])
    [position] = held_positions()
    assert (position.position.quantity, position.cover.has_tp_sl) == (D("0.150"), False)
    cache.clear()
    health = client.get("/health").json()
    assert any(reason.startswith("positions: BTCUSDT") for reason in health["reasons"])
    updated = OutboxEvent.objects.filter(event_type="position.updated").latest("id")
    assert updated.payload["has_tp_sl"] is False

    desk.paper.clear_faults()
    desk.clock.let_pass(3)
    desk.cycle()
    desk.cycle()

    # It should be told no more when stops cover it.
    assert (told(desk), book_counts().unprotected) == ([], 0)
    assert Trade.objects.get().state == "OPEN"
    desk.check()


def test_a_part_of_several_stops_that_is_lost_is_told_with_its_size(desk: Desk) -> None:
    desk.trade_opened(position_size_usd=500.0, stop_loss=49000.0, take_profit=52000.0)
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, "market_max_quantity": "0.004"})
    for _ in range(3):
        desk.clock.let_pass(3)
        desk.cycle()
    assert [D(row["quantity"]) for row in desk.ledger.live_stops] == [D("0.004"), D("0.004"), D("0.001")]
    assert [each.uncovered for each in coverage()] == [0]
    lost = desk.ledger.live_stops[0]

    # As the user-data stream tells it, before anybody has repaired it.
    Order.objects.filter(client_order_id=lost["clientAlgoId"]).update(state="CANCELED")

    assert [each.uncovered for each in uncovered_positions()] == [D(lost["quantity"])]


def test_what_a_person_holds_is_not_ours_to_answer_for(desk: Desk) -> None:
    desk.person.new_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010")
    desk.cycle()

    assert (told(desk), book_counts().unprotected) == ([], 0)
    assert held_positions()[0].cover.has_tp_sl is False


def test_what_others_add_to_ours_is_a_part_without_stop(desk: Desk) -> None:
    desk.trade_opened(position_size_usd=500.0)
    desk.person.new_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010")
    desk.clock.let_pass(3)
    desk.cycle()

    assert [(each.quantity, each.covered) for each in coverage()] == [(D("0.019"), D("0.009"))]


# Filters, told to every process within a cycle


def test_other_processes_know_changed_filters_after_one_cycle(desk: Desk) -> None:
    other = desk.another()
    before = other.exchange.rules(SYMBOL)
    assert before is not None
    desk.cycle()
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, "tick": "5", "market_max_quantity": "0.004"})
    assert other.exchange.rules(SYMBOL) == before

    desk.cycle()

    for known in (other.exchange.rules(SYMBOL), other.exchange.known_rules(SYMBOL)):
        assert known is not None
        assert (known.tick_size, known.market_max_quantity) == (D(5), D("0.004"))
    # It should be read once for that, and not once more.
    desk.paper.clear_ledger()
    other.exchange.rules(SYMBOL)
    assert desk.ledger.requests == []


@pytest.mark.parametrize("terms", [{"tick": "7"}, {"step": "0.004"}, {"market_max_quantity": "0.004"}])
def test_filters_that_change_right_after_the_entry_never_dump_it(desk: Desk, terms: dict[str, str]) -> None:
    request_id = desk.signal(stop_loss="49000.3", take_profit="51000.3")
    desk.run(request_id, until="place_order")
    # Our process has read the filters for the guard, and believes them.
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, **terms})

    for step in ("protect_position", "record_trade"):
        assert desk.step(step, request_id)
    desk.cycle()

    assert desk.trade(request_id).state == "OPEN"
    assert uncovered_positions() == []
    changed = [line.details for line in desk.story(request_id) if line.trigger == "filters_changed"]
    assert len(changed) == 1
    desk.check()


def test_a_lost_stop_off_the_new_tick_is_placed_anew_and_nothing_is_closed(desk: Desk) -> None:
    request_id = desk.signal(stop_loss="49000.3", take_profit="51000.3")
    desk.run(request_id)
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, "tick": "5"})
    [stop] = desk.ledger.live_stops
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop["clientAlgoId"]})

    # In this very cycle: nobody has read the new filters yet.
    desk.clock.let_pass(3)
    desk.cycle()

    [stop] = desk.ledger.live_stops
    assert (D(stop["triggerPrice"]), D(stop["quantity"])) == (D(49000), D("0.010"))
    assert desk.trade(request_id).state == "OPEN"
    assert desk.ledger.sent("POST", ORDER)[1:] == []
    desk.check()


def test_a_closing_order_that_filters_refuse_is_split_anew_at_once(desk: Desk) -> None:
    request_id = desk.signal(stop_loss="49000", time_exit_seconds=60)
    desk.run(request_id)
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, "market_max_quantity": "0.004"})
    desk.clock.let_pass(61)
    desk.cycle()
    desk.cycle()

    closes = desk.request(request_id).orders.filter(purpose="CLOSE").order_by("sequence")
    assert [(order.state, order.quantity) for order in closes] == [
        ("REJECTED", D("0.010")),
        ("FILLED", D("0.004")),
        ("FILLED", D("0.004")),
        ("FILLED", D("0.002")),
    ]
    assert desk.trade(request_id).close_reason == "TIME"
    assert desk.events(request_id).count("trade.closed") == 1
    desk.check()
