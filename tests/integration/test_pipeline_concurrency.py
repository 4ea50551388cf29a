"""Two processes at the same work at the same moment: real connections, and the exchange's ledger as the witness."""

from collections.abc import Callable
from decimal import Decimal
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, connections

from execution.domain.outcomes import Accepted, PlaceOutcome
from execution.domain.ports import Lane, OrderTicket
from execution.models import AuditEvent, ExecutionRequest, InboxEvent, Order, PolicyValue, PositionSlot, Trade
from execution.orders.apply_report import apply_report
from execution.signals.accept import AI_DECISION, accept_entry
from tests.support.desk import INTAKE, Desk, decision, entry
from tests.support.threads import at_once
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
D = Decimal
SYMBOLS = (
    "BTCUSDT",
    "ETHUSDT",
    "SOLUSDT",
    "BNBUSDT",
    "XRPUSDT",
    "ADAUSDT",
    "LTCUSDT",
    "LINKUSDT",
    "DOTUSDT",
    "BCHUSDT",
)


def moves(request_id: object) -> list[str]:
    rows = AuditEvent.objects.filter(entity="request", entity_id=str(request_id)).order_by("id")
    return [row.to_state for row in rows]


def test_same_entry_accepted_at_once_is_one_request(desk: Desk) -> None:
    same = entry(AI_DECISION, decision(), at=desk.clock())

    accepted = at_once([lambda: accept_entry(same, rules=INTAKE, now=desk.clock())] * 4)

    # It should have started one chain, for the one request.
    assert [one.request_id for one in accepted if one.request_id] == [ExecutionRequest.objects.get().pk]
    assert InboxEvent.objects.get().duplicates == 0


@pytest.mark.parametrize("step", ["check_ess", "guard_safety", "place_order", "protect_position", "record_trade"])
def test_step_run_by_two_at_once_happens_once(desk: Desk, step: str) -> None:
    request_id = desk.decide()
    before = {
        "check_ess": "",
        "guard_safety": "check_ess",
        "place_order": "guard_safety",
        "protect_position": "place_order",
        "record_trade": "protect_position",
    }[step]
    if before:
        desk.run(request_id, until=before)
    desks = [desk, desk.another()]
    if step in {"place_order", "protect_position"}:
        # Both are in the middle of it at the same time.
        desk.paper.add_fault(path="/fapi/v1/*", method="POST", action="delay", ms=40, count=4)

    at_once([lambda one=one: one.step(step, request_id) for one in desks])  # type: ignore[misc]
    desk.run(request_id)

    # It should have gone each way once, with one entry, one claim, one trade and each fill booked once.
    assert moves(request_id) == [
        "RECEIVED",
        "CLEARED",
        "APPROVED",
        "SUBMITTING",
        "ACCEPTED",
        "FILLED",
        "PROTECTED",
        "RECORDED",
    ]
    ledger = desk.ledger
    assert len(ledger.entries_sent) == 1
    assert len(ledger.live_stops) == len(ledger.live_targets) == 1
    assert (PositionSlot.objects.count(), Trade.objects.count(), Trade.objects.get().fills.count()) == (1, 1, 1)
    told = desk.events(request_id)
    assert [told.count(name) for name in ("order.filled", "order.executed", "trade.opened")] == [1, 1, 1]
    desk.check()


def test_whole_chain_run_by_three_at_once_is_one_trade(desk: Desk) -> None:
    request_id = desk.decide()
    desks = [desk, desk.another(), desk.another()]

    at_once([lambda one=one: one.run(request_id) for one in desks])  # type: ignore[misc]
    desk.run(request_id)

    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_two_decisions_for_one_symbol_at_once_are_one_position(desk: Desk) -> None:
    ids = [desk.decide(side=side) for side in ("buy", "sell")]
    for request_id in ids:
        desk.step("check_ess", request_id)
    desks = [desk, desk.another()]

    pairs = list(zip(desks, ids, strict=True))
    at_once([lambda one=one, pk=pk: one.run(pk) for one, pk in pairs])  # type: ignore[misc]

    # It should have let one in and told the other which request has the symbol.
    states = {ExecutionRequest.objects.get(pk=pk).state: pk for pk in ids}
    assert set(states) == {"RECORDED", "DENIED"}
    refused = desk.request(states["DENIED"])
    assert refused.reason_code == "OPEN_TRADE_EXISTS"
    assert f"held_by={states['RECORDED']}" in refused.reason
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_limit_of_positions_is_held_exactly(desk: Desk) -> None:
    PolicyValue.objects.create(key="risk.max_positions", value=D(4), source="test", version=1, changed_at=desk.clock())
    ids = [desk.decide(symbol) for symbol in SYMBOLS]
    for request_id in ids:
        desk.step("check_ess", request_id)
    desks = [desk.another() for _ in ids]

    pairs = list(zip(desks, ids, strict=True))
    at_once([lambda one=one, pk=pk: one.run(pk) for one, pk in pairs])  # type: ignore[misc]

    rows = ExecutionRequest.objects.all()
    assert (
        sorted((row.state, row.reason_code) for row in rows)
        == [("DENIED", "POSITIONS_EXCEED_LIMIT")] * 6 + [("RECORDED", "")] * 4
    )
    assert len(desk.ledger.entries_sent) == len(desk.ledger.positions) == 4
    desk.check()


def test_exit_found_by_two_monitors_at_once_closes_the_trade_once(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    desk.paper.set_price("BTCUSDT", "51000")
    desks = [desk, desk.another()]

    at_once([one.cycle for one in desks])

    assert desk.trade(request_id).state == "CLOSED"
    assert desk.trade(request_id).fills.count() == 2
    told = desk.events(request_id)
    assert (told.count("trade.closed"), told.count("order.filled")) == (1, 2)
    desk.check()


def test_chain_and_monitor_at_once_are_one_protected_trade(desk: Desk) -> None:
    ids = [desk.decide(symbol) for symbol in SYMBOLS[:4]]
    for request_id in ids:
        desk.run(request_id, until="place_order")
    desk.clock.let_pass(3)
    chain, monitor = desk.another(), desk.another()

    calls: list[Callable[[], object]] = [lambda: [chain.run(pk) for pk in ids], monitor.cycle]
    at_once(calls)
    desk.cycle()

    assert {row.state for row in ExecutionRequest.objects.all()} == {"RECORDED"}
    assert len(desk.ledger.entries_sent) == 4
    desk.check()


def test_no_transaction_is_open_while_the_exchange_is_asked(desk: Desk) -> None:
    """A slow exchange must not hold row locks: seen from PostgreSQL's own list of sessions."""
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="delay", ms=300)
    known, started = [], Event()

    def place() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                known.append(cursor.fetchone())
            started.set()
            desk.another().step("place_order", request_id)
        finally:
            connections.close_all()

    worker = Thread(target=place)
    worker.start()
    started.wait(5)
    [(pid,)] = known

    def state() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", [pid])
            return cursor.fetchone()

    eventually(lambda: desk.request(request_id).state == "SUBMITTING", what="the intention is committed")
    eventually(lambda: desk.ledger.entries_sent, what="the order has left")
    assert desk.request(request_id).state == "SUBMITTING"
    assert state() == ("idle",)
    worker.join(5)
    assert desk.run(request_id) == "RECORDED"


def test_sender_whose_answer_comes_after_the_stream_goes_on_to_the_stop(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream tells of the fill before the answer is read, and leaves cover to the sender, who is awake."""
    place = desk.exchange.place

    def overtaken(ticket: OrderTicket, lane: Lane, **terms: Any) -> PlaceOutcome:
        outcome = place(ticket, lane, **terms)
        assert isinstance(outcome, Accepted)
        heard = Order.objects.select_related("request").get(client_order_id=ticket.client_order_id)
        apply_report(heard, outcome.report, now=desk.clock(), source="stream")
        return outcome

    monkeypatch.setattr(desk.exchange, "place", overtaken)
    request_id = desk.decide()

    # It should have its stop in the same run of the chain, not in the monitor's next cycle.
    assert desk.run(request_id) == "RECORDED"
    assert desk.order(request_id, "ENTRY").last_evidence.startswith("stream")
    desk.check()
