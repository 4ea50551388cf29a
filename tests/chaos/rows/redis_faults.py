"""Redis goes away, forgets, refuses or dawdles; the books and the exchange must not notice."""

import shutil

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import row

LOST = Bounds(settle_seconds=60)


@row(23, "Redis restarts in the middle of it, with its data", bounds=LOST, short=True)
def redis_restarts(cell: Cell) -> None:
    cell.decide(12)
    cell.wait(lambda: len(cell.stack.states()) > 0, "the burst is on its way")
    pause(cell.random.uniform(0, 0.3))
    cell.world.valkey.stop()
    pause(1)
    cell.world.valkey.start_again()
    cell.decide(6, first=12)
    cell.settle()
    assert_traded(cell, 18)


@row(24, "Redis killed, its data lost", bounds=LOST, short=True)
def redis_loses_everything(cell: Cell) -> None:
    cell.opened(1, first=16)
    await_known_place(cell)
    posted = [post(cell, symbol) for symbol in cell.symbols[:3]]
    cell.decide(9, first=3)
    cell.wait(lambda: len(cell.stack.states()) == 13, "all are in the books")
    sent = cell.rows("SELECT event_id::text FROM execution_outboxevent WHERE sent_at IS NOT NULL")
    cell.world.valkey.kill()
    # What was on the bus and not yet read by our reader died with it.
    read = cell.world.reader.snapshot()[0]
    cell.lost_events |= {row[0] for row in sent} - read.keys()
    shutil.rmtree(cell.world.folder / "valkey")
    cell.world.valkey.start_again()
    # It should say so, for as long as somebody may not have read it, and go on.
    cell.wait(lambda: cell.world.health()["healthy"], "health says that it trades again", within=30)
    await_word_of_loss(cell)
    # It should read and trade what comes now, and keep what REST had accepted.
    cell.decide(4, first=12)
    cell.settle()
    assert {answer["status"] for answer in posted} <= {"filled", "placed", "pending"}
    assert_traded(cell, 17)


def assert_traded(cell: Cell, count: int) -> None:
    """All have become trades, but for those about to leave in the moment in which nobody could count them.

    Without Redis the limiter lets exits leave and no entries. A pool process has one entry in its hands at a time.
    """
    query = "SELECT state, reason FROM execution_executionrequest WHERE state <> 'RECORDED'"
    others = cell.rows(query)
    unexplained = [row for row in others if row[0] != "REJECTED" or "blocked_by=redis" not in row[1]]
    assert not unexplained, unexplained
    assert len(others) <= cell.world.workers, others
    assert cell.outcomes()["RECORDED"] == count - len(others), cell.outcomes()


def await_known_place(cell: Cell) -> None:
    """Wait until it is noted how far decisions are handled: from then on their loss is known for what it is."""
    query = "SELECT FROM execution_streamposition WHERE event_type = 'ai.decision.made'"
    cell.wait(lambda: cell.rows(query), "the place in the stream is noted")


def await_word_of_loss(cell: Cell) -> None:
    """Wait until health tells that the bus has lost what nobody may have read; noticed later, it is the next cell's."""
    cell.told_by_health.append("event_bus: an unknown number of entries")
    cell.wait(lambda: told_by_health(cell, cell.told_by_health[-1]), "health tells of what is lost")


def post(cell: Cell, symbol: str) -> dict[str, str]:
    quantity = cell.base_quantity(symbol)
    answer = cell.world.call(
        "POST", "/api/execution/order", json={"symbol": symbol, "side": cell.side, "quantity": quantity}
    )
    found: dict[str, str] = answer.json()
    return found


@row(25, "Redis full, and Redis slow", bounds=LOST)
def redis_full_and_slow(cell: Cell) -> None:
    held = cell.opened(2)
    cell.stack.redis.config_set("maxmemory", 1)
    try:
        cell.wait(lambda: cell.world.health()["status"] != "OK", "health tells", within=30)
        # An exit that rests at the exchange needs no Redis.
        cell.move_price(held[0], fraction=-0.05)
        cell.wait(lambda: held[0] not in cell.ledger.positions, "the stop has closed the position")
    finally:
        cell.stack.redis.config_set("maxmemory", 0)
    cell.wait(cell.is_healthy, "health says OK again", within=30)
    cell.stack.redis.client_pause(2000)
    cell.decide(4, first=4)
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 6}, cell.outcomes()


@row(26, "limiter's state lost, again and again")
def limiter_state_lost(cell: Cell) -> None:
    cell.decide(16)
    for _ in range(10):
        for key in cell.stack.redis.scan_iter("execution:limiter*"):
            cell.stack.redis.delete(key)
        pause(0.1)
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 16}, cell.outcomes()


@row(62, "nobody relays our events for a while", bounds=LOST)
def nobody_relays(cell: Cell) -> None:
    bridges = [name for name in cell.stack.workers if "bridge" in name]
    cell.stack.kill(*bridges)
    # It should trade all the same: REST needs no bridge.
    answers = [post(cell, symbol) for symbol in cell.symbols[:6]]
    assert {answer["status"] for answer in answers} == {"filled"}, answers
    [(waiting,)] = cell.rows("SELECT count(*) FROM execution_outboxevent WHERE sent_at IS NULL")
    assert waiting >= 6 * 4, waiting
    cell.saw(f"{waiting} events waited")
    cell.stack.start_workers()
    cell.settle()


@row(63, "stream trimmed before it was read", bounds=LOST)
def stream_trimmed(cell: Cell) -> None:
    bridges = [name for name in cell.stack.workers if "bridge" in name]
    cell.stack.kill(*bridges)
    payloads = [cell.decision(symbol) for symbol in cell.symbols[:10]]
    cell.stack.publish(payloads)
    cell.stack.redis.xtrim("quantum:stream:ai.decision.made", maxlen=4, approximate=False)
    cell.decisions += [payload["event_id"] for payload in payloads[-4:]]
    cell.stack.start_workers()
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    # It should say that entries went unread, and how many.
    cell.told_by_health.append("event_bus: 6 entries of ai.decision.made gone unread")
    cell.wait(lambda: told_by_health(cell, cell.told_by_health[0]), "health tells of six entries", within=5)


def told_by_health(cell: Cell, sentence: str) -> bool:
    return any(str(reason).startswith(sentence) for reason in cell.world.health().get("reasons") or [])
