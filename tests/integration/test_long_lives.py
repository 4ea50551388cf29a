"""Positions and orders that live for days and weeks: what the exchange answers in windows, pages, or not at all."""

import logging
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.api.health import measure, report_of
from execution.domain.outcomes import IncomeKind
from execution.domain.trading import OrderService
from execution.models import AuditEvent, Fill, Income, Order, PositionSlot
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
D = Decimal
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
HEDGE = "hedge"
PLACES = {"buy": ("49000", "51000"), "sell": ("51000", "49000")}


def let_pass(desk: Desk, time: timedelta) -> None:
    """Let time pass at the exchange and here."""
    desk.paper.control("POST", "clock", {"advance_ms": int(time / timedelta(milliseconds=1))})
    desk.clock.let_pass(time.total_seconds())


def cycles(desk: Desk, count: int = 1, *, every: timedelta = timedelta(seconds=10)) -> None:
    for _ in range(count):
        let_pass(desk, every)
        desk.cycle()


def opened(desk: Desk, side: str = "buy", **fields: Any) -> UUID:
    """Open and protect 0.010 BTC with a stop and a target two percent away."""
    stop, target = PLACES[side]
    request_id = desk.signal(side=side, **({"stop_loss": stop, "take_profit": target} | fields))
    assert desk.run(request_id) == "RECORDED", desk.request(request_id).reason
    return request_id


def set_mode(desk: Desk, mode: str) -> None:
    if mode == HEDGE:
        desk.person.change_position_mode("true")


def by_hand(desk: Desk, side: str, quantity: str, *, closes: bool = True) -> None:
    desk.person.new_order(
        symbol="BTCUSDT", side=side, type="MARKET", quantity=quantity, **({"reduceOnly": "true"} if closes else {})
    )


def is_free(desk: Desk) -> None:
    """No order of ours is unfinished, no symbol is claimed, nobody is alarmed, and the next entry goes through."""
    assert (
        Order.objects.exclude(
            state__in=["FILLED", "CANCELED", "EXPIRED", "REJECTED", "NOT_ACCEPTED", "WRITTEN_OFF"]
        ).count()
        == 0
    )
    assert PositionSlot.objects.count() == 0
    assert report_of(measure())["components"]["orders"]["error"] is None
    desk.check()
    desk.clock.let_pass(3600)
    following = desk.signal(quantity="0.012")
    assert desk.run(following) == "RECORDED", desk.request(following).reason


# Every list of the past, at every age


@pytest.mark.parametrize("days", [2, 4, 8, 40])
@pytest.mark.parametrize("many", [0, 1001])
def test_every_history_read_reaches_from_its_start_to_now(desk: Desk, days: int, many: int) -> None:
    since = desk.exchange.now()
    first = person_trades(desk, "web_first")
    desk.person.new_order(
        symbol="BTCUSDT",
        side="BUY",
        type="LIMIT",
        price="40000",
        quantity="1.2",
        timeInForce="GTC",
        newClientOrderId="web_parts",
    )
    # At different moments: of rows of one millisecond no page can begin in the middle.
    for _ in range(many // 91):
        desk.paper.control("POST", "orders/fill", {"order": "web_parts", "quantity": "0.001", "times": 91})
        desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0001", "times": 91})
    conditional = desk.person.sign_request("POST", ALGO_ORDER, {
        "algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "triggerPrice": "30000",
        "quantity": "0.001", "clientAlgoId": "es1-old", "reduceOnly": "true",
    })  # fmt: skip
    # It waits for as long as it takes, as nothing that has ended unfilled is kept for longer than three days.
    assert conditional["algoStatus"] == "NEW"
    let_pass(desk, days * DAY)
    last = person_trades(desk, "web_last")
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0001"})

    fills = desk.exchange.fills_since("BTCUSDT", since)
    income = desk.exchange.income_since(IncomeKind.FUNDING, since, symbol="BTCUSDT")
    mine = desk.exchange.fills_of_order("BTCUSDT", first, since=since)

    # It should give every row of the ledger once, oldest first
    assert [fill.trade_id for fill in fills] == sorted(row["id"] for row in desk.ledger.fills)
    assert (fills[0].order_id, fills[-1].order_id, len(fills)) == (first, last, 2 + many)
    assert sum((line.amount for line in income), D(0)) == D(desk.ledger.summary["funding"])
    assert len({line.transaction_id for line in income}) == len(income) >= many + 1 + days * 3 - 1
    assert [fill.order_id for fill in mine] == [first]
    for service, name in (
        (OrderService.STANDARD, "web_first"),
        (OrderService.STANDARD, "web_last"),
        (OrderService.ALGO, "es1-old"),
    ):
        found = desk.exchange.find_in_history("BTCUSDT", name, service, since=since)
        assert found is not None, name


def person_trades(desk: Desk, name: str) -> str:
    row = desk.person.new_order(
        symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001", newClientOrderId=name, newOrderRespType="RESULT"
    )
    return str(row["orderId"])


def test_a_young_trade_costs_one_call_of_each_kind(desk: Desk) -> None:
    request_id = opened(desk)
    desk.paper.clear_ledger()
    desk.paper.set_price("BTCUSDT", "51000")
    cycles(desk)

    assert desk.trade(request_id).state == "CLOSED"
    calls = {path: len(desk.ledger.sent("GET", f"/fapi/v1/{path}")) for path in ("userTrades", "income", "fundingRate")}
    assert calls == {"userTrades": 1, "income": 1, "fundingRate": 0}


# Positions


@pytest.mark.parametrize("days", [2, 4, 8, 40])
@pytest.mark.parametrize("ends", ["TP", "SL", "MANUAL"])
@pytest.mark.parametrize(("side", "mode"), [("buy", "one-way"), ("sell", "one-way"), ("sell", HEDGE)])
def test_a_position_of_any_age_closes_and_gives_its_symbol_back(
    desk: Desk, days: int, ends: str, side: str, mode: str
) -> None:
    set_mode(desk, mode)
    request_id = opened(desk, side)
    let_pass(desk, days * DAY)
    stop, target = PLACES[side]
    if ends == "MANUAL":
        desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0", **side_of(side, mode)})
    else:
        desk.paper.set_price("BTCUSDT", target if ends == "TP" else stop)
    cycles(desk, 2)

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason) == ("CLOSED", ends)
    assert (trade.net_pnl, ledger.positions) == (ledger.net_pnl, {})
    assert trade.funding == D(ledger.summary["funding"]) != 0
    if mode != HEDGE:
        is_free(desk)


def side_of(side: str, mode: str) -> dict[str, str]:
    return {"position_side": "LONG" if side == "buy" else "SHORT"} if mode == HEDGE else {}


def test_an_entry_that_fills_over_two_weeks_grows_its_trade(desk: Desk) -> None:
    request_id = desk.signal(
        price="49500", stop_loss="49000", take_profit="51000", expires_in_seconds=30 * int(DAY.total_seconds())
    )
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    for age, total in ((4 * DAY, "0.004"), (10 * DAY, "0.007"), (2 * DAY, "0.010")):
        let_pass(desk, age)
        desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.003"})
        if total == "0.004":
            desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.001"})
        cycles(desk, 2)
        assert desk.trade(request_id).quantity == D(total)

    desk.paper.set_price("BTCUSDT", "51000")
    cycles(desk, 2)
    assert desk.trade(request_id).close_reason == "TP"
    is_free(desk)


def test_an_order_behind_a_fill_that_the_exchange_has_forgotten_is_somebody_elses(desk: Desk) -> None:
    request_id = opened(desk)
    by_hand(desk, "SELL", "0.010")
    desk.paper.add_fault(path=ORDER, method="GET", action="refuse", status=400, code=-2013, count=None)
    cycles(desk)
    # It should wait for an order that may only be shown late, and not for ever
    assert desk.trade(request_id).state == "OPEN"
    cycles(desk, every=timedelta(minutes=11))

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "MANUAL", desk.ledger.net_pnl)
    assert Fill.objects.get(trade=trade, entry=False).order is None


# Orders that ended unfilled


@pytest.mark.parametrize("lost", ["nothing", "the answer", "the request's look-up"])
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("ends", ["TP", "SL"])
def test_legs_that_are_four_days_old_end_with_their_trade(desk: Desk, lost: str, side: str, ends: str) -> None:
    request_id = opened(desk, side, trailing={"callback_percent": "5"})
    let_pass(desk, 4 * DAY)
    stop, target = PLACES[side]
    if lost == "the answer":
        desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="drop_after", count=None)
    elif lost == "the request's look-up":
        desk.paper.add_fault(path=ALGO_ORDER, method="GET", action="refuse", status=503, code=-1000, count=6)
    desk.paper.set_price("BTCUSDT", target if ends == "TP" else stop)
    cycles(desk, 2)
    desk.paper.clear_faults()
    cycles(desk, 3)

    assert desk.trade(request_id).close_reason == ends
    reasons = set(AuditEvent.objects.filter(to_state="CANCELED").values_list("reason_code", flat=True))
    assert reasons == ({"ENDED_UNSEEN"} if lost == "the answer" else {""})
    is_free(desk)


@pytest.mark.parametrize("purpose", ["STOP", "TARGET", "TRAILING"])
@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_leg_that_a_person_cancelled_unseen_ends_while_its_position_goes_on(
    desk: Desk, purpose: str, mode: str, side: str
) -> None:
    set_mode(desk, mode)
    request_id = opened(desk, side, trailing={"callback_percent": "5"})
    old = desk.order(request_id, purpose)
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": old.client_order_id})
    let_pass(desk, 4 * DAY)
    cycles(desk, 3)

    # It should be replaced at once, and be over when no blindness of the service explains its absence any more
    old.refresh_from_db()
    assert old.state == "ACCEPTED"
    assert len(desk.ledger.live()) == 3
    cycles(desk, 30, every=timedelta(minutes=5))
    old.refresh_from_db()
    assert (old.state, old.alarmed_at) == ("CANCELED", None)
    assert old.last_evidence.startswith("ENDED_UNSEEN: ")
    assert "position and fills agree without it" in old.last_evidence
    assert len(desk.ledger.live()) == 3


def test_three_days_are_not_over_before_they_are_over(desk: Desk) -> None:
    request_id = opened(desk)
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    hide(desk)
    let_pass(desk, 3 * DAY - HOUR)
    cycles(desk, 8, every=timedelta(minutes=5))
    stop.refresh_from_db()
    assert stop.state == "ACCEPTED"
    desk.paper.clear_faults()


def test_our_clock_alone_ends_nothing(desk: Desk) -> None:
    request_id = opened(desk)
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    hide(desk)
    desk.clock.let_pass(10 * 86400)
    for _ in range(4):
        desk.clock.let_pass(7200)
        desk.cycle()
    stop.refresh_from_db()
    assert stop.state == "ACCEPTED"
    desk.paper.clear_faults()


def hide(desk: Desk) -> None:
    """Let the Algo Service forget everything."""
    for path in (ALGO_ORDER, "/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders"):
        desk.paper.add_fault(path=path, method="GET", action="hide", count=None)


def test_a_leg_of_a_closed_trade_that_nobody_shows_is_said_and_bounded(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Its cancel's answer was lost, and the exchange forgets it long before the three days are over."""
    request_id = opened(desk)
    hide(desk)
    for path in (ALGO_ORDER,):
        desk.paper.add_fault(path=path, method="DELETE", action="drop_after", count=None)
    desk.paper.set_price("BTCUSDT", "51000")
    cycles(desk, 4)
    assert desk.trade(request_id).state == "CLOSED"
    stop = desk.order(request_id, "STOP")
    assert (stop.state, stop.alarmed_at is not None) == ("ACCEPTED", True)
    assert "order_unsettled" in caplog.text
    # Its symbol is free again after the policy's bound, and the order stays watched.
    assert PositionSlot.objects.count() == 0

    let_pass(desk, 3 * DAY + HOUR)
    cycles(desk, 2)
    stop.refresh_from_db()
    assert stop.last_evidence.startswith("ENDED_UNSEEN: ")
    desk.paper.clear_faults()
    is_free(desk)


def test_a_leftover_that_no_cancel_ends_is_said(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    request_id = opened(desk)
    gone = {"code": -2011, "msg": "Unknown order sent."}
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="reply", status=400, body=gone, count=None)
    desk.paper.set_price("BTCUSDT", "51000")
    cycles(desk, 2)
    assert (desk.order(request_id, "STOP").alarmed_at, PositionSlot.objects.count()) == (None, 1)
    cycles(desk, 1, every=timedelta(minutes=2))

    assert desk.order(request_id, "STOP").alarmed_at is not None
    assert [r for r in caplog.records if r.levelno == logging.ERROR and "order_unsettled" in str(r.msg)]
    desk.paper.clear_faults()
    # The pause after cancels without effect has grown meanwhile.
    cycles(desk, 2, every=timedelta(minutes=2))
    is_free(desk)


@pytest.mark.parametrize("filled", ["0", "0.004"])
@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_limit_entry_that_was_cancelled_while_we_were_down_ends(
    desk: Desk, filled: str, mode: str, side: str
) -> None:
    set_mode(desk, mode)
    stop, target = PLACES[side]
    price = "49900" if side == "buy" else "50100"
    request_id = desk.signal(side=side, price=price, stop_loss=stop, take_profit=target)
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    if D(filled):
        desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": filled})
    desk.person.cancel_order("BTCUSDT", origClientOrderId=entry.client_order_id)
    let_pass(desk, 4 * DAY)
    cycles(desk, 3)

    entry.refresh_from_db()
    assert (entry.state, entry.executed_quantity) == ("CANCELED", D(filled))
    if D(filled):
        # Filled orders are kept: it should be found, covered and booked like any other
        assert (desk.request(request_id).state, desk.trade(request_id).quantity) == ("RECORDED", D(filled))
        assert len(desk.ledger.live_stops) == 1
        return
    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("CANCELED", "ENTRY_ENDED_WITHOUT_FILL")
    assert entry.last_evidence.startswith("ENDED_UNSEEN: ")
    if mode != HEDGE:
        is_free(desk)


def test_a_position_that_is_not_explained_keeps_an_entry_from_ending(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """The exchange names nobody behind a fill that looks like the entry's: then absence proves nothing."""
    request_id = desk.signal(price="49900", stop_loss="49000", take_profit="51000")
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    desk.person.cancel_order("BTCUSDT", origClientOrderId=entry.client_order_id)
    by_hand(desk, "BUY", "0.010", closes=False)
    desk.paper.add_fault(path=ORDER, method="GET", action="refuse", status=400, code=-2013, count=None)
    let_pass(desk, 4 * DAY)
    cycles(desk, 4)

    entry.refresh_from_db()
    assert (entry.state, entry.alarmed_at is not None) == ("ACCEPTED", True)
    assert "past the exchange's retention, but unattributed fills=0.01" in entry.last_evidence
    assert "order_unsettled" in caplog.text

    desk.paper.clear_faults()
    cycles(desk, 3, every=timedelta(minutes=6))
    entry.refresh_from_db()
    assert entry.state == "CANCELED"


# Funding


@pytest.mark.parametrize("first", ["long", "short"])
@pytest.mark.parametrize("rate", ["0.001", "-0.001"])
def test_funding_of_both_sides_goes_to_each_by_side_and_size(desk: Desk, first: str, rate: str) -> None:
    set_mode(desk, HEDGE)
    ids = {"long": opened(desk, stop_loss="46000", take_profit="54000"),
           "short": opened(desk, "sell", quantity="0.004", stop_loss="54000", take_profit="46000")}  # fmt: skip
    for _ in range(3):
        desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": rate})
    for name in (first, *(ids.keys() - {first})):
        amount = {"symbol": "BTCUSDT", "amount": "0", "position_side": name.upper()}
        desk.paper.control("POST", "position", amount)
        cycles(desk)
        # Paid when the rate is positive: 0.010 x 50000 x 0.001 = 0.5, three times; 0.004 x 50000 x 0.001 = 0.2.
        sign = D(rate) / D("0.001")
        assert desk.trade(ids[name]).funding == {"long": D("-1.5"), "short": D("0.6")}[name] * sign

    let_pass(desk, timedelta(minutes=2))
    desk.cycle()
    assert Income.objects.count() == 6
    assert sum((desk.trade(each).funding for each in ids.values()), D(0)) == D(desk.ledger.summary["funding"])
    assert {desk.trade(each).corrections for each in ids.values()} == {0}
    desk.check()


def test_funding_beside_a_position_of_somebody_else_is_shared_by_size(desk: Desk) -> None:
    request_id = opened(desk)
    by_hand(desk, "BUY", "0.005", closes=False)
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
    by_hand(desk, "SELL", "0.015")
    cycles(desk)

    # 0.015 x 50000 x 0.001 = 0.75 was paid, of which 0.010 / 0.015 is ours.
    assert D(desk.ledger.summary["funding"]) == D("-0.75")
    assert desk.trade(request_id).funding == D("-0.5")


def test_two_trades_that_follow_each_other_have_each_its_own_funding(desk: Desk) -> None:
    found = []
    for quantity in ("0.010", "0.004"):
        request_id = opened(desk, quantity=quantity)
        desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
        by_hand(desk, "SELL", quantity)
        cycles(desk)
        found.append(desk.trade(request_id).funding)
        # What is paid while nothing of ours is there is nobody's.
        by_hand(desk, "BUY", "0.002", closes=False)
        desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
        by_hand(desk, "SELL", "0.002")
        desk.clock.let_pass(600)
        desk.cycle()

    assert found == [D("-0.5"), D("-0.2")]
    assert D(desk.ledger.summary["funding"]) == D("-0.9")
    assert Income.objects.count() == 2
