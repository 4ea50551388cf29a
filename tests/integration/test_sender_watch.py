"""The stream leaves to a living sender what its answer settles, and settles it for one that has died."""

from collections.abc import Iterator

import pytest

from execution.crash_points import CrashPoint
from execution.models import AuditEvent
from execution.user_stream.sender_watch import AFTER
from tests.support.desk import Desk
from tests.support.interference import at_point
from tests.support.listener import Listener

pytestmark = pytest.mark.django_db


class DiedError(BaseException):
    """The process ends here."""


def die() -> None:
    raise DiedError


@pytest.fixture
def listener(desk: Desk) -> Iterator[Listener]:
    desk.clock.stop()
    with Listener(desk=desk, cycles=False) as made:
        # The first cycle of a connection finds nothing to do.
        made.cycles = True
        made.connect()
        made.cycles = False
        yield made


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_entry_is_settled_by_the_step_that_waits_for_its_answer(desk: Desk, listener: Listener, side: str) -> None:
    request_id = desk.decide(side=side)
    desk.run(request_id, until="guard_safety")

    def heard() -> None:
        listener.hear("ORDER_TRADE_UPDATE", 2)
        assert desk.order(request_id, "ENTRY").state == "SUBMITTING"

    with at_point(CrashPoint.ENTRY_ANSWERED, heard):
        desk.step("place_order", request_id)

    entry = desk.order(request_id, "ENTRY")
    assert (entry.state, entry.last_evidence.partition(":")[0]) == ("FILLED", "answer")
    # It should have kept the fill, from which the books are made without a query.
    desk.paper.clear_ledger()
    assert desk.run(request_id) == "RECORDED"
    assert not [call for call in desk.paper.ledger()["requests"] if call["path"] == "/fapi/v1/userTrades"]
    # It should look once, and find nothing to do.
    lines = AuditEvent.objects.filter(entity="order", entity_id=entry.client_order_id).count()
    listener.until(lambda: not listener.session.handlers.sender_watch._left, what="the look is over")
    assert AuditEvent.objects.filter(entity="order", entity_id=entry.client_order_id).count() == lines
    desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_entry_whose_sender_has_died_is_settled_a_moment_later(desk: Desk, listener: Listener, side: str) -> None:
    request_id = desk.decide(side=side)
    desk.run(request_id, until="guard_safety")
    with at_point(CrashPoint.ENTRY_ANSWERED, die), pytest.raises(DiedError):
        desk.step("place_order", request_id)
    died_at = desk.clock()

    listener.until(lambda: desk.order(request_id, "ENTRY").state == "FILLED", what="the stream settles the entry")

    assert desk.clock() - died_at < 3 * AFTER
    assert desk.order(request_id, "ENTRY").last_evidence.startswith("stream: FILLED")
    assert desk.run(request_id) == "RECORDED"
    desk.check()


def test_a_stop_whose_sender_has_died_is_settled_a_moment_later(desk: Desk, listener: Listener) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    with at_point(CrashPoint.STOP_ANSWERED, die), pytest.raises(DiedError):
        desk.step("protect_position", request_id)
    listener.hear("ALGO_UPDATE")
    assert desk.order(request_id, "STOP").state == "SUBMITTING"

    listener.until(lambda: desk.order(request_id, "STOP").state == "ACCEPTED", what="the stream settles the stop")

    assert desk.run(request_id) == "RECORDED"
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    desk.check()


def test_an_order_that_was_sent_longer_ago_is_settled_at_once(desk: Desk, listener: Listener) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    with at_point(CrashPoint.STOP_ANSWERED, die), pytest.raises(DiedError):
        desk.step("protect_position", request_id)
    desk.clock.let_pass(AFTER.total_seconds())

    listener.hear("ALGO_UPDATE")

    assert desk.order(request_id, "STOP").state == "ACCEPTED"
