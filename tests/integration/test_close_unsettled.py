"""A close without an answer is asked for and followed at once, in every way out, and never past flat."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client

from execution.domain.trading import Source
from execution.models import Order, PositionSlot
from execution.queries.metrics import book_counts
from tests.integration.test_refused_exits import SteppedClock, closes, told
from tests.support.desk import Desk
from tests.support.exits import (
    CHAIN,
    DUST,
    IN_TIME,
    PROTECTOR,
    SIDES,
    SYMBOL,
    Exit,
    by_hand,
    each_exit,
    named,
    opened,
)
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.real_pauses]
D = Decimal
# How the first close gets lost; each leaves its outcome unknown.
LOSSES: Mapping[str, Mapping[str, Any]] = {
    "dropped before sending": {"action": "drop_before"},
    "503, not executed": {"action": "reply", "preset": "unknown_503"},
    "hangs": {"action": "hang", "ms": 20_000},
    "late": {"action": "late", "ms": 1_800},
}
EXECUTED: Mapping[str, Mapping[str, Any]] = {
    "answer lost": {"action": "drop_after"},
    "503, executed": {"action": "reply", "preset": "unknown_503", "execute": True},
    "hangs, executed": {"action": "hang", "ms": 20_000, "execute": True},
    "late, and looked for": {"action": "late", "ms": 300},
}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    return replace(
        desk,
        # Ahead of the machine's, whose time goes on: what is sent ten seconds after its row does not leave.
        clock=SteppedClock(ahead=timedelta(minutes=5)),
        # How long a stop is tried before its position is closed, and an answer waited for, is real time.
        max_unprotected=timedelta(seconds=0.1),
        protective_seconds=1.0,
    )


def lose(desk: Desk, side: str, **fault: Any) -> None:
    """Lose the next close of a position of this side; entries of the other side are not hit."""
    match = {"side": "SELL" if side == "buy" else "BUY"}
    desk.paper.add_fault(**({"path": ORDER, "method": "POST", "match": match, "id": "lost"} | fault))


def sent_at(desk: Desk) -> list[float]:
    """Return when each of our closing orders has reached the exchange, in seconds."""
    ours = [row for row in desk.ledger.requests if (row["method"], row["path"]) == ("POST", ORDER)]
    return [row["t_ns"] / 1e9 for row in ours if row["params"].get("newClientOrderId", "").startswith("es1-c")]


def settled(desk: Desk, request_id: UUID) -> None:
    """Let the monitor end what is in doubt, and hold books and exchange against each other."""
    desk.paper.clear_faults()
    for _ in range(3):
        desk.clock.let_pass(30)
        desk.cycle()
    assert (desk.trade(request_id).state, desk.ledger.positions) == ("CLOSED", {})
    assert not PositionSlot.objects.exists()
    # What a person has paid for the entry of an adopted position is in no book of ours.
    if desk.request(request_id).source != Source.EXTERNAL:
        desk.check()


def never_past_flat(desk: Desk) -> None:
    held, seen = D(0), []
    for fill in sorted(desk.ledger.fills, key=lambda fill: int(fill["id"])):
        held += D(fill["qty"]) if fill["side"] == "BUY" else -D(fill["qty"])
        seen.append(held)
    assert all(amount >= 0 for amount in seen) or all(amount <= 0 for amount in seen), seen


@pytest.mark.parametrize(("way", "side", "mode"), each_exit(), ids=named)
def test_each_way_out_sends_the_next_close_within_a_second(desk: Desk, way: Exit, side: str, mode: str) -> None:
    request_id = opened(desk, way, side=side, mode=mode)
    lose(desk, side, **LOSSES["dropped before sending"])

    way.act(desk, request_id)

    # Of an order of a whole step that closes less, the exchange lets the rest expire.
    closed = "EXPIRED" if way is DUST else "FILLED"
    assert [order.state for order in closes(request_id)] == ["UNKNOWN", closed]
    assert desk.ledger.positions == {}
    first, second = sent_at(desk)
    assert 0.9 < second - first < 10, "a second, but for a machine that is busy"
    # It should keep the symbol while the first may still arrive.
    assert PositionSlot.objects.filter(request_id=request_id).exists()
    never_past_flat(desk)
    settled(desk, request_id)
    assert [order.state for order in closes(request_id)] == ["NOT_ACCEPTED", closed]


@pytest.mark.parametrize(("side", "mode"), [("buy", "one-way"), ("sell", "hedge")])
@pytest.mark.parametrize("loss", list(LOSSES)[1:])
def test_however_it_got_lost(desk: Desk, loss: str, side: str, mode: str) -> None:
    way = CHAIN
    request_id = opened(desk, way, side=side, mode=mode)
    lose(desk, side, **LOSSES[loss])

    way.act(desk, request_id)

    assert [order.state for order in closes(request_id)] == ["UNKNOWN", "FILLED"]
    assert desk.ledger.positions == {}
    if loss == "late":
        lost = closes(request_id)[0].client_order_id
        done = eventually(lambda: arrived(desk, lost), within=10, what="the first close has arrived")
        # It should find nothing to reduce.
        assert done == -2022
    never_past_flat(desk)
    settled(desk, request_id)


def arrived(desk: Desk, client_order_id: str) -> int | None:
    [row] = [row for row in desk.ledger.requests if row["params"].get("newClientOrderId") == client_order_id]
    code: int | None = row["done_code"]
    return code


@pytest.mark.parametrize(("way", "side"), [(IN_TIME, "buy"), (CHAIN, "sell")], ids=named)
@pytest.mark.parametrize("loss", EXECUTED)
def test_a_close_that_executed_unheard_is_found_and_not_repeated(desk: Desk, loss: str, way: Exit, side: str) -> None:
    request_id = opened(desk, way, side=side)
    lose(desk, side, **EXECUTED[loss])

    way.act(desk, request_id)

    assert [order.state for order in closes(request_id)] == ["FILLED"]
    assert (len(sent_at(desk)), desk.ledger.positions) == (1, {})
    settled(desk, request_id)
    assert len(sent_at(desk)) == 1


@pytest.mark.parametrize(("side", "mode"), [("buy", "one-way"), ("sell", "hedge")])
def test_look_ups_that_lag_behind_an_executed_close_book_it_once(desk: Desk, mode: str, side: str) -> None:
    request_id = opened(desk, IN_TIME, side=side, mode=mode)
    lose(desk, side, action="drop_after")
    desk.paper.add_fault(path=ORDER, method="GET", action="hide", count=None)

    IN_TIME.act(desk, request_id)

    # It should not close what the exchange does not hold.
    assert [order.state for order in closes(request_id)] == ["UNKNOWN"]
    settled(desk, request_id)
    assert len(sent_at(desk)) == 1


@pytest.mark.parametrize(("way", "side"), [(CHAIN, "buy"), (PROTECTOR, "sell"), (IN_TIME, "buy")], ids=named)
def test_closes_that_stay_lost_are_followed_ever_more_seldom_and_told(
    desk: Desk, client: Client, way: Exit, side: str
) -> None:
    request_id = opened(desk, way, side=side)
    lose(desk, side, action="drop_before", count=None)

    way.act(desk, request_id)

    # It should have sent as many as one run may, and say so everywhere.
    assert [order.state for order in closes(request_id)] == ["UNKNOWN"] * 3
    assert f"{SYMBOL} CLOSE unanswered: code=none tries=3 since=" in str(told())
    cache.clear()
    figures = client.get("/metrics").content.decode()
    assert f'execution_unanswered_exits{{symbol="{SYMBOL}",what="CLOSE"}} 3.0' in figures
    assert f"execution_unprotected_positions {0 if way.has_stop else 1}.0" in figures
    assert book_counts().unprotected == (0 if way.has_stop else 1)

    # It should wait for longer each time, whoever tries.
    for tries, pause in ((4, 2), (5, 4), (6, 8), (7, 8)):
        desk.clock.let_pass(pause - 0.5)
        way.act(desk, request_id)
        assert len(closes(request_id)) == tries - 1
        desk.clock.let_pass(0.5)
        way.act(desk, request_id)
        assert len(closes(request_id)) == tries

    desk.paper.control("DELETE", "faults?id=lost")
    desk.clock.let_pass(9)
    way.act(desk, request_id)
    assert closes(request_id)[-1].state == "FILLED"
    settled(desk, request_id)
    assert told() is None


@pytest.mark.parametrize(("side", "mode"), [("buy", "hedge"), ("sell", "hedge"), ("buy", "one-way")])
@pytest.mark.parametrize(("loss", "lost"), [("dropped before sending", 1), ("late", 0), ("late", 2)])
def test_of_several_parts_any_may_be_lost(desk: Desk, loss: str, lost: int, side: str, mode: str) -> None:
    """The market lot takes 0.004 at most; what is late arrives between the parts that follow, or after them."""
    request_id = opened(desk, IN_TIME, side=side, mode=mode)
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, "market_max_quantity": "0.004"})
    for _ in range(2):
        desk.clock.let_pass(3)
        desk.cycle()
    fault = {**LOSSES[loss], **({"ms": 1_050} if loss == "late" else {})}
    # The parts before it pass.
    if lost:
        desk.paper.add_fault(path=ORDER, method="POST", action="delay", ms=1, count=lost)
    lose(desk, side, **fault)

    IN_TIME.act(desk, request_id)
    for _ in range(2):
        desk.clock.let_pass(6)
        IN_TIME.act(desk, request_id)

    assert desk.ledger.positions == {}
    never_past_flat(desk)
    settled(desk, request_id)


@pytest.mark.parametrize("side", SIDES)
def test_beside_a_part_of_somebody_else_the_first_close_is_settled_first(desk: Desk, side: str) -> None:
    """A second close might take theirs."""
    request_id = opened(desk, IN_TIME, side=side)
    by_hand(desk, side, "one-way", "0.010")
    lose(desk, side, action="drop_before")

    IN_TIME.act(desk, request_id)
    assert [order.state for order in closes(request_id)] == ["UNKNOWN"]

    for _ in range(3):
        desk.clock.let_pass(30)
        desk.cycle()
        IN_TIME.act(desk, request_id)
    assert [order.state for order in closes(request_id)] == ["NOT_ACCEPTED", "FILLED"]
    assert abs(desk.ledger.positions[SYMBOL]) == D("0.010")


@pytest.mark.parametrize("side", SIDES)
def test_a_process_that_died_with_its_close_is_followed_by_the_next(desk: Desk, side: str) -> None:
    request_id = opened(desk, CHAIN, side=side)
    lose(desk, side, action="drop_before", count=None)
    CHAIN.act(desk, request_id)
    desk.paper.control("DELETE", "faults?id=lost")
    first = closes(request_id)[0]
    Order.objects.filter(request_id=request_id, purpose="CLOSE").exclude(pk=first.pk).delete()
    Order.objects.filter(pk=first.pk).update(state="SUBMITTING", sent_at=desk.clock())

    # It should leave a close that is being sent to its sender, and not for long.
    desk.clock.let_pass(0.5)
    PROTECTOR.act(desk, request_id)
    assert len(closes(request_id)) == 1
    desk.clock.let_pass(0.6)
    PROTECTOR.act(desk, request_id)

    assert closes(request_id)[-1].state == "FILLED"
    settled(desk, request_id)


@pytest.mark.parametrize("side", SIDES)
def test_a_fresh_position_whose_stop_is_refused_and_close_lost_is_told_while_it_lasts(
    desk: Desk, client: Client, caplog: pytest.LogCaptureFixture, side: str
) -> None:
    request_id = desk.decide(side=side)
    desk.run(request_id, until="place_order")
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, count=None, id="stops")
    lose(desk, side, action="drop_before", count=None)

    for _ in range(2):
        desk.step("protect_position", request_id)
        desk.clock.let_pass(2.5)

    # It should be called unprotected by every door, and closed by none.
    cache.clear()
    assert "execution_unprotected_positions 1.0" in client.get("/metrics").content.decode()
    health = client.get("/health").json()
    assert health["status"] != "OK"
    assert any(reason.startswith(f"positions: {SYMBOL}") for reason in health["reasons"]), health["reasons"]
    assert (logged(caplog, "position_closed_without_cover"), logged(caplog, "position_not_closed_yet")) == (0, 2)

    desk.paper.control("DELETE", "faults?id=lost")
    desk.clock.let_pass(5)
    desk.step("protect_position", request_id)

    assert desk.request(request_id).state == "FLATTENED"
    assert logged(caplog, "position_closed_without_cover") == 1
    desk.step("record_trade", request_id)
    settled(desk, request_id)


def logged(caplog: pytest.LogCaptureFixture, event: str) -> int:
    return sum(isinstance(record.msg, dict) and record.msg.get("event") == event for record in caplog.records)


def test_health_says_nothing_of_what_is_closed(desk: Desk) -> None:
    request_id = opened(desk, IN_TIME, side="buy")
    lose(desk, "buy", action="drop_before")
    IN_TIME.act(desk, request_id)
    desk.cycle()

    assert (desk.trade(request_id).state, told()) == ("CLOSED", None)
