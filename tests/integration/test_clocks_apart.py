"""Our clock and the exchange's are apart: the exchange's is read once, and nothing is lost or sent twice."""

from collections.abc import Iterator

import pytest

from execution.domain.trading import OrderPurpose, PositionSide
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
SKEWS = pytest.mark.parametrize("skew_seconds", [10, -10, 3600, -3600])
CLOCK = "/fapi/v1/time"


@pytest.fixture(autouse=True)
def _clocks_together_again(desk: Desk) -> Iterator[None]:
    yield
    part(desk, 0)


def part(desk: Desk, skew_seconds: int) -> None:
    desk.paper.control("POST", "clock", {"skew_ms": skew_seconds * 1000})


@SKEWS
def test_a_process_that_begins_with_a_wrong_clock_never_signs_it(desk: Desk, skew_seconds: int) -> None:
    part(desk, skew_seconds)

    desk.trade_opened()

    ledger = desk.ledger
    assert [row["code"] for row in ledger.requests if row["status"] >= 400] == []
    assert len(ledger.sent("GET", CLOCK)) == 1
    assert len(ledger.entries_sent) == 1
    desk.check()


@SKEWS
def test_clocks_that_part_while_we_run_cost_one_refusal_and_one_question(desk: Desk, skew_seconds: int) -> None:
    desk.trade_opened(symbol="ETHUSDT")
    part(desk, skew_seconds)
    desk.paper.clear_ledger()

    desk.trade_opened()

    ledger = desk.ledger
    # It should have been refused once, have asked for the time once, and never have widened its receive window.
    assert [row["code"] for row in ledger.requests if row["status"] >= 400] == [-1021]
    assert len(ledger.sent("GET", CLOCK)) == 1
    assert {params["recvWindow"] for params in ledger.entries_sent} == {"3000"}
    assert len(ledger.entries_sent) == 1


@pytest.mark.parametrize("ahead_seconds", [1, 600])
def test_exits_are_booked_when_the_exchange_s_clock_is_ahead(desk: Desk, ahead_seconds: int) -> None:
    """A fill's time is the exchange's already: corrected once more, it would lie in the future."""
    desk.paper.control("POST", "clock", {"advance_ms": ahead_seconds * 1000})
    request_id = desk.trade_opened(stop_loss=49000.0)
    assert desk.server_clock.offset_ms > ahead_seconds * 1000 - 500

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "SL", desk.ledger.net_pnl)
    desk.check()


def test_an_order_that_is_refused_for_its_time_is_sent_again_as_a_counted_attempt(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.exchange.prepare_entry("BTCUSDT", leverage=5, position_side=PositionSide.BOTH)
    # The clocks part between the guard and the wire.
    part(desk, 10)

    assert desk.run(request_id) == "RECORDED"

    assert desk.order(request_id, OrderPurpose.ENTRY).attempts == 2
    assert len(desk.ledger.entries) == 1
    desk.check()


def test_the_limiter_follows_the_exchange_s_clock(desk: Desk) -> None:
    part(desk, 4)

    desk.exchange.positions()

    assert desk.limiter.state().clock_offset_ms == pytest.approx(4_000, abs=1_000)
