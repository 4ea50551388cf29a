"""A process dies at each named moment of a decision's life; nothing is lost or doubled, and no moment is dead code."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any
from uuid import UUID

import pytest

from execution.adapters.stream_names import group_of, stream_of
from execution.api.orders import place_rest_order
from execution.crash_points import CrashPoint, watch_point
from execution.domain.states import REQUEST_FINAL
from execution.models import ExecutionRequest, Order, OutboxEvent, Trade
from tests.support.desk import Desk, decision
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.victim import Victim
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
AI = "ai.decision.made"
P = CrashPoint
STOP_REFUSED = {
    "action": "reply",
    "status": 400,
    "body": {"code": -2021, "msg": "Order would immediately trigger."},
    "execute": False,
}
NOT_SENT = {"action": "reply", "status": 503, "body": "Service Unavailable.", "execute": False}


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a point needs to be reached: which work, which decision, which fault."""

    work: str = "live"
    symbol: str = "BTCUSDT"
    trail_percent: float | None = None
    fault: tuple[str, dict[str, Any]] | None = None


# At its level and beyond it.
TAKEN_BACK = Story(fault=(ALGO_ORDER, STOP_REFUSED | {"count": 2, "match": {"type": "STOP_MARKET"}}))
SENT_AGAIN = Story(fault=(ORDER, NOT_SENT))
LOST = Story(fault=(ORDER, {"action": "drop_after"}))
DENIED = Story(symbol="NOSUCHUSDT")
BY_HAND = Story(work="order")
TRAILED = Story(trail_percent=5.0)
STORIES = {
    P.ORDER_STORED: BY_HAND,
    P.ORDER_STARTED: BY_HAND,
    P.REQUEST_ENDED: DENIED,
    P.CLOSE_WRITTEN: TAKEN_BACK,
    P.CLOSE_ANSWERED: TAKEN_BACK,
    P.CLOSE_SETTLED: TAKEN_BACK,
    P.TRAILING_WRITTEN: TRAILED,
    P.TRAILING_ANSWERED: TRAILED,
    P.TRAILING_SETTLED: TRAILED,
    P.ATTEMPT_WRITTEN: SENT_AGAIN,
    P.ORDER_LOOKED_UP: LOST,
}


def arrange(desk: Desk, story: Story) -> None:
    if story.fault:
        path, fault = story.fault
        desk.paper.add_fault(path=path, method="POST", **fault)
    if story.work == "live":
        exits: dict[str, Any] = {"stop_loss": 49000.0, "take_profit": 51000.0, "trail_percent": story.trail_percent}
        desk.publish(AI, decision(story.symbol, **exits))


def reach_the_target(desk: Desk) -> None:
    """Let the price touch the target once there is a trade to close."""
    if Trade.objects.filter(state="OPEN").exists() and desk.ledger.live_targets:
        desk.paper.set_price("BTCUSDT", "51000")


def run_from_its_state(desk: Desk) -> Callable[[UUID], None]:
    def run(request_id: UUID) -> None:
        desk.run(request_id)

    return run


def settle(desk: Desk) -> None:
    """Let those who come after do their work: what was read and not acknowledged, the monitor, the relay."""
    # Groups are made by the first reading.
    desk.read_bus(start=run_from_its_state(desk))
    waiting: Any = desk.redis.xpending_range(stream_of(AI), group_of(AI), "-", "+", 10)
    for row in waiting:
        desk.redis.xclaim(
            stream_of(AI), group_of(AI), row["consumer"], 0, [row["message_id"]], idle=11_000, retrycount=1
        )
    desk.read_bus(start=run_from_its_state(desk))
    for _ in range(3):
        desk.clock.let_pass(12)
        desk.cycle()
    reach_the_target(desk)
    for _ in range(3):
        desk.clock.let_pass(12)
        desk.cycle()
    while desk.relay():
        pass


def live_through(desk: Desk, story: Story) -> None:
    """Live a story in this process, as the victim does."""
    arrange(desk, story)
    if story.work == "order":
        payload = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.010", "leverage": 5}
        place_rest_order(payload, None, now=desk.clock(), answer_seconds=0)
    settle(desk)
    desk.paper.set_price("BTCUSDT", "50000")
    # The next decision is made now, not when the last story ended.
    desk.clock.ahead = timedelta(0)


def test_no_point_is_dead(desk: Desk) -> None:
    seen: set[CrashPoint] = set()
    end = watch_point(seen.add)
    try:
        for story in (Story(), TAKEN_BACK, SENT_AGAIN, TRAILED, LOST, DENIED, BY_HAND):
            live_through(desk, story)
    finally:
        end()

    assert seen == set(CrashPoint)


@pytest.mark.parametrize("point", list(CrashPoint))
def test_whoever_dies_there_loses_and_doubles_nothing(
    desk: Desk, victim: Callable[..., Victim], tmp_path: Path, point: CrashPoint
) -> None:
    story = STORIES.get(point, Story())
    arrange(desk, story)
    mark = tmp_path / "died"

    with victim(story.work, CRASH_POINT=f"{point}:1:KILL:{mark}", POSITION_MONITOR_INTERVAL_SEC="1") as process:

        def has_died() -> bool:
            reach_the_target(desk)
            return process.ended_by is not None

        eventually(has_died, within=60, every=0.1, what=f"the process dies at {point}")
        assert (process.ended_by, mark.exists()) == (SIGKILL, True)
    settle(desk)

    # It should have one request, ended, with at most one entry, closed books and every event told.
    assert [request.state for request in ExecutionRequest.objects.all() if request.state not in REQUEST_FINAL] == []
    assert ExecutionRequest.objects.count() == 1
    assert len(desk.ledger.entries) <= 1
    assert Order.objects.filter(state__in=["SUBMITTING", "UNKNOWN"]).count() == 0
    desk.check()
    told = list(OutboxEvent.objects.order_by("id").values_list("event_id", "event_type"))
    heard = {event["event_id"] for kind in {kind for _, kind in told} for event in desk.stream(kind)}
    assert heard == {str(event_id) for event_id, _ in told}
