"""A trade's books against the exchange's wallet: fees in BNB, liquidations, excursions, and what is shown late."""

from decimal import Decimal

import pytest

from execution.models import Fill, Income, OutboxEvent, Trade, Transition
from tests.support.desk import BTC_ASK, Desk

pytestmark = pytest.mark.django_db
D = Decimal


def pay_in_bnb(desk: Desk, amount: str = "1") -> None:
    desk.paper.control("POST", "transfer", {"asset": "BNB", "amount": amount})
    desk.person.sign_request("POST", "/fapi/v1/feeBurn", {"feeBurn": "true"})


def close_by_hand(desk: Desk, quantity: str = "0.009") -> None:
    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity=quantity, reduceOnly="true")


def test_fees_in_bnb_are_valued_at_the_price_of_their_minute(desk: Desk) -> None:
    pay_in_bnb(desk)
    request_id = desk.trade_opened()
    close_by_hand(desk)
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    fills = list(Fill.objects.filter(trade=trade))
    assert {fill.commission_asset for fill in fills} == {"BNB"}
    # It should value each fee at the opening price of its minute.
    opened = {fill.pk: D(candle(desk, fill.filled_at)) for fill in fills}
    expected = sum((fill.commission * opened[fill.pk] for fill in fills), D(0))
    assert abs(trade.entry_fees + trade.exit_fees - expected) < D("1e-11")
    assert trade.entry_fees + trade.exit_fees > 0
    assert trade.net_pnl == trade.gross_pnl - trade.entry_fees - trade.exit_fees
    assert trade.unvalued_fees == {}
    # It should be the change of both wallets: USDT by the result, BNB by the fees.
    assert trade.gross_pnl == D(ledger.summary["wallet"]) - D(ledger.summary["deposits"])
    assert sum((fill.commission for fill in fills), D(0)) == 1 - D(ledger.summary["coins"]["BNB"])


def candle(desk: Desk, at: object) -> str:
    minute = int(at.timestamp()) // 60 * 60_000  # type: ignore[attr-defined]
    [[_, opened, *_]] = desk.person.klines("BNBUSDT", "1m", startTime=minute, endTime=minute + 59_999, limit=1)
    return str(opened)


def test_fees_that_nobody_can_value_are_kept_apart_and_said(desk: Desk) -> None:
    pay_in_bnb(desk)
    desk.paper.add_fault(path="/fapi/v1/klines", action="reply", body=[], status=200, count=9)
    request_id = desk.trade_opened()
    close_by_hand(desk)
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.entry_fees, trade.exit_fees) == ("CLOSED", 0, 0)
    assert {asset: D(fee) for asset, fee in trade.unvalued_fees.items()} == {
        "BNB": 1 - D(ledger.summary["coins"]["BNB"])
    }
    assert desk.event(request_id, "trade.closed")["unvalued_fees"] == trade.unvalued_fees


def test_silence_about_a_price_postpones_the_books(desk: Desk) -> None:
    pay_in_bnb(desk)
    fault = desk.paper.add_fault(path="/fapi/v1/klines", action="refuse", status=503, code=-1008, count=9)
    request_id = desk.decide()
    desk.run(request_id)

    # It should be covered, and booked when the exchange answers.
    assert (desk.request(request_id).state, len(desk.ledger.live_stops)) == ("PROTECTED", 1)
    assert fault
    desk.paper.clear_faults()
    desk.clock.let_pass(10)
    desk.cycle()
    assert desk.trade(request_id).unvalued_fees == {}
    desk.check()


def test_a_liquidation_costs_what_the_wallet_lost(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.paper.control("POST", "close", {"symbol": "BTCUSDT", "kind": "LIQUIDATION"})

    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    # 1.25 % of 0.009 x 50000 goes to the insurance fund.
    assert (trade.close_reason, trade.other_income) == ("LIQUIDATION", D("-5.625"))
    assert trade.net_pnl == D(ledger.summary["wallet"]) - D(ledger.summary["deposits"])
    assert desk.event(request_id, "trade.closed")["other_income_usd"] == -5.625
    desk.check()


def test_the_excursion_is_over_the_marks_of_the_cycles_and_the_fills(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=52000.0)
    for price in ("49500", "51500", "50500"):
        desk.paper.set_price("BTCUSDT", price)
        desk.cycle()
    close_by_hand(desk)
    desk.cycle()

    trade = desk.trade(request_id)
    moved, closed = trade.excursion, desk.event(request_id, "trade.closed")
    assert (trade.lowest_price, trade.highest_price) == (49500, 51500)
    assert moved is not None
    assert (moved.adverse, moved.favourable) == ((BTC_ASK - 49500) * D("0.009"), (51500 - BTC_ASK) * D("0.009"))
    assert closed["max_adverse_excursion_usd"] == float(moved.adverse)
    assert closed["max_favourable_excursion_pct"] == float(moved.favourable_percent)


def test_a_cycle_that_sees_only_what_was_seen_changes_nothing_of_the_trade(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.cycle()
    before = Trade.objects.filter(pk=request_id).values().get()

    desk.cycle()

    assert Trade.objects.filter(pk=request_id).values().get() == before


# What is shown late


def test_funding_that_is_shown_late_corrects_the_books_once(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
    hidden = desk.paper.add_fault(path="/fapi/v1/income", action="reply", body=[], status=200)
    close_by_hand(desk)
    desk.cycle()
    wrong = desk.trade(request_id)
    assert (wrong.state, wrong.funding, hidden["path"]) == ("CLOSED", 0, "/fapi/v1/income")

    desk.paper.clear_faults()
    # It should not ask at once, and not twice.
    desk.cycle()
    assert desk.trade(request_id).checked_at is None
    desk.clock.let_pass(61)
    desk.cycle()
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.corrections, trade.funding) == (1, D(ledger.summary["funding"]))
    assert trade.net_pnl == D(ledger.summary["wallet"]) - D(ledger.summary["deposits"])
    assert Income.objects.count() == 1
    closed = OutboxEvent.objects.filter(event_type="trade.closed").order_by("sequence")
    assert [event.payload["correction"] for event in closed] == [False, True]
    assert [event.payload["funding_usd"] for event in closed] == [0.0, float(trade.funding)]
    assert Transition.objects.filter(entity="trade", to_state="CORRECTED").count() == 1
    desk.check()


def test_books_that_are_right_are_looked_over_once_and_say_nothing(desk: Desk) -> None:
    request_id = desk.trade_opened()
    close_by_hand(desk)
    desk.cycle()
    desk.clock.let_pass(61)
    desk.cycle()
    asked = len(desk.ledger.sent("GET", "/fapi/v1/income"))
    desk.cycle()

    assert desk.trade(request_id).checked_at is not None
    assert len(desk.ledger.sent("GET", "/fapi/v1/income")) == asked
    assert desk.events(request_id).count("trade.closed") == 1


def test_an_entry_fill_that_is_shown_after_the_close_corrects_the_books(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.004"})
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.trade(request_id).quantity == D("0.004")
    # The rest fills and a person closes all of it, while the exchange does not show that entry.
    desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.006"})
    close_by_hand(desk, "0.010")
    desk.paper.add_fault(path="/fapi/v1/order", method="GET", action="hide", order=entry.client_order_id, count=99)
    desk.paper.add_fault(path="/fapi/v1/openOrders", action="hide", order=entry.client_order_id, count=99)
    desk.paper.add_fault(path="/fapi/v1/allOrders", action="hide", order=entry.client_order_id, count=99)
    desk.paper.add_fault(path="/fapi/v1/userTrades", action="hide", order=entry.client_order_id, count=99)
    desk.clock.let_pass(3)
    desk.cycle()
    wrong = desk.trade(request_id)
    assert (wrong.state, wrong.quantity) == ("CLOSED", D("0.004"))

    desk.paper.clear_faults()
    for _ in range(3):
        desk.clock.let_pass(10)
        desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.quantity, trade.exited_quantity) == ("CLOSED", D("0.010"), D("0.010"))
    assert trade.net_pnl == ledger.net_pnl
    assert trade.corrections == 1
    closed = OutboxEvent.objects.filter(event_type="trade.closed").order_by("sequence")
    assert [event.payload["correction"] for event in closed] == [False, True]
    assert [event.payload["quantity"] for event in closed] == [0.004, 0.01]
    desk.check()
