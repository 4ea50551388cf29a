"""The user-data stream under faults: cut, mute, doubled, shuffled, without a key; polling covers what it misses."""

import select
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.stream import MarginCall, OrderNews
from execution.models import AuditEvent
from execution.user_stream.apply_event import apply
from execution.user_stream.listen_key import FRESH
from execution.user_stream.stats import Phase
from tests.support.desk import Desk
from tests.support.listener import PATIENCE, RULES, Listener

pytestmark = pytest.mark.django_db


@pytest.fixture
def listener(desk: Desk) -> Iterator[Listener]:
    desk.clock.stop()
    with Listener(desk=desk) as made:
        yield made.connect()


def fault(desk: Desk, action: str, **options: Any) -> None:
    desk.paper.control("POST", "streams/faults", {"action": action, **options})


def heal(desk: Desk) -> None:
    desk.paper.control("DELETE", "streams/faults")


def cut(desk: Desk) -> None:
    desk.paper.control("POST", "streams/drop", {})


def key_calls(desk: Desk) -> list[str]:
    """Return the verbs of the calls about listen keys, in order."""
    return [call["method"] for call in desk.paper.ledger()["requests"] if call["path"] == "/fapi/v1/listenKey"]


def await_news(listener: Listener) -> None:
    """Wait until an event has arrived that nobody has read yet."""
    connection: Any = listener.session._connection
    assert select.select([connection._socket.sock], [], [], 20.0)[0], "no event has arrived"


def resting(desk: Desk) -> Any:
    """Place an entry that rests at 49000."""
    request_id = desk.signal(price="49000", stop_loss="48000", take_profit="52000", expires_in_seconds=172_800)
    assert desk.run(request_id) == "ACCEPTED"
    return request_id


def test_twenty_cuts_are_no_storm_of_keys_and_each_is_followed_by_a_cycle(desk: Desk, listener: Listener) -> None:
    before, begun = listener.started["cycle"], desk.clock()

    for number in range(2, 22):
        # Each reconnect may ask for a cycle of its own at once.
        desk.clock.let_pass(1)
        cut(desk)
        listener.until(lambda wanted=number: listener.session.stats.connections == wanted, what="another connection")  # type: ignore[misc]
        listener.connect()

    assert listener.started["cycle"] == before + 20
    # A key is asked about once in the time for which it is fresh, not once a connection.
    assert len(key_calls(desk)) <= 1 + (desk.clock() - begun) // FRESH
    # It should have slowed down on the way.
    assert listener.session._failures == 20


def test_what_happens_while_nobody_listens_is_found_by_the_cycle_after_it(desk: Desk, listener: Listener) -> None:
    request_id = resting(desk)
    listener.hear("ORDER_TRADE_UPDATE")
    cut(desk)
    listener.until(lambda: listener.session.phase is Phase.CONNECTING, what="the loss is noticed")
    assert listener.told["covering"] == "polling"

    desk.paper.set_price("BTCUSDT", "48900")
    desk.clock.let_pass(3)
    listener.until(lambda: desk.request(request_id).state == "RECORDED", what="the trade is recorded")

    assert desk.order(request_id, "ENTRY").last_evidence.startswith("look-up: FILLED")
    listener.connect()
    assert (listener.told["covering"], listener.told["healthy"]) == ("stream", True)
    desk.check()


def test_a_mute_stream_is_noticed_replaced_and_trusted_again_with_its_first_event(
    desk: Desk, listener: Listener
) -> None:
    desk.clock.let_pass(3)
    fault(desk, "silent", count=None)
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    # From this look on it is waited for; a moment before the patience is over, nothing is wrong.
    listener.step()
    awaited_since = desk.clock()
    desk.clock.ahead += PATIENCE - timedelta(seconds=1)
    listener.step()
    assert (listener.session.stats.silences, listener.session.phase) == (0, Phase.LIVE)

    desk.clock.let_pass(2)
    listener.until(lambda: listener.session.stats.silences == 1, what="the silence is noticed")
    assert desk.clock() - awaited_since < PATIENCE + timedelta(seconds=3)
    listener.until(lambda: listener.session.stats.connections == 2, what="the connection is replaced")
    listener.until(lambda: listener.session.phase is Phase.DOUBTED, what="the cycle has run")

    assert (listener.told["covering"], listener.told["healthy"]) == ("polling", False)
    assert "did not report" in listener.told["last_error"]
    # Pings were answered all the time: it was the second clock that told.
    assert listener.told["last_socket_sign_at"] is not None
    heal(desk)
    desk.paper.set_price("BTCUSDT", "48990")
    listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the stop's fill is told")
    listener.connect()
    assert listener.told["covering"] == "stream"
    desk.check()


def test_a_quiet_stream_is_not_a_silent_one(desk: Desk, listener: Listener) -> None:
    desk.trade_opened(stop_loss=49000, take_profit=52000)
    listener.until(lambda: listener.session.stats.events["ALGO_UPDATE"] >= 2, what="both legs are told of")
    for _ in range(10):
        desk.clock.ahead += PATIENCE
        listener.step()

    assert (listener.session.stats.silences, listener.session.stats.connections) == (0, 1)
    assert listener.session.phase is Phase.LIVE


def test_events_that_wait_to_be_read_are_not_silence(desk: Desk, listener: Listener) -> None:
    desk.clock.let_pass(3)
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        desk.trade_opened(symbol)

    # Long after the patience is over, event by event, each as soon as it has arrived.
    for _ in range(12):
        await_news(listener)
        listener.step()
        desk.clock.ahead += PATIENCE

    assert listener.session.stats.silences == 0
    listener.until(lambda: listener.session.stats.events["ALGO_UPDATE"] >= 6, what="all legs are told of")
    assert (listener.session.stats.silences, listener.session.stats.connections) == (0, 1)


def test_one_lost_kind_of_event_is_made_up_for_by_its_second_witness(desk: Desk, listener: Listener) -> None:
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    listener.until(lambda: listener.session.stats.events["ALGO_UPDATE"] >= 2, what="both legs are told of")
    fault(desk, "silent", event="ORDER_TRADE_UPDATE", count=None)

    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0"})
    listener.hear("ACCOUNT_UPDATE")
    assert desk.trade(request_id).state == "OPEN"
    desk.clock.let_pass(4)
    listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the books follow")

    assert desk.trade(request_id).close_reason == "MANUAL"
    desk.check()


@pytest.mark.parametrize(("action", "times"), [("duplicate", None), ("swap", 7), ("shuffle", None)])
def test_events_that_come_twice_or_in_any_order_change_nothing(
    desk: Desk, listener: Listener, action: str, times: int | None
) -> None:
    before = listener.started["cycle"]
    fault(desk, action, count=times)
    request_id = resting(desk)

    for _ in range(5):
        desk.paper.control("POST", "orders/fill", {"order": entry_id(desk, request_id), "quantity": "0.002"})
    listener.until(lambda: desk.request(request_id).state == "RECORDED", what="the trade is recorded")
    desk.paper.set_price("BTCUSDT", "52010")
    listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the target's fill is told")

    trade = desk.trade(request_id)
    assert (trade.quantity, trade.exited_quantity, trade.close_reason) == (Decimal("0.010"), Decimal("0.010"), "TP")
    assert trade.fills.filter(entry=True).count() == 5
    assert trade.net_pnl == Decimal(desk.paper.summary()["wallet"]) - 10_000
    # It should need no polling for that.
    assert (listener.started["cycle"], listener.session.stats.silences) == (before, 0)
    assert not listener.session.stats.unread
    desk.check()


def entry_id(desk: Desk, request_id: Any) -> str:
    return str(desk.order(request_id, "ENTRY").client_order_id)


def test_cover_grows_with_the_fills_of_a_resting_entry(desk: Desk, listener: Listener) -> None:
    before = listener.started["cycle"]
    request_id = resting(desk)

    def covered() -> list[Decimal]:
        return [Decimal(each["quantity"]) for each in desk.ledger.live_stops]

    for quantity, filled in (("0.004", "0.004"), ("0.003", "0.007"), ("0.003", "0.010")):
        desk.paper.control("POST", "orders/fill", {"order": entry_id(desk, request_id), "quantity": quantity})
        listener.until(lambda wanted=filled: covered() == [Decimal(wanted)], what=f"a stop for {filled}")  # type: ignore[misc]

    listener.until(lambda: desk.request(request_id).state == "RECORDED", what="the trade is recorded")
    assert (desk.trade(request_id).quantity, listener.started["cycle"]) == (Decimal("0.010"), before)
    desk.check()


def test_an_expired_key_is_followed_by_another_one(desk: Desk, listener: Listener) -> None:
    first = listener.session.key.text
    request_id = resting(desk)

    desk.paper.control("POST", "streams/expire", {})
    listener.hear("listenKeyExpired")
    listener.until(lambda: listener.session.stats.connections == 2, what="another connection")
    listener.connect()

    assert listener.session.key.text != first
    desk.paper.set_price("BTCUSDT", "48900")
    listener.until(lambda: desk.request(request_id).state == "RECORDED", what="the new connection tells")
    desk.check()


def test_a_key_is_renewed_in_time_and_without_another_connection(desk: Desk, listener: Listener) -> None:
    desk.clock.let_pass(25 * 60)
    listener.until(lambda: listener.session.stats.keys_renewed == 1, what="the key is renewed")

    assert (key_calls(desk), listener.session.stats.connections) == (["POST", "PUT"], 1)


def test_a_renewal_that_finds_no_key_opens_another_connection(desk: Desk, listener: Listener) -> None:
    desk.paper.add_fault(path="/fapi/v1/listenKey", method="PUT", action="refuse", code=-1125)

    desk.clock.let_pass(25 * 60)
    listener.until(lambda: listener.session.stats.connections == 2, what="another connection")

    assert key_calls(desk) == ["POST", "PUT", "POST"]
    listener.connect()


def test_a_renewal_without_answer_is_repeated_until_the_key_must_be_dead(desk: Desk, listener: Listener) -> None:
    desk.paper.add_fault(path="/fapi/v1/listenKey", method="PUT", action="drop_before", count=None)

    desk.clock.let_pass(25 * 60)
    listener.until(lambda: key_calls(desk).count("PUT") == 1, what="a first try")
    assert listener.session.phase is Phase.LIVE
    desk.clock.let_pass(40 * 60)
    listener.until(lambda: listener.session.stats.connections == 2, what="another key and connection")

    assert key_calls(desk)[-1] == "POST"


def test_a_connection_is_replaced_before_its_day_is_over_without_a_gap(desk: Desk, listener: Listener) -> None:
    request_id = resting(desk)
    desk.clock.let_pass(23 * 3600)
    phases = set()

    def replaced() -> bool:
        phases.add(listener.session.phase)
        return listener.session.stats.connections == 2

    listener.until(replaced, what="another connection")
    listener.connect()

    assert Phase.CONNECTING not in phases
    desk.paper.set_price("BTCUSDT", "48900")
    listener.until(lambda: desk.request(request_id).state == "RECORDED", what="the new connection tells")


def test_an_exchange_that_is_away_is_asked_less_and_less(desk: Desk) -> None:
    desk.paper.add_fault(path="/fapi/v1/listenKey", action="drop_before", count=None)
    rules = replace(RULES, first_pause_seconds=1.0, longest_pause_seconds=30.0)

    with Listener(desk=desk, rules=rules) as listener:
        for _ in range(120):
            desk.clock.let_pass(1)
            listener.until(lambda: listener.session._call is None, what="the call has ended")
        asked = len(key_calls(desk))

    # Two minutes: pauses of 1, 2, 4, 8, 16, 30 and 30 seconds, each shortened by up to a half.
    assert 6 <= asked <= 14
    assert listener.told["covering"] == "polling"


def test_a_margin_call_is_written_to_the_trades_concerned(desk: Desk, listener: Listener) -> None:
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    desk.clock.let_pass(2)
    before = listener.started["cycle"]

    news = MarginCall(kind="MARGIN_CALL", sent_at=desk.clock(), symbols=("BTCUSDT",))
    apply(news, listener.session.handlers, now=desk.clock())

    assert AuditEvent.objects.filter(entity="trade", entity_id=str(request_id), trigger="margin_call").count() == 1
    assert listener.started["cycle"] == before + 1


def test_a_triggered_leg_is_found_by_its_conditional_order_too(desk: Desk, listener: Listener) -> None:
    """The new order keeps the old one's client id; should that ever change, the link in the event still leads there."""
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    stop = desk.order(request_id, "STOP")
    desk.paper.set_price("BTCUSDT", "48990")
    (made,) = [each for each in desk.paper.ledger()["orders"] if each["clientOrderId"] == stop.client_order_id]
    report = desk.exchange.look_up("BTCUSDT", stop.client_order_id, "ALGO")  # type: ignore[arg-type]

    news = OrderNews(
        kind="ORDER_TRADE_UPDATE",
        sent_at=desk.clock(),
        client_order_id="x-renamed",
        symbol="BTCUSDT",
        buyer=False,
        position_side="BOTH",
        report=report,  # type: ignore[arg-type]
        fill_id=1,
        algo_id=stop.algo_id,
    )
    apply(news, listener.session.handlers, now=desk.clock())

    stop.refresh_from_db()
    assert (stop.state, stop.exchange_order_id) == ("FILLED", str(made["orderId"]))
    assert desk.trade(request_id).close_reason == "SL"
