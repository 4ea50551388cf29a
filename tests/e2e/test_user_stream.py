"""The process of the user-data stream: it tells what the monitor would find much later, dies, and is replaced."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from local_stack.bus import stream_key, wrapped
from local_stack.processes import user_stream
from tests.support.databases import copied_database, redis_address
from tests.support.stack import SHORT, CeleryStack, crew
from tests.support.waiting import eventually

REDIS_DATABASE = 7
# No cycle of beat's comes in time to help.
SETTINGS = SHORT | {"POSITION_MONITOR_INTERVAL_SEC": "120"}
WITHIN = 40.0
pytestmark = [pytest.mark.e2e, pytest.mark.django_db]


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    folder, redis_url = tmp_path_factory.mktemp("stream"), redis_address(REDIS_DATABASE)
    with (
        copied_database("stream") as database_url,
        CeleryStack(
            database_url=database_url, redis_url=redis_url, folder=folder, programs=crew(folder), settings=SETTINGS
        ) as stack,
    ):
        yield stack


@pytest.fixture
def stack(running: CeleryStack) -> CeleryStack:
    """The running service, flat, with its stream at work."""
    running.start_workers()
    await_cover(running, "stream")
    running.close_everything_by_hand()
    return running


def told(stack: CeleryStack) -> dict[str, Any]:
    """Return the stream's own words about itself; nothing before the first."""
    rows = stack.rows("SELECT details FROM execution_heartbeat WHERE part = 'user_stream'")
    return dict(rows[0][0]) if rows else {}


def await_cover(stack: CeleryStack, by: str) -> None:
    eventually(lambda: told(stack).get("covering") == by, within=WITHIN, what=f"{by} covers", every=0.1)


def place(stack: CeleryStack, symbol: str, price: str = "") -> str:
    """Send a person's order of 0.01 through the bus, with stop and target; return its request's id."""
    key = str(uuid4())
    payload = {"symbol": symbol, "side": "buy", "quantity": "0.010", "request_id": key, "leverage": 5}
    payload |= {"stop_loss": "48000", "take_profit": "52000"} | ({"price": price} if price else {})
    known = set(stack.rows("SELECT id FROM execution_executionrequest"))
    stack.redis.xadd(stream_key("signal.execute"), wrapped("signal.execute", payload, source="test"))
    [(request_id,)] = eventually(
        lambda: set(stack.rows("SELECT id FROM execution_executionrequest")) - known,
        within=WITHIN,
        what="the order is taken in",
    )
    return str(request_id)


def await_state(stack: CeleryStack, table: str, key: str, state: str) -> None:
    def seen() -> bool:
        (row,) = stack.rows(f"SELECT state FROM execution_{table} WHERE id = %s", key) or [("no row",)]  # noqa: S608
        assert row[0] == state, row[0]
        return True

    eventually(seen, within=WITHIN, what=f"{table} {state}", every=0.1)


def cycles(stack: CeleryStack) -> Any:
    """Return when the last monitor cycle began."""
    return stack.rows("SELECT details ->> 'begun_at' FROM execution_heartbeat WHERE part = 'monitor'")


def test_fills_and_exits_need_no_cycle(stack: CeleryStack) -> None:
    stack.paper.set_price("BTCUSDT", "50000")
    before = cycles(stack)
    request_id = place(stack, "BTCUSDT", price="49000")
    await_state(stack, "executionrequest", request_id, "ACCEPTED")

    stack.paper.set_price("BTCUSDT", "48900")
    await_state(stack, "executionrequest", request_id, "RECORDED")
    evidence = "SELECT last_evidence FROM execution_order WHERE request_id = %s AND purpose = 'ENTRY'"
    assert stack.rows(evidence, request_id)[0][0].startswith("stream: FILLED")
    stack.check()

    stack.paper.set_price("BTCUSDT", "47990")
    await_state(stack, "trade", request_id, "CLOSED")
    assert stack.rows("SELECT close_reason FROM execution_trade WHERE id = %s", request_id) == [("SL",)]
    stack.check()
    assert cycles(stack) == before


def test_an_exit_while_the_process_is_dead_is_found_when_it_is_back(stack: CeleryStack) -> None:
    stack.paper.set_price("BTCUSDT", "50000")
    request_id = place(stack, "BTCUSDT")
    await_state(stack, "trade", request_id, "OPEN")

    (killed,) = stack.kill("user-stream")
    stack.paper.set_price("BTCUSDT", "47990")
    stack.start_workers()
    await_state(stack, "trade", request_id, "CLOSED")

    # The last word of the dead one is still believed for a moment.
    eventually(lambda: not told(stack)["process"].endswith(f":{killed}"), within=WITHIN, what="the new one tells")
    await_cover(stack, "stream")
    stack.check()


def test_a_second_process_stands_by_and_takes_over(stack: CeleryStack) -> None:
    first = stack.processes["user-stream"].pid
    alive = stack.programs["user-stream"].ready_file
    assert alive is not None
    second = replace(
        user_stream(alive.parent / "second"), name="user-stream-2", ready_file=alive.parent / "second" / alive.name
    )
    (alive.parent / "second").mkdir()
    stack.launch(second)
    eventually(second.ready_file.exists, within=WITHIN, what="the second process has begun")  # type: ignore[union-attr]
    assert told(stack)["process"].endswith(f":{first}")

    stack.kill("user-stream")
    successor = stack.processes["user-stream-2"].pid
    eventually(lambda: told(stack)["process"].endswith(f":{successor}"), within=WITHIN, what="the other takes over")
    await_cover(stack, "stream")

    # It should hear, and the first one, started again, should stand by.
    stack.start_workers()
    stack.paper.set_price("BTCUSDT", "50000")
    request_id = place(stack, "BTCUSDT", price="49000")
    await_state(stack, "executionrequest", request_id, "ACCEPTED")
    stack.paper.set_price("BTCUSDT", "48900")
    await_state(stack, "executionrequest", request_id, "RECORDED")
    assert told(stack)["process"].endswith(f":{successor}")
    stack.kill("user-stream-2")
    stack.check()


def test_a_restarted_database_costs_the_duty_for_a_moment(stack: CeleryStack) -> None:
    process = stack.processes["user-stream"].pid

    assert stack.cut_database_connections() >= 1
    stack.paper.set_price("BTCUSDT", "50000")
    request_id = place(stack, "BTCUSDT")
    await_state(stack, "trade", request_id, "OPEN")

    # It should have begun anew, in the same process: with another session, lock and connection.
    await_cover(stack, "stream")
    assert stack.processes["user-stream"].poll() is None
    assert told(stack)["process"].endswith(f":{process}")
    stack.check()
