"""An operator's write-off of what the exchange denies: refused for any trace of it, and then without a result."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from execution import wiring
from execution.domain.authorization import Authorization
from execution.domain.ports import ExchangeUnavailableError
from execution.models import (
    AuditEvent,
    ExecutionRequest,
    Fill,
    OperatorAction,
    Order,
    OutboxEvent,
    Position,
    PositionSlot,
    Trade,
)
from execution.queries.trades import TradeStatus, count_trades, trades, with_status
from execution.reconciliation.write_off import WriteOffRefusedError, WrittenOff, write_off
from tests.support.desk import Desk
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
SYMBOL = "BTCUSDT"
D = Decimal
ANNA = Authorization(by="anna", reason="the account was reset")
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
MODES = pytest.mark.parametrize("mode", ["one-way", "hedge"])


def forgets(desk: Desk, mode: str = "one-way") -> None:
    """Let the exchange lose everything it knew of the account, and the monitor find that out."""
    desk.paper.reset()
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    desk.clock.let_pass(61)
    desk.cycle()
    desk.cycle()


def phantom(desk: Desk, side: str = "buy", mode: str = "one-way", **fields: Any) -> UUID:
    """Open a trade that the exchange then knows nothing of."""
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    request_id = desk.trade_opened(SYMBOL, side, **fields)
    forgets(desk, mode)
    return request_id


def written(desk: Desk, request_id: UUID, word: Authorization = ANNA) -> WrittenOff:
    return write_off(request_id, word, exchange=desk.exchange, clock=desk.clock)


def refused(desk: Desk, request_id: UUID) -> str:
    """Return why nothing was written off, and see that nothing has changed."""
    before = books(request_id)
    with pytest.raises(WriteOffRefusedError) as said:
        written(desk, request_id)
    assert books(request_id) == before
    assert not OperatorAction.objects.exists()
    return str(said.value)


def books(request_id: UUID) -> list[Any]:
    return [
        ExecutionRequest.objects.values().get(pk=request_id),
        list(Trade.objects.filter(pk=request_id).values()),
        list(Order.objects.filter(request_id=request_id).order_by("pk").values("pk", "state", "executed_quantity")),
        PositionSlot.objects.filter(request_id=request_id).exists(),
        OutboxEvent.objects.count(),
    ]


def trade_again(desk: Desk, side: str = "buy") -> None:
    """See that the symbol is free: the next decision becomes a protected trade, and the cycle finds nothing odd."""
    # Its leverage was lost with the account: what the monitor has noted of that goes with the trade.
    desk.cycle()
    again = desk.trade_opened(SYMBOL, side)
    desk.cycle()
    assert desk.trade(again).state == "OPEN"
    assert len(desk.ledger.live_stops) == 1


@SIDES
@MODES
def test_a_phantom_is_written_off_without_a_result(desk: Desk, side: str, mode: str) -> None:
    request_id = phantom(desk, side, mode)
    fills = list(Fill.objects.values())

    done = written(desk, request_id)

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, done.repeated) == ("WRITTEN_OFF", "WRITTEN_OFF", False)
    # It should invent neither fill nor price nor result.
    assert list(Fill.objects.values()) == fills
    assert {getattr(trade, name) for name in ("exit_price", "exit_at", "gross_pnl", "net_pnl", "net_pnl_usd")} == {None}
    assert (trade.exited_quantity, trade.net_is_complete) == (0, False)
    # It should leave no order on its way, no claim, and no position in the totals.
    assert set(
        Order.objects.filter(request_id=request_id).exclude(purpose="ENTRY").values_list("state", flat=True)
    ) == {"WRITTEN_OFF"}
    assert not PositionSlot.objects.exists()
    assert not Position.objects.exists()
    assert desk.request(request_id).state == "RECORDED"
    # It should tell everybody, once.
    told = desk.event(request_id, "trade.closed")
    assert (told["close_reason"], told["pnl_usd"], told["exit_price"]) == ("WRITTEN_OFF", None, None)
    assert (told["net_is_complete"], told["duration_sec"]) == (False, None)
    line = AuditEvent.objects.get(entity="trade", entity_id=str(request_id), to_state="WRITTEN_OFF")
    assert (line.from_state, line.details["by"], line.details["reason"]) == ("OPEN", ANNA.by, ANNA.reason)
    action = OperatorAction.objects.get()
    assert (action.verb, action.subject, action.by, action.reason) == ("WRITE_OFF", request_id, *("anna", ANNA.reason))
    assert f"all positions: {SYMBOL} {trade.position_side} is flat" in action.evidence["answers"]
    assert action.before["trade"].startswith("OPEN, exited 0 of")
    trade_again(desk, side)


def test_it_is_in_no_total_and_has_a_status_of_its_own(desk: Desk) -> None:
    request_id = phantom(desk)
    written(desk, request_id)

    counts = count_trades()
    assert (counts.total, counts.open, counts.closed, counts.written_off) == (1, 0, 0, 1)
    assert [row.status for row in trades()] == ["written_off"]
    found = {status: with_status(trades(), status).count() for status in TradeStatus}
    assert {status for status, count in found.items() if count} == {TradeStatus.WRITTEN_OFF}
    desk.relay()
    mirrored = desk.mirrored(request_id)
    assert (mirrored["status"], mirrored["close_reason"], mirrored["pnl_usd"]) == ("CLOSED", "WRITTEN_OFF", "")


@SIDES
@MODES
def test_a_phantom_is_shown_as_one_and_is_in_no_total(desk: Desk, client: Client, side: str, mode: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    desk.trade_opened(SYMBOL, side)
    desk.cycle()
    [seen] = client.get("/api/execution/positions").json()["positions"]
    assert seen["phantom"] is False
    forgets(desk, mode)

    told = client.get("/api/execution/positions").json()

    assert [row["phantom"] for row in told["positions"]] == [True]
    assert (told["total_positions"], told["total_margin_usd"], told["total_unrealized_pnl"]) == (0, 0.0, 0.0)


def test_again_changes_nothing(desk: Desk) -> None:
    request_id = phantom(desk)
    first = written(desk, request_id)
    before = books(request_id)

    second = written(desk, request_id, Authorization(by="bert", reason="me too"))

    assert (second.repeated, second.action) == (True, first.action)
    assert books(request_id) == before
    assert OperatorAction.objects.get().by == "anna"


@SIDES
def test_partial_exits_stay_in_the_books_and_the_rest_is_written_off(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(SYMBOL, side)
    closing = {"buy": "SELL", "sell": "BUY"}[side]
    desk.person.new_order(symbol=SYMBOL, side=closing, type="MARKET", quantity="0.004", reduceOnly="true")
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.trade(request_id).state == "REDUCED"
    forgets(desk)

    written(desk, request_id)

    trade = desk.trade(request_id)
    assert (trade.state, trade.exited_quantity, trade.net_pnl) == ("WRITTEN_OFF", D("0.004"), None)
    assert Fill.objects.filter(trade=trade, entry=False).count() == 1
    assert OperatorAction.objects.get().before["trade"].startswith("REDUCED, exited 0.004 of")
    trade_again(desk, side)


@SIDES
def test_a_resting_entry_that_is_never_found_is_written_off(desk: Desk, side: str) -> None:
    request_id = desk.signal(SYMBOL, side, price={"buy": "49000", "sell": "51000"}[side])
    assert desk.run(request_id) == "ACCEPTED"
    assert "NOT_MISSED_YET" in refused(desk, request_id)
    forgets(desk)

    written(desk, request_id)

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("WRITTEN_OFF", "WRITTEN_OFF")
    assert (desk.order_states(request_id, "ENTRY"), PositionSlot.objects.exists()) == (["WRITTEN_OFF"], False)
    assert desk.event(request_id, "order.failed")["reason_code"] == "WRITTEN_OFF"
    assert not Trade.objects.exists()
    trade_again(desk, side)


def test_an_entry_of_unknown_outcome_waits_until_it_cannot_arrive_any_more(desk: Desk) -> None:
    request_id = desk.decide(SYMBOL)
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="drop_before")
    desk.run(request_id)
    assert desk.request(request_id).state == "UNKNOWN"

    assert "ORDER_MAY_ARRIVE" in refused(desk, request_id)

    desk.clock.let_pass(61)
    Order.objects.filter(request_id=request_id).update(missing_readings=1)
    written(desk, request_id)
    assert desk.request(request_id).state == "WRITTEN_OFF"
    trade_again(desk)


def test_a_filled_entry_without_books_is_written_off_when_its_fills_are_gone(desk: Desk) -> None:
    request_id = desk.decide(SYMBOL)
    desk.run(request_id, until="place_order")
    desk.paper.reset()
    assert desk.request(request_id).state == "FILLED"
    assert "NOT_MISSED_YET" in refused(desk, request_id)
    desk.clock.let_pass(61)

    written(desk, request_id)

    assert (desk.request(request_id).state, PositionSlot.objects.exists()) == ("WRITTEN_OFF", False)
    # It should stay so whatever a late task does.
    for step in ("protect_position", "record_trade"):
        desk.step(step, request_id)
    assert not Trade.objects.exists()
    assert not Order.objects.exclude(purpose="ENTRY").exists()
    trade_again(desk)


# What speaks against it


@SIDES
@MODES
def test_a_position_that_is_there_is_never_written_off(desk: Desk, side: str, mode: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    request_id = desk.trade_opened(SYMBOL, side)
    Trade.objects.filter(pk=request_id).update(flat_readings=2)

    said = refused(desk, request_id)

    assert "POSITION_IS_THERE" in said
    assert "ORDER_IS_OPEN" in said
    assert "ORDER_IS_KNOWN" in said


@SIDES
@pytest.mark.parametrize("hand", ["BUY", "SELL"])
def test_a_position_that_was_opened_by_hand_meanwhile_refuses(desk: Desk, side: str, hand: str) -> None:
    request_id = phantom(desk, side)
    desk.person.new_order(symbol=SYMBOL, side=hand, type="MARKET", quantity="0.002")

    assert "POSITION_IS_THERE" in refused(desk, request_id)


def test_in_hedge_mode_the_other_side_is_another_position(desk: Desk) -> None:
    request_id = phantom(desk, "buy", "hedge")
    desk.person.new_order(symbol=SYMBOL, side="SELL", positionSide="SHORT", type="MARKET", quantity="0.002")

    written(desk, request_id)

    assert desk.trade(request_id).state == "WRITTEN_OFF"


def test_after_a_change_of_the_mode_any_position_of_the_symbol_may_be_it(desk: Desk) -> None:
    request_id = phantom(desk, "buy")
    desk.person.change_position_mode(dualSidePosition="true")
    desk.person.new_order(symbol=SYMBOL, side="SELL", positionSide="SHORT", type="MARKET", quantity="0.002")

    assert "POSITION_IS_THERE" in refused(desk, request_id)


def test_exits_that_can_be_found_are_booked_and_not_written_off(desk: Desk) -> None:
    request_id = desk.trade_opened(SYMBOL)
    Trade.objects.filter(pk=request_id).update(flat_readings=1)
    quantity = str(desk.trade(request_id).quantity)
    desk.person.new_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity=quantity, reduceOnly="true")

    assert "FILLS_FOUND: exits=1" in refused(desk, request_id)

    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    desk.check()


def test_an_order_of_ours_that_is_open_refuses(desk: Desk) -> None:
    """An order under our prefix that no book of ours knows may be the trade's too."""
    request_id = phantom(desk)
    desk.person.new_order(
        symbol=SYMBOL,
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.002",
        price="40000",
        newClientOrderId="es1-unknown-1",
    )

    assert "ORDER_IS_OPEN: es1-unknown-1" in refused(desk, request_id)


@pytest.mark.parametrize("path", ["/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders", "/fapi/v3/positionRisk"])
def test_an_exchange_that_does_not_answer_is_no_evidence(desk: Desk, path: str) -> None:
    request_id = phantom(desk)
    before = books(request_id)
    desk.paper.add_fault(path=path, method="GET", action="reply", preset="unknown_503", count=None, id="silent")

    with pytest.raises(ExchangeUnavailableError):
        written(desk, request_id)

    assert books(request_id) == before


@pytest.mark.parametrize("state", ["closed", "expired", "fresh"])
def test_there_must_be_something_to_write_off(desk: Desk, state: str) -> None:
    if state == "closed":
        request_id = desk.trade_opened(SYMBOL)
        quantity = str(desk.trade(request_id).quantity)
        desk.person.new_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity=quantity, reduceOnly="true")
        desk.clock.let_pass(3)
        desk.cycle()
        desk.cycle()
        assert desk.trade(request_id).state == "CLOSED"
    else:
        request_id = desk.decide(SYMBOL)
        if state == "expired":
            desk.clock.let_pass(3600)
            desk.run(request_id)

    assert "NOTHING_TO_WRITE_OFF" in refused(desk, request_id)


def test_a_trade_that_no_cycle_has_missed_yet_waits(desk: Desk) -> None:
    request_id = desk.trade_opened(SYMBOL)
    desk.paper.reset()

    assert "NOT_MISSED_YET" in refused(desk, request_id)


def test_what_moves_between_the_question_and_the_write_refuses(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = phantom(desk)
    asked = desk.exchange.positions_in

    def books_move(symbol: str) -> Sequence[Any]:
        Trade.objects.filter(pk=request_id).update(exited_quantity=D("0.001"))
        return asked(symbol)

    monkeypatch.setattr(desk.exchange, "positions_in", books_move)

    with pytest.raises(WriteOffRefusedError, match="CHANGED_MEANWHILE"):
        written(desk, request_id)
    assert desk.trade(request_id).state == "OPEN"
    assert not OperatorAction.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_do_it_once(desk: Desk) -> None:
    request_id = phantom(desk)
    others = [desk.another() for _ in range(4)]
    words = [Authorization(by=f"operator {number}", reason="reset") for number in range(4)]

    def say(other: Desk, word: Authorization) -> Callable[[], WrittenOff]:
        return lambda: written(other, request_id, word)

    done = at_once([say(other, word) for other, word in zip(others, words, strict=True)])

    assert sorted(each.repeated for each in done) == [False, True, True, True]
    [action] = OperatorAction.objects.all()
    assert {each.action.pk for each in done} == {action.pk}
    assert desk.events(request_id).count("trade.closed") == 1
    assert AuditEvent.objects.filter(entity="trade", to_state="WRITTEN_OFF").count() == 1


# By every road


@pytest.fixture
def reached(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(wiring, "exchange", lambda: desk.exchange)
    monkeypatch.setattr(wiring, "clock", desk.clock)
    return desk


@pytest.mark.parametrize("kind", ["trades", "requests"])
def test_rest_writes_off_and_says_what_the_exchange_said(reached: Desk, client: Client, kind: str) -> None:
    request_id = phantom(reached)
    url = f"/api/execution/{kind}/{request_id}/write-off"
    body = {"reason": "the account was reset", "by": "anna"}

    answer = client.post(url, body, content_type="application/json")

    told = answer.json()
    assert (answer.status_code, told["repeated"], told["by"]) == (200, False, "anna")
    assert told["request_id"] == str(request_id)
    assert client.post(url, body, content_type="application/json").json() == told | {"repeated": True}
    row = client.get(f"/api/execution/trades/{request_id}").json()
    assert (row["status"], row["pnl_usd"], row["close_reason"]) == ("written_off", None, "WRITTEN_OFF")
    listed = client.get("/api/execution/trades?status=written_off").json()
    assert (len(listed["trades"]), listed["written_off_trades"], listed["closed_trades"]) == (1, 1, 0)


@pytest.mark.parametrize("kind", ["trades", "requests"])
def test_rest_refuses_with_a_code(reached: Desk, client: Client, kind: str) -> None:
    request_id = reached.trade_opened(SYMBOL)
    url = f"/api/execution/{kind}/{request_id}/write-off"

    def post(url: str, **body: Any) -> tuple[int, Any]:
        answer = client.post(url, body, content_type="application/json")
        return answer.status_code, answer.json()

    code, told = post(url, reason="why")
    assert (code, told["reason_code"]) == (409, "NOT_MISSED_YET")
    assert "POSITION_IS_THERE" in told["detail"]
    assert post(url)[0] == 400
    assert post(url, reason="  ")[0] == 400
    assert post(f"/api/execution/{kind}/{uuid4()}/write-off", reason="why")[0] == 404
    assert post(f"/api/execution/{kind}/no-id/write-off", reason="why")[0] == 404
    reached.paper.add_fault(path="/fapi/v1/openOrders", method="GET", action="reply", preset="unknown_503", count=None)
    assert post(url, reason="why")[0] == 503
    assert reached.trade(request_id).state == "OPEN"


def test_the_command_asks_first_and_writes_off_with_a_reason(reached: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    request_id = phantom(reached)

    call_command("write_off", str(request_id))
    asked = json.loads(capsys.readouterr().out)
    assert (asked["written_off"], asked["objections"]) == (False, [])
    assert reached.trade(request_id).state == "OPEN"

    call_command("write_off", str(request_id), reason="reset", by="anna")
    told = json.loads(capsys.readouterr().out)
    assert (told["written_off"], told["repeated"], told["by"]) == (True, False, "anna")
    for wrong in (str(uuid4()), "no-id"):
        with pytest.raises(CommandError, match="There is no decision"):
            call_command("write_off", wrong, reason="reset")


def test_the_command_refuses_what_is_there(reached: Desk) -> None:
    request_id = reached.trade_opened(SYMBOL)

    with pytest.raises(CommandError, match=r"Nothing was written off: .*POSITION_IS_THERE"):
        call_command("write_off", str(request_id), reason="reset")


def test_the_admin_shows_the_evidence_and_asks_for_confirmation(reached: Desk, admin_client: Client) -> None:
    request_id = phantom(reached)
    url = reverse("admin:execution_executionrequest_write_off", args=[request_id])

    for page in ("execution_trade_change", "execution_executionrequest_change"):
        assert url in admin_client.get(reverse(f"admin:{page}", args=[request_id])).content.decode()
    shown = admin_client.get(url).content.decode()
    assert "is flat" in shown
    # It should do nothing without confirmation and reason.
    admin_client.post(url, {"reason": "reset"})
    admin_client.post(url, {"confirmed": "on"})
    assert reached.trade(request_id).state == "OPEN"

    admin_client.post(url, {"reason": "reset", "confirmed": "on"})

    assert (reached.trade(request_id).state, OperatorAction.objects.get().by) == ("WRITTEN_OFF", "admin")
    trade_page = admin_client.get(reverse("admin:execution_trade_change", args=[request_id]))
    assert (trade_page.status_code, url in trade_page.content.decode()) == (200, False)
    assert "could be written off" in admin_client.get(url).content.decode()


def test_the_admin_offers_no_button_against_the_exchanges_word(reached: Desk, admin_client: Client) -> None:
    request_id = reached.trade_opened(SYMBOL)
    url = reverse("admin:execution_executionrequest_write_off", args=[request_id])

    shown = admin_client.get(url).content.decode()

    assert "POSITION_IS_THERE" in shown
    assert 'name="confirmed"' not in shown
    # It should refuse also who sends the form all the same.
    admin_client.post(url, {"reason": "reset", "confirmed": "on"})
    assert reached.trade(request_id).state == "OPEN"


def test_the_admin_asks_for_the_permission(reached: Desk, client: Client, django_user_model: Any) -> None:
    request_id = phantom(reached)
    reader = django_user_model.objects.create_user("reader", password="x", is_staff=True)
    client.force_login(reader)

    answer = client.post(
        reverse("admin:execution_executionrequest_write_off", args=[request_id]), {"reason": "x", "confirmed": "on"}
    )

    assert (answer.status_code, reached.trade(request_id).state) == (403, "OPEN")
