"""A decision's whole way, step by step: to the protected trade, and from each kind of exit to the closed books."""

from decimal import Decimal
from typing import Any

import pytest

from execution.models import AuditEvent, PositionSlot
from tests.support.desk import BTC_ASK, Desk

D = Decimal
OPENING = ["order.placed", "order.placed", "order.placed", "order.filled", "order.executed", "trade.opened"]
CLOSING = ["order.filled", "order.executed", "trade.closed"]


def test_long_market_decision_becomes_a_protected_trade(desk: Desk) -> None:
    request_id = desk.decide(position_size_usd=500.0, stop_loss=49000.0, take_profit=51000.0)

    assert desk.run(request_id) == "RECORDED"

    # It should have sent one entry, and one reducing stop and target of its size.
    ledger = desk.ledger
    [sent] = ledger.entries_sent
    assert (sent["symbol"], sent["side"], sent["type"], sent["quantity"]) == ("BTCUSDT", "BUY", "MARKET", "0.009")
    assert sent["newClientOrderId"] == desk.order(request_id, "ENTRY").client_order_id
    assert ledger.positions == {"BTCUSDT": D("0.009")}
    [stop], [target] = ledger.live_stops, ledger.live_targets
    assert (stop["side"], stop["quantity"], D(stop["triggerPrice"])) == ("SELL", "0.009", D(49000))
    assert (target["side"], target["quantity"], D(target["triggerPrice"])) == ("SELL", "0.009", D(51000))
    assert (stop["reduceOnly"], target["reduceOnly"]) == (True, True)
    assert (stop["workingType"], target["workingType"]) == ("MARK_PRICE", "MARK_PRICE")

    # It should have booked the exchange's own fill.
    [fill] = ledger.fills
    trade = desk.trade(request_id)
    assert (trade.state, trade.direction, trade.quantity) == ("OPEN", "LONG", D("0.009"))
    assert trade.entry_price == D(fill["price"]) == BTC_ASK
    assert trade.entry_fees == D(fill["commission"]) == D("0.22500045")
    assert trade.slippage_fraction == 0
    assert trade.margin_usd == D("90.00018")
    assert PositionSlot.objects.get().request_id == request_id

    # It should have told each fact once, in order.
    assert desk.events(request_id) == OPENING
    story = AuditEvent.objects.filter(entity="request", entity_id=str(request_id)).order_by("id")
    assert [step.to_state for step in story] == [
        "RECEIVED",
        "CLEARED",
        "APPROVED",
        "SUBMITTING",
        "ACCEPTED",
        "FILLED",
        "PROTECTED",
        "RECORDED",
    ]


def test_short_limit_order_becomes_a_protected_trade_when_it_fills(desk: Desk) -> None:
    request_id = desk.signal(side="sell", price="50400", stop_loss="51500", take_profit="49000")

    # It should rest at its limit, with nothing to cover yet.
    assert desk.run(request_id) == "ACCEPTED"
    [order] = desk.ledger.entries
    assert (order["side"], order["type"], order["status"], D(order["price"])) == ("SELL", "LIMIT", "NEW", D(50400))
    assert (desk.ledger.live(), desk.events(request_id)) == ([], ["order.placed"])

    desk.paper.set_price("BTCUSDT", "50400")
    desk.clock.let_pass(3)
    desk.cycle()

    # It should be covered and booked as maker, at its own price, by the monitor's next cycle.
    ledger = desk.ledger
    assert desk.request(request_id).state == "RECORDED"
    assert ledger.positions == {"BTCUSDT": D("-0.010")}
    [stop], [target] = ledger.live_stops, ledger.live_targets
    assert (stop["side"], stop["quantity"], D(stop["triggerPrice"])) == ("BUY", "0.010", D(51500))
    assert (target["side"], target["quantity"], D(target["triggerPrice"])) == ("BUY", "0.010", D(49000))
    trade = desk.trade(request_id)
    assert (trade.direction, trade.entry_price, trade.fills.get().maker) == ("SHORT", D(50400), True)
    assert desk.events(request_id)[:6] == OPENING
    assert len(ledger.entries_sent) == 1
    desk.check()


@pytest.mark.parametrize(
    ("side", "price", "reason"),
    [
        ("buy", "51500", "TP"),
        ("buy", "48500", "SL"),
        ("sell", "48500", "TP"),
        ("sell", "51500", "SL"),
    ],
)
def test_leg_that_fills_closes_the_trade_with_the_exchange_s_own_result(
    desk: Desk, side: str, price: str, reason: str
) -> None:
    stop, target = (49000.0, 51000.0) if side == "buy" else (51000.0, 49000.0)
    request_id = desk.trade_opened(side=side, stop_loss=stop, take_profit=target)
    desk.relay()

    desk.paper.set_price("BTCUSDT", price)
    desk.cycle()

    # It should be closed with what the exchange realised and charged, to the last digit.
    trade, ledger = desk.trade(request_id), desk.ledger
    entry, exit_ = ledger.fills
    assert (trade.state, trade.close_reason) == ("CLOSED", reason)
    assert trade.exit_price == D(exit_["price"])
    assert trade.gross_pnl == D(ledger.summary["realized_pnl"])
    assert trade.entry_fees + trade.exit_fees == D(ledger.summary["commission"])
    assert trade.net_pnl == ledger.net_pnl == D(ledger.summary["wallet"]) - D(ledger.summary["deposits"])
    assert (trade.net_pnl > 0) is (reason == "TP")
    assert (entry["clientOrderId"], exit_["clientOrderId"]) == (
        desk.order(request_id, "ENTRY").client_order_id,
        desk.order(request_id, "TARGET" if reason == "TP" else "STOP").client_order_id,
    )

    # It should leave nothing behind: no leg, no claim, no open row.
    assert (ledger.live(), ledger.positions) == ([], {})
    assert not PositionSlot.objects.exists()
    legs = {order.purpose: order.state for order in desk.request(request_id).orders.exclude(purpose="ENTRY")}
    filled, other = ("TARGET", "STOP") if reason == "TP" else ("STOP", "TARGET")
    assert legs == {filled: "FILLED", other: "CANCELED"}

    # It should say so once, and mirror the closed trade.
    assert desk.events(request_id) == OPENING + CLOSING
    desk.relay()
    [closed] = desk.stream("trade.closed")
    assert (closed["payload"]["reason"], closed["payload"]["pnl_usd"]) == (reason, float(trade.net_pnl))
    mirror = desk.mirrored(request_id)
    assert (mirror["status"], D(mirror["pnl_usd"]), mirror["close_reason"]) == ("CLOSED", trade.net_pnl, reason)
    desk.check()


def test_position_closed_by_hand_at_the_exchange_closes_the_trade_as_manual(desk: Desk) -> None:
    request_id = desk.trade_opened()

    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.009", reduceOnly="true")
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "MANUAL", ledger.net_pnl)
    # It should cancel the legs that have outlived the position.
    assert ledger.live() == []
    exit_fill = trade.fills.get(entry=False)
    assert exit_fill.order is None
    assert desk.events(request_id) == OPENING + CLOSING
    desk.check()


def test_position_closed_in_parts_by_hand_stays_covered_until_the_last(desk: Desk) -> None:
    request_id = desk.trade_opened()

    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.004", reduceOnly="true")
    desk.cycle()

    # It should book the part and keep what is left covered.
    trade = desk.trade(request_id)
    assert (trade.state, trade.exited_quantity) == ("REDUCED", D("0.004"))
    assert len(desk.ledger.live_stops) == 1
    assert D(desk.ledger.live_stops[0]["quantity"]) >= D("0.005")
    assert PositionSlot.objects.get().request_id == request_id

    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.005", reduceOnly="true")
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "MANUAL", desk.ledger.net_pnl)
    assert desk.events(request_id).count("trade.closed") == 1
    desk.check()


def test_symbol_is_free_again_after_its_trade_has_closed(desk: Desk) -> None:
    first = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    assert desk.outcome(desk.decide()) == ("DENIED", "OPEN_TRADE_EXISTS")
    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    second = desk.trade_opened()

    # It should book each trade's fills to it alone.
    assert desk.trade(first).fills.count() == 2
    assert desk.trade(second).fills.count() == 1
    desk.paper.set_price("BTCUSDT", "60000")
    desk.cycle()
    assert desk.trade(first).net_pnl + desk.trade(second).net_pnl == desk.ledger.net_pnl
    desk.check()


def test_events_have_the_fields_that_the_neighbours_read(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()
    desk.relay()

    placed = desk.stream("order.placed")
    assert [event["payload"]["purpose"] for event in placed] == ["entry", "stop", "target"]
    order_id = desk.order(request_id, "ENTRY").exchange_order_id
    entry = placed[0]["payload"]
    assert {name: entry[name] for name in ("order_id", "symbol", "side", "quantity", "price", "status", "source")} == {
        "order_id": order_id,
        "symbol": "BTCUSDT",
        "side": "buy",
        "quantity": 0.009,
        "price": 50000.1,
        "status": "placed",
        "source": "ai.decision.made",
    }
    filled, executed = desk.stream("order.filled"), desk.stream("order.executed")
    assert [(event["payload"]["side"], event["payload"]["fill_price"]) for event in filled] == [
        ("buy", 50000.1),
        ("sell", 50999.9),
    ]
    # `order.executed` is the same fact under the portfolio's name.
    same = ("order_id", "symbol", "side", "price", "quantity", "timestamp", "fees", "fill_id")
    assert [{name: event["payload"][name] for name in same} for event in executed] == [
        {name: event["payload"][name] for name in same} for event in filled
    ]
    [opened], [closed] = desk.stream("trade.opened"), desk.stream("trade.closed")
    trade = desk.trade(request_id)
    assert {name: opened["payload"][name] for name in ("trade_id", "side", "leverage", "stop_loss", "take_profit")} == {
        "trade_id": str(request_id),
        "side": "long",
        "leverage": 5.0,
        "stop_loss": 49000.0,
        "take_profit": 51000.0,
    }
    body = closed["payload"]
    # The three names of the PnL and of its percentage hold one number each.
    assert {body[name] for name in ("pnl_usd", "realized_pnl")} == {float(trade.net_pnl or 0)}
    assert len({body[name] for name in ("pnl_percent", "pnl_pct", "realized_pnl_pct")}) == 1
    assert (body["reason"], body["close_reason"], body["model"], body["confidence"]) == ("TP", "TP", "ensemble", 0.85)
    assert body["fees_usd"] == float(D(desk.ledger.summary["commission"]))
    assert body["duration_sec"] > 0

    # The wrapper carries an id, a number and the trace of the decision.
    trace = desk.request(request_id).trace_id
    assert trace
    for event in (*placed, *filled, opened, closed):
        assert (event["trace_id"], event["correlation_id"], event["aggregate"]) == (trace, trace, str(request_id))
        assert event["payload"]["event_id"] == event["event_id"]
        assert (event["source"], event["schema_version"]) == ("execution", "1")


def test_open_trade_is_mirrored_for_fast_readers(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    desk.relay()

    mirror = desk.mirrored(request_id)

    assert {name: mirror[name] for name in ("trade_id", "symbol", "side", "status", "quantity", "leverage")} == {
        "trade_id": str(request_id),
        "symbol": "BTCUSDT",
        "side": "LONG",
        "status": "OPEN",
        "quantity": "0.009",
        "leverage": "5",
    }
    assert {name: mirror[name] for name in ("entry_price", "sl_price", "tp_price", "exit_price", "pnl_usd")} == {
        "entry_price": "50000.1",
        "sl_price": "49000",
        "tp_price": "51000",
        "exit_price": "",
        "pnl_usd": "",
    }
    assert (mirror["model"], mirror["confidence"], mirror["regime"]) == ("ensemble", "0.85", "high_vol_trending")


def test_every_step_that_runs_again_does_nothing(desk: Desk) -> None:
    request_id = desk.trade_opened()
    told, sent = desk.events(request_id), len(desk.ledger.requests)

    for name in ("check_ess", "guard_safety", "place_order", "protect_position", "record_trade"):
        desk.step(name, request_id)

    # It should neither send, nor book, nor say anything a second time.
    assert desk.events(request_id) == told
    writes = [row for row in desk.ledger.requests[sent:] if row["method"] != "GET"]
    assert writes == []
    assert desk.trade(request_id).fills.count() == 1
    desk.check()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"symbol": "NOPEUSDT"}, "UNKNOWN_SYMBOL"),
        ({"entry_price": 49000.0}, "SLIPPAGE_EXCEEDS_LIMIT"),
        ({"leverage": 50}, "LEVERAGE_EXCEEDS_LIMIT"),
        ({"position_size_usd": 20000.0}, "NOTIONAL_EXCEEDS_LIMIT"),
        ({"position_size_usd": 4.0}, "QUANTITY_BELOW_MINIMUM"),
        ({"stop_loss": 51000.0}, "STOP_ON_WRONG_SIDE"),
        ({"stop_loss": 40000.0}, "STOP_TOO_FAR"),
        ({"take_profit": 49000.0}, "TARGET_ON_WRONG_SIDE"),
    ],
)
def test_guard_refuses_with_numbers_and_before_the_wire(desk: Desk, fields: dict[str, Any], code: str) -> None:
    request_id = desk.decide(**fields)

    assert desk.run(request_id) == "DENIED"

    request = desk.request(request_id)
    assert request.reason_code == code
    assert request.reason.startswith(f"{code}: ")
    failed = desk.event(request_id, "order.failed")
    assert (failed["reason_code"], failed["reason"], failed["symbol"]) == (code, request.reason, request.symbol)
    assert desk.ledger.sent("POST", "/fapi/v1/order") == []
    assert not PositionSlot.objects.exists()


def test_old_signal_expires_instead_of_trading(desk: Desk) -> None:
    request_id = desk.decide()
    desk.clock.let_pass(61)

    assert desk.run(request_id) == "EXPIRED"

    assert desk.event(request_id, "order.failed")["reason_code"] == "SIGNAL_TOO_OLD"
    assert desk.ledger.requests == []
