"""Our clock and the exchange's are apart: the exchange's is read once, and nothing is lost or sent twice."""

import pytest

from tests.support.desk import Desk

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("skew_seconds", [10, -10, 3600, -3600])
def test_a_decision_is_traded_though_the_clocks_are_apart(desk: Desk, skew_seconds: int) -> None:
    desk.paper.control("POST", "clock", {"skew_ms": skew_seconds * 1000})

    desk.trade_opened()

    ledger = desk.ledger
    # It should have been refused once, have asked for the time once, and never have widened its receive window.
    assert [row["code"] for row in ledger.requests if row["status"] >= 400] == [-1021]
    assert len(ledger.sent("GET", "/fapi/v1/time")) == 1
    assert {params["recvWindow"] for params in ledger.entries_sent} == {"3000"}
    assert len(ledger.entries_sent) == 1
    desk.check()


def test_an_order_that_is_refused_for_its_time_is_sent_again_as_a_counted_attempt(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.exchange.set_leverage("BTCUSDT", 5)
    # The clocks part between the guard and the wire.
    desk.paper.control("POST", "clock", {"skew_ms": 10_000})

    assert desk.run(request_id) == "RECORDED"

    assert desk.order(request_id, "ENTRY").attempts == 2
    assert len(desk.ledger.entries) == 1
    desk.check()
