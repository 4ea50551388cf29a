"""What stops entries: the neighbour's emergency stop, silent, broken or at odds with itself, and our kill switch."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import requests

from local_stack.bus import wrapped
from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import row
from tests.chaos.rows.protection import place
from tests.chaos.rows.redis_faults import await_known_place, await_word_of_loss

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
        cell.fault("/fapi/v1/depth", "delay", method="GET", ms=2500, count=None)
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
    cell.stack.kill(*cell.stack.processes)
    cell.stack.redis.flushall()
    cell.lost_events |= {row[0] for row in cell.rows("SELECT event_id::text FROM execution_outboxevent")}
    cell.world.use(cell.world.workers)
    cell.decide(4, first=30)
    # Exits pass.
    cell.move_price(held[0], fraction=-0.05)
    cell.wait(lambda: cell.closed().get(held[0]) == "SL", "the stop is booked")
    cell.settle()
    assert cell.entries_sent() == acknowledged, f"{cell.entries_sent() - acknowledged} entries after the kill switch"
    assert cell.reasons()["KILL_SWITCH_ENGAGED"] >= 4, cell.reasons()
    move_kill_switch(cell, "released")
    await_word_of_loss(cell)


def move_kill_switch(cell: Cell, level: str) -> requests.Response:
    wish = {"level": level, "reason": "chaos"}
    return cell.world.call("POST", "/api/execution/kill-switch", json=wish, timeout=30)


def resting_price(cell: Cell, symbol: str) -> float:
    return float(cell.price_away(symbol, fraction=-0.03))


def rests(cell: Cell, client_order_id: str) -> bool:
    return any(order["status"] == "NEW" for order in cell.ledger.orders if order["clientOrderId"] == client_order_id)
