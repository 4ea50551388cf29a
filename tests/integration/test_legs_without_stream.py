"""Legs are gone when their position is, while the user-data stream is mute and still believed."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

import pytest

from execution.reconciliation.stop_watchdog import ensure_cover
from execution.store.heartbeats import beat
from tests.support.desk import PATIENCE, Desk

pytestmark = pytest.mark.django_db(transaction=True)
# Beat asks for the protector every two seconds, and a second more is the reading's age.
WITHIN_SECONDS, STEP_SECONDS = 5, 1
Way = Callable[[Desk, UUID], None]


def stopped_out(desk: Desk, _: UUID) -> None:
    desk.paper.set_price("BTCUSDT", "48900")


def target_met(desk: Desk, _: UUID) -> None:
    desk.paper.set_price("BTCUSDT", "52100")


def closed_by_hand(desk: Desk, _: UUID) -> None:
    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0", "reduce_only": True})


WAYS: Mapping[str, Way] = MappingProxyType(
    {"a stop fills": stopped_out, "a target fills": target_met, "closed by hand": closed_by_hand}
)


def believed(desk: Desk) -> None:
    """Let both streams have reported a moment ago: they live, and say nothing of what happens."""
    for part in ("user_stream", "mark_stream"):
        beat(part, now=desk.clock(), details={})


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_no_leg_outlives_its_position_by_five_seconds(desk: Desk, way: Way, side: str) -> None:
    desk.clock.stop()
    below, above = 49000, 52000
    levels = {"stop_loss": below if side == "buy" else above, "take_profit": above if side == "buy" else below}
    request_id = desk.trade_opened("BTCUSDT", side, **levels)
    desk.cycle()
    desk.clock.let_pass(7)

    way(desk, request_id)
    for second in range(WITHIN_SECONDS):
        desk.clock.let_pass(STEP_SECONDS)
        believed(desk)
        if second % 2 == 0:
            ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(seconds=25))

    assert desk.ledger.live() == []
    assert desk.trade(request_id).state == "CLOSED"
    desk.check()
