"""A trade's books against the exchange's wallet: fees in BNB, liquidations, excursions, and what is shown late."""

from decimal import Decimal
from typing import Any

import pytest

from execution.api.health import measure, report_of
from execution.domain.limits import LimitUsage
from execution.domain.trading import PositionSide
from execution.models import AuditEvent, Fill, Income, OutboxEvent, Trade
from execution.risk.limit_usage import usage_for
from execution.risk.policy_store import policy_in_force
from tests.support import builders
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


def hide_prices(desk: Desk, *, index: bool = True) -> None:
    """Let no market price BNB, and the asset index neither."""
    desk.paper.add_fault(path="/fapi/v1/klines", action="reply", body=[], status=200, count=None)
    if index:
        desk.paper.add_fault(path="/fapi/v1/assetIndex", action="reply", body=[], status=200, count=None)


def candle(desk: Desk, at: object) -> str:
    minute = int(at.timestamp()) // 60 * 60_000  # type: ignore[attr-defined]
    [[_, opened, *_]] = desk.person.klines("BNBUSDT", "1m", startTime=minute, endTime=minute + 59_999, limit=1)
    return str(opened)


def test_fees_that_nobody_can_value_are_kept_apart_and_said(desk: Desk) -> None:
    pay_in_bnb(desk)
    hide_prices(desk)
    request_id = desk.trade_opened()
    close_by_hand(desk)
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.entry_fees, trade.exit_fees) == ("CLOSED", 0, 0)
    assert {asset: D(fee) for asset, fee in trade.unvalued_fees.items()} == {
        "BNB": 1 - D(ledger.summary["coins"]["BNB"])
    }
    closed = desk.event(request_id, "trade.closed")
    assert (closed["unvalued_fees"], closed["net_is_complete"]) == (trade.unvalued_fees, False)
    # It should count as worse than it can be: a tenth of a percent of 0.009 bought at 50000.1 and sold at 49999.9.
    assert trade.assumed_cost == D("0.9")
    assert usage(desk).day_result == trade.net_pnl - D("0.9")
    [reason] = [text for text in report_of(measure())["reasons"] if text.startswith("books: ")]
    assert reason == "books: net of 1 trade of the last day is incomplete: no known value of BNB"


def usage(desk: Desk) -> LimitUsage:
    """What the limits would hold against another entry now."""
    request = builders.request(symbol="ETHUSDT", received_at=desk.clock())
    return usage_for(request, PositionSide.BOTH, policy_in_force(), now=desk.clock())


def test_fees_without_a_market_are_valued_by_the_asset_index(desk: Desk) -> None:
    pay_in_bnb(desk)
    hide_prices(desk, index=False)
    request_id = desk.trade_opened()
    close_by_hand(desk)
    desk.cycle()

    trade = desk.trade(request_id)
    index = {row["symbol"]: D(row["index"]) for row in desk.person.query("/fapi/v1/assetIndex")}
    expected = sum((fill.commission for fill in Fill.objects.filter(trade=trade)), D(0)) * index["BNBUSD"]
    assert abs(trade.entry_fees + trade.exit_fees - expected / index["USDTUSD"]) < D("1e-11")
    assert trade.entry_fees + trade.exit_fees > 0
    assert (trade.unvalued_fees, trade.assumed_cost, trade.net_is_complete) == ({}, 0, True)


def test_what_can_be_valued_only_later_corrects_the_books(desk: Desk) -> None:
    pay_in_bnb(desk)
    hide_prices(desk)
    request_id = desk.trade_opened()
    close_by_hand(desk)
    desk.cycle()
    assert not desk.trade(request_id).net_is_complete

    desk.paper.clear_faults()
    desk.clock.let_pass(61)
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.net_is_complete, trade.assumed_cost, trade.corrections) == (True, 0, 1)
    fills = list(Fill.objects.filter(trade=trade))
    expected = sum((fill.commission * D(candle(desk, fill.filled_at)) for fill in fills), D(0))
    assert abs(trade.entry_fees + trade.exit_fees - expected) < D("1e-11")
    assert trade.net_pnl == trade.gross_pnl - trade.entry_fees - trade.exit_fees
    assert [text for text in report_of(measure())["reasons"] if text.startswith("books: ")] == []


def test_all_of_an_account_in_another_asset_is_valued_by_the_index(desk: Desk) -> None:
    """As in credits mode: PnL, fees and funding are in an asset that no market joins to the quote."""
    request_id = desk.trade_opened()
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
    close_by_hand(desk)
    ours = real_rows(desk)
    in_credits(desk, ours)
    desk.paper.add_fault(path="/fapi/v1/assetIndex", action="reply", body=INDEX, status=200, count=None)
    # Another process: ours goes on believing the index that it has just read.
    desk.another().cycle()

    trade = desk.trade(request_id)
    exit_fill = ours["userTrades"][-1]
    # It should be worth half: 1 BNFCR = 0.5 USD, 1 USDT = 1 USD. The entry's fee was paid in USDT before.
    assert trade.gross_pnl == D(exit_fill["realizedPnl"]) / 2
    assert trade.exit_fees == D(exit_fill["commission"]) / 2
    assert trade.funding == D(ours["income"][0]["income"]) / 2
    assert trade.net_is_complete


def test_income_and_pnl_that_nobody_can_value_are_said_and_count_as_the_margin_lost(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
    close_by_hand(desk)
    ours = real_rows(desk)
    in_credits(desk, ours)
    hide_prices(desk)
    # Another process: ours goes on believing the index that it has just read.
    desk.another().cycle()

    trade = desk.trade(request_id)
    exit_fill = ours["userTrades"][-1]
    lost = D(exit_fill["realizedPnl"]) + D(ours["income"][0]["income"])
    assert (trade.gross_pnl, trade.funding) == (0, 0)
    assert {asset: D(amount) for asset, amount in trade.unvalued_income.items()} == {"BNFCR": lost}
    assert {asset: D(fee) for asset, fee in trade.unvalued_fees.items()} == {"BNFCR": D(exit_fill["commission"])}
    assert trade.assumed_cost == D("0.9") + trade.margin_usd
    closed = desk.event(request_id, "trade.closed")
    assert (closed["unvalued_income"], closed["net_is_complete"]) == (trade.unvalued_income, False)
    assert usage(desk).day_result == trade.net_pnl - trade.assumed_cost


INDEX = [{"symbol": "BNFCRUSD", "index": "0.5"}, {"symbol": "USDTUSD", "index": "1"}]


def real_rows(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    """What the exchange has booked, as it tells it."""
    return {
        "userTrades": desk.person.get_account_trades("BTCUSDT"),
        "income": desk.person.get_income_history(symbol="BTCUSDT", incomeType="FUNDING_FEE"),
    }


def in_credits(desk: Desk, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Let the exchange tell the exit and the funding as booked in credits."""
    trades = [*rows["userTrades"][:-1], rows["userTrades"][-1] | {"commissionAsset": "BNFCR", "marginAsset": "BNFCR"}]
    for path, body in (("userTrades", trades), ("income", [row | {"asset": "BNFCR"} for row in rows["income"]])):
        desk.paper.add_fault(path=f"/fapi/v1/{path}", action="reply", body=body, status=200, count=None)
    desk.paper.add_fault(path="/fapi/v1/klines", action="reply", body=[], status=200, count=None)


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
    assert AuditEvent.objects.filter(entity="trade", to_state="CORRECTED").count() == 1
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
