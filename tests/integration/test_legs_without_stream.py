"""Legs are gone when their position is, while the user-data stream is mute and still believed."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import pytest

from execution.protection.reached_levels import note_reached_levels
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.store.heartbeats import beat
from tests.support.desk import PATIENCE, Desk

pytestmark = pytest.mark.django_db(transaction=True)
# Beat asks for the protector every two seconds, and a second more is the reading's age. What other clients close
# reaches no level of ours: the next regular cycle sees it.
WITHIN_SECONDS, BY_CYCLE_SECONDS, STEP_SECONDS = 5, 10, 1
Way = Callable[[Desk, UUID], None]


def stopped_out(desk: Desk, _: UUID) -> None:
    desk.paper.set_price("BTCUSDT", "48900")


def target_met(desk: Desk, _: UUID) -> None:
    desk.paper.set_price("BTCUSDT", "52100")


def closed_by_hand(desk: Desk, _: UUID) -> None:
    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0", "reduce_only": True})


WAYS: Mapping[str, tuple[Way, int]] = MappingProxyType(
    {
        "a stop fills": (stopped_out, WITHIN_SECONDS),
        "a target fills": (target_met, WITHIN_SECONDS),
        "closed by hand": (closed_by_hand, BY_CYCLE_SECONDS),
    }
)


def believed(desk: Desk) -> None:
    """Let both streams have reported a moment ago: one reports mark prices, the other nothing of what happens."""
    marks = {row["symbol"]: Decimal(row["markPrice"]) for row in desk.person.mark_price()}
    note_reached_levels(marks, now=desk.clock())
    for part in ("user_stream", "mark_stream"):
        beat(part, now=desk.clock(), details={})


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("way", "within"), WAYS.values(), ids=WAYS.keys())
def test_no_leg_outlives_its_position_by_more_than_its_bound(desk: Desk, way: Way, within: int, side: str) -> None:
    desk.clock.stop()
    below, above = 49000, 52000
    levels = {"stop_loss": below if side == "buy" else above, "take_profit": above if side == "buy" else below}
    request_id = desk.trade_opened("BTCUSDT", side, **levels)
    desk.cycle()
    desk.clock.let_pass(0 if within == BY_CYCLE_SECONDS else 7)

    way(desk, request_id)
    for second in range(within):
        desk.clock.let_pass(STEP_SECONDS)
        believed(desk)
        if second % 2 == 0:
            ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(seconds=25))
    if within == BY_CYCLE_SECONDS:
        desk.cycle(by_beat=True)

    assert desk.ledger.live() == []
    assert desk.trade(request_id).state == "CLOSED"
    desk.check()
