"""Time in force of a LIMIT entry: each word at the exchange, what becomes of its rest, and what has filled."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.crash_points import CrashPoint
from execution.models import PositionSlot
from execution.queries.requests import story_of
from execution.queries.story import lines
from tests.support.desk import Desk
from tests.support.interference import at_point
from tests.support.ledger import ORDER

pytestmark = pytest.mark.django_db
# The book's best prices are 49999.9 and 50000.1. `meets` takes from it, `rests` does not.
PRICES = {
    "buy": {"meets": "50010", "rests": "49000", "stop": "48000", "moved": "48990"},
    "sell": {"meets": "49990", "rests": "51000", "stop": "52000", "moved": "51010"},
}
MODES = pytest.mark.parametrize("mode", ["one-way", "hedge"])
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])


@pytest.fixture
def _hedge(desk: Desk, mode: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")


def asked(desk: Desk, side: str, price: str, **fields: Any) -> UUID:
    words = PRICES[side]
    return desk.signal(side=side, price=words[price], stop_loss=words["stop"], **fields)


def sent(desk: Desk) -> dict[str, Any]:
    [params] = desk.ledger.sent("POST", ORDER)
    return {name: params.get(name) for name in ("timeInForce", "goodTillDate")}


def assert_ended_empty(desk: Desk, request_id: UUID, state: str, code: str) -> None:
    request = desk.request(request_id)
    assert (request.state, request.reason_code) == (state, code)
    assert desk.event(request_id, "order.failed")["reason_code"] == code
    # It should have left nothing, and given the symbol back.
    assert (desk.ledger.positions, desk.ledger.live()) == ({}, [])
    assert desk.person.get_orders(symbol="BTCUSDT") == []
    assert not PositionSlot.objects.filter(request_id=request_id).exists()
    desk.check()


@pytest.mark.usefixtures("_hedge")
@MODES
@SIDES
@pytest.mark.parametrize("word", ["IOC", "FOK"])
def test_what_fills_at_once_and_whole_is_a_trade(desk: Desk, side: str, word: str, mode: str) -> None:  # noqa: ARG001
    request_id = asked(desk, side, "meets", time_in_force=word)

    assert desk.run(request_id) == "RECORDED"

    assert sent(desk) == {"timeInForce": word, "goodTillDate": None}
    assert (desk.order(request_id, "ENTRY").time_in_force, desk.request(request_id).entry_expires_at) == (word, None)
    assert desk.trade(request_id).quantity == Decimal("0.010")
    assert [Decimal(row["quantity"]) for row in desk.ledger.live_stops] == [Decimal("0.010")]
    desk.check()


@pytest.mark.usefixtures("_hedge")
@MODES
@SIDES
def test_an_ioc_that_fills_in_part_is_a_protected_trade_of_that_part(desk: Desk, side: str, mode: str) -> None:  # noqa: ARG001
    desk.paper.control("POST", "portions", {"fraction": 0.4})
    request_id = asked(desk, side, "meets", time_in_force="IOC")

    assert desk.run(request_id) == "RECORDED"

    entry = desk.order(request_id, "ENTRY")
    assert (entry.state, entry.executed_quantity) == ("EXPIRED", Decimal("0.004"))
    assert desk.trade(request_id).quantity == Decimal("0.004")
    assert [Decimal(row["quantity"]) for row in desk.ledger.live_stops] == [Decimal("0.004")]
    assert desk.events(request_id).count("order.failed") == 0
    desk.check()


@pytest.mark.usefixtures("_hedge")
@MODES
@SIDES
def test_an_ioc_that_meets_nothing_ends_and_gives_the_symbol_back(desk: Desk, side: str, mode: str) -> None:  # noqa: ARG001
    request_id = asked(desk, side, "rests", time_in_force="IOC")

    assert desk.run(request_id) == "CANCELED"

    assert desk.request(request_id).reason == (
        f"ENTRY_ENDED_WITHOUT_FILL: order_state=EXPIRED time_in_force=IOC limit={PRICES[side]['rests']}"
    )
    assert_ended_empty(desk, request_id, "CANCELED", "ENTRY_ENDED_WITHOUT_FILL")
    # The symbol should take the next decision.
    assert desk.run(asked(desk, side, "meets")) == "RECORDED"


@SIDES
def test_a_fok_that_the_book_cannot_fill_is_refused_by_name(desk: Desk, side: str) -> None:
    request_id = asked(desk, side, "rests", time_in_force="FOK")

    assert desk.run(request_id) == "REJECTED"

    reason = desk.request(request_id).reason
    assert reason.startswith("FOK_NOT_FILLABLE: code=-5021 message=")
    assert reason.endswith(f" time_in_force=FOK limit={PRICES[side]['rests']}")
    assert desk.event(request_id, "order.failed")["error_code"] == -5021
    assert_ended_empty(desk, request_id, "REJECTED", "FOK_NOT_FILLABLE")


@SIDES
def test_a_post_only_entry_that_meets_the_book_is_not_sent(desk: Desk, side: str) -> None:
    request_id = asked(desk, side, "meets", time_in_force="post_only")

    assert desk.run(request_id) == "DENIED"

    best = {"buy": "50000.1", "sell": "49999.9"}[side]
    assert desk.request(request_id).reason == f"POST_ONLY_WOULD_TAKE: limit={PRICES[side]['meets']} best={best}"
    assert desk.ledger.entries_sent == []
    assert_ended_empty(desk, request_id, "DENIED", "POST_ONLY_WOULD_TAKE")


@pytest.mark.usefixtures("_hedge")
@MODES
@SIDES
def test_a_post_only_entry_that_the_book_has_come_to_is_refused_by_the_exchange(
    desk: Desk,
    side: str,
    mode: str,  # noqa: ARG001
) -> None:
    request_id = asked(desk, side, "rests", time_in_force="GTX")

    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: desk.paper.set_price("BTCUSDT", PRICES[side]["moved"])):
        assert desk.run(request_id) == "REJECTED"

    reason = desk.request(request_id).reason
    assert reason.startswith("POST_ONLY_WOULD_TAKE: code=-5022 message=")
    assert reason.endswith(f" time_in_force=GTX limit={PRICES[side]['rests']}")
    # It should not have been sent again: the same limit would take again.
    assert sent(desk)["timeInForce"] == "GTX"
    assert desk.order(request_id, "ENTRY").attempts == 1
    assert_ended_empty(desk, request_id, "REJECTED", "POST_ONLY_WOULD_TAKE")


@SIDES
def test_a_post_only_refusal_whose_answer_is_lost_ends_by_evidence(desk: Desk, side: str) -> None:
    request_id = asked(desk, side, "rests", time_in_force="GTX")
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after")

    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: desk.paper.set_price("BTCUSDT", PRICES[side]["moved"])):
        assert desk.run(request_id) == "UNKNOWN"
    for _ in range(4):
        desk.clock.let_pass(11)
        desk.cycle()

    # The exchange keeps no record of the refusal, so absence is what proves it.
    assert_ended_empty(desk, request_id, "NOT_ACCEPTED", "ABSENCE_PROVEN")


@pytest.mark.usefixtures("_hedge")
@MODES
@SIDES
def test_a_post_only_entry_rests_until_its_time_which_only_we_keep(desk: Desk, side: str, mode: str) -> None:  # noqa: ARG001
    request_id = asked(desk, side, "rests", time_in_force="GTX", expires_in_seconds=120)
    assert desk.run(request_id) == "ACCEPTED"
    assert sent(desk) == {"timeInForce": "GTX", "goodTillDate": None}
    entry = desk.order(request_id, "ENTRY")
    desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.004"})

    desk.paper.control("POST", "clock", {"advance_ms": 121_000})
    desk.clock.let_pass(121)
    desk.cycle()
    desk.cycle()

    entry = desk.order(request_id, "ENTRY")
    assert (entry.state, entry.executed_quantity) == ("CANCELED", Decimal("0.004"))
    assert desk.trade(request_id).quantity == Decimal("0.004")
    assert [Decimal(row["quantity"]) for row in desk.ledger.live_stops] == [Decimal("0.004")]
    desk.check()


@pytest.mark.parametrize("fields", [{}, {"time_in_force": "GTX"}, {"time_in_force": "GTC"}])
def test_without_a_time_of_its_own_the_policy_ends_it(desk: Desk, fields: dict[str, Any]) -> None:
    request_id = asked(desk, "buy", "rests", **fields)
    assert desk.run(request_id) == "ACCEPTED"

    request = desk.request(request_id)
    assert request.entry_expires_at == request.decided_at + timedelta(hours=1)
    desk.paper.control("POST", "clock", {"advance_ms": 3_601_000})
    desk.clock.let_pass(3601)
    desk.cycle()

    assert_ended_empty(desk, request_id, "CANCELED", "ENTRY_EXPIRED")


@SIDES
def test_a_named_end_is_kept_to_the_second(desk: Desk, side: str) -> None:
    end = (desk.clock() + timedelta(seconds=900)).replace(microsecond=0)
    request_id = asked(desk, side, "rests", time_in_force="GTD", expires_at=end.isoformat())
    assert desk.run(request_id) == "ACCEPTED"

    assert desk.request(request_id).entry_expires_at == end
    params = sent(desk)
    assert params["timeInForce"] == "GTD"
    # By the exchange's clock, which may differ by less than a second from ours here.
    assert 0 <= int(params["goodTillDate"]) / 1000 - end.timestamp() <= 1
    desk.paper.control("POST", "clock", {"advance_ms": 902_000})
    desk.clock.let_pass(902)
    desk.cycle()

    assert_ended_empty(desk, request_id, "CANCELED", "ENTRY_EXPIRED")


def test_an_end_that_has_passed_sends_nothing(desk: Desk) -> None:
    end = desk.clock() - timedelta(seconds=5)
    request_id = asked(desk, "buy", "rests", expires_at=end.isoformat())

    assert desk.run(request_id) == "EXPIRED"

    request = desk.request(request_id)
    assert request.reason.startswith("SIGNAL_TOO_OLD: expected<=-5s ")
    assert request.reason.endswith(f" good_till={end.isoformat()}")
    assert desk.ledger.entries_sent == []


def test_explain_names_the_time_in_force(desk: Desk) -> None:
    request_id = asked(desk, "buy", "meets", time_in_force="IOC")
    desk.run(request_id)

    told = "\n".join(lines(story_of(request_id)))

    assert "BTCUSDT LONG LIMIT IOC " in told
    assert "BUY LIMIT IOC quantity=" in told
