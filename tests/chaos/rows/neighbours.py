"""The emergency stop: silent, slow, broken, tripped in the middle, or at odds with its own events."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from local_stack.bus import wrapped
from tests.chaos.cell import Cell, pause
from tests.chaos.matrix import row

TRIPPED = "ess.tripped"
HOLD_SECONDS = 3


@row(45, "emergency stop down, slow, broken, tripped between check and sending", short=True)
def emergency_stop_fails(cell: Cell) -> None:
    with cell.world.with_settings(ESS_FAIL_MODE="closed"):
        for place, trouble in enumerate(("500", "garbage", "slow")):
            if trouble == "slow":
                cell.risk.answer_normally()
                cell.risk.delay(2)
            else:
                cell.risk.answer("{" if trouble == "garbage" else {}, status=500 if trouble == "500" else 200)
            cell.decide(2, first=2 * place)
            cell.settle()
        cell.risk.answer_normally()
        assert cell.entries_sent() == 0, "an entry was sent without an answer"
        assert cell.reasons() == {"ESS_BLOCKED": 6}, cell.reasons()
        # It should stop what was cleared and not yet sent.
        cell.fault("/fapi/v1/ticker/bookTicker", "delay", method="GET", ms=1500, count=None)
        cell.decide(2, first=6)
        cell.wait(lambda: cell.outcomes()["CLEARED"] + cell.outcomes()["RECEIVED"] == 2, "they are under way")
        cell.wait(lambda: cell.outcomes()["CLEARED"] >= 1, "one is cleared")
        cell.risk.trip("chaos")
        cell.settle()
        assert cell.entries_sent() == 0, "an entry was sent after the trip"
        cell.risk.restore()


@row(46, "trip by event against a service that says ARMED; old trip replayed")
def trip_and_service_disagree(cell: Cell) -> None:
    publish_trip(cell, datetime.now(UTC))
    cell.wait(lambda: cell.rows("SELECT permitted FROM execution_essstatus") == [(False,)], "the trip is known")
    cell.decide(2)
    cell.settle()
    assert (cell.reasons()["ESS_BLOCKED"], cell.entries_sent()) == (2, 0)
    pause(HOLD_SECONDS)
    # It should take a replayed trip for history once its hold has run out.
    publish_trip(cell, datetime.now(UTC) - timedelta(hours=1))
    pause(1)
    cell.decide(2, first=2)
    cell.settle()
    assert cell.outcomes() == {"REFUSED": 2, "RECORDED": 2}, cell.outcomes()


def publish_trip(cell: Cell, at: datetime) -> None:
    payload = {"reason": "chaos", "timestamp": at.isoformat(), "event_id": str(uuid4())}
    cell.stack.redis.xadd(f"quantum:stream:{TRIPPED}", wrapped(TRIPPED, payload, source="chaos"))
