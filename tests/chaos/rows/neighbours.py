"""What stops entries: the neighbour's emergency stop, silent, broken or at odds with itself, and our kill switch."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import requests

from local_stack.bus import wrapped
from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.matrix import row
from tests.chaos.rows.protection import place
from tests.chaos.rows.redis_faults import await_known_place, await_word_of_loss

TRIPPED = "ess.tripped"
TRIPS, TRIPS_GROUP = f"quantum:stream:{TRIPPED}", f"quantum:group:execution:{TRIPPED}"
HOLD_SECONDS = 3
# What the neighbour does, and how the refused decisions name it.
TROUBLES = {"500": "HTTP 500", "garbage": "without a JSON object", "slow": "ReadTimeout"}


@row(45, "emergency stop down, slow, broken, tripped between check and sending", short=True)
def emergency_stop_fails(cell: Cell) -> None:
    with cell.world.with_settings(ESS_FAIL_MODE="closed"):
        for place, trouble in enumerate(TROUBLES):
            if trouble == "slow":
                cell.risk.answer_normally()
                cell.risk.delay(2)
            else:
                cell.risk.answer("{" if trouble == "garbage" else {}, status=500 if trouble == "500" else 200)
            chosen = cell.decide(2, first=2 * place)
            cell.settle()
            reasons = cell.rows("SELECT reason FROM execution_executionrequest WHERE symbol = ANY(%s)", chosen)
            cell.struck(
                f"stopped by {trouble}", sum(TROUBLES[trouble] in sentence for (sentence,) in reasons), exactly=2
            )
        cell.risk.answer_normally()
        assert cell.entries_sent() == 0, "an entry was sent without an answer"
        assert cell.reasons() == {"ESS_BLOCKED": 6}, cell.reasons()
        # It should stop what was cleared and not yet sent.
        fault = cell.fault("/fapi/v1/depth", "delay", method="GET", ms=2500, count=None)
        cell.decide(2, first=6)
        cell.wait(lambda: cell.hits(fault) >= 1, "one is between the check and its sending")
        cell.struck("requests under way at the trip", cell.unfinished(), between=(1, 2))
        cell.risk.trip("chaos")
        cell.settle()
        assert cell.entries_sent() == 0, "an entry was sent after the trip"
        assert cell.reasons() == {"ESS_BLOCKED": 8}, cell.reasons()
        # It should trade again when the neighbour allows it and the trip has run out.
        cell.paper.clear_faults()
        cell.risk.restore()
        pause(HOLD_SECONDS)
        cell.opened(1, first=8)


@row(46, "trip by event against a service that says ARMED; stamped an hour ago; an old entry read again")
def trip_and_service_disagree(cell: Cell) -> None:
    newest: Any = cell.stack.redis.xrevrange(TRIPS, count=1)
    before = newest[0][0] if newest else "0"
    publish_trip(cell, datetime.now(UTC))
    await_trip(cell, 1)
    cell.decide(2)
    cell.settle()
    assert cell.entries_sent() == 0
    pause(HOLD_SECONDS)
    # It should stop as well for what arrives now, whatever its sender's clock says.
    publish_trip(cell, datetime.now(UTC) - timedelta(hours=1))
    await_trip(cell, 2)
    cell.decide(2, first=2)
    cell.settle()
    cell.struck("decisions stopped by a trip", cell.reasons()["ESS_BLOCKED"], exactly=4)
    assert cell.entries_sent() == 0
    pause(HOLD_SECONDS)
    # It should take an entry that is itself old for history.
    cell.stack.redis.xgroup_setid(TRIPS, TRIPS_GROUP, before)
    cell.wait(lambda: cell.world.health()["consumer_lag"] == 0, "the old entries are read again")
    cell.decide(2, first=4)
    cell.settle()
    cell.struck("trips read", trips_read(cell), exactly=2)
    assert cell.outcomes() == {"DENIED": 4, "RECORDED": 2}, cell.outcomes()


def await_trip(cell: Cell, number: int) -> None:
    """Wait until so many trips are in the journal and entries are blocked."""
    cell.wait(lambda: trips_read(cell) == number, "the trip is read")
    cell.wait(lambda: cell.rows("SELECT permitted FROM execution_essstatus") == [(False,)], "the trip is known")


def trips_read(cell: Cell) -> int:
    """Return how many trips the journal records."""
    query = "SELECT count(*) FROM execution_auditevent WHERE entity = 'ess' AND trigger = %s"
    [(trips,)] = cell.rows(query, TRIPPED)
    return int(trips)


def publish_trip(cell: Cell, at: datetime) -> None:
    payload = {"reason": "chaos", "timestamp": at.isoformat(), "event_id": str(uuid4())}
    cell.stack.redis.xadd(TRIPS, wrapped(TRIPPED, payload, source="chaos"))


@row(47, "kill switch under load, then a restart and a lost Redis", bounds=Bounds(settle_seconds=60))
def kill_switch_under_load(cell: Cell) -> None:
    held = cell.opened(2)
    await_known_place(cell)
    resting = place(cell, cell.symbols[2], price=resting_price(cell, cell.symbols[2]))
    assert resting["status"] == "placed", resting
    cell.decide(20, first=4)
    cell.wait(lambda: sum(cell.entries().values()) >= 5, "the burst is on its way")
    answer = cell.world.call(
        "POST", "/api/execution/kill-switch", json={"level": "halt", "reason": "chaos"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    acknowledged = cell.entries_sent()
    # It should cancel the entry that rests, and let nothing new out, also not after a restart without Redis.
    cell.wait(lambda: not rests(cell, resting["client_order_id"]), "the resting entry is cancelled", within=5)
    killed = cell.stack.kill(*cell.stack.processes)
    cell.struck("processes killed", ended(killed), between=(8, 40))
    keys = cell.stack.redis.dbsize()
    cell.stack.redis.flushall()
    cell.struck("keys lost", keys - cell.stack.redis.dbsize(), between=(10, 100_000))
    cell.lost_events |= {row[0] for row in cell.rows("SELECT event_id::text FROM execution_outboxevent")}
    cell.world.use(cell.world.workers)
    cell.decide(4, first=30)
    # Exits pass.
    cell.move_price(held[0], fraction=-0.05)
    cell.wait(lambda: cell.closed().get(held[0]) == "SL", "the stop is booked")
    cell.settle()
    assert cell.entries_sent() == acknowledged, f"{cell.entries_sent() - acknowledged} entries after the kill switch"
    stopped = cell.reasons()["KILL_SWITCH_ENGAGED"]
    cell.struck("decisions stopped by the switch", stopped, between=(4, 4 + 20 - 2))
    outcomes = cell.outcomes()
    # The two that were held, the one that rested, the burst and the four after the restart.
    assert sum(outcomes.values()) == 2 + 1 + 20 + 4, outcomes
    assert (outcomes["CANCELED"], outcomes["RECORDED"]) == (1, 26 - stopped - outcomes["NOT_ACCEPTED"]), outcomes
    assert outcomes["NOT_ACCEPTED"] <= cell.world.workers, outcomes
    move_kill_switch(cell, "released")
    await_word_of_loss(cell)


def move_kill_switch(cell: Cell, level: str) -> requests.Response:
    wish = {"level": level, "reason": "chaos"}
    return cell.world.call("POST", "/api/execution/kill-switch", json=wish, timeout=30)


def resting_price(cell: Cell, symbol: str) -> float:
    return float(cell.price_away(symbol, fraction=-0.03))


def rests(cell: Cell, client_order_id: str) -> bool:
    return any(order["status"] == "NEW" for order in cell.ledger.orders if order["clientOrderId"] == client_order_id)
