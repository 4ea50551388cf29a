"""The protector as a process: order workers stand still or are dead between an entry's fill and its stop."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from local_stack.bus import stream_key, wrapped
from tests.support.databases import copied_database, redis_address
from tests.support.ledger import Ledger
from tests.support.stack import SHORT, CeleryStack, children_of, crew
from tests.support.waiting import eventually

REDIS_DATABASE = 6
WITHIN = 40.0
# By the exchange's own times: three seconds on an idle machine. The monitor would take two minutes here.
BOUND_SECONDS = 15.0
pytestmark = [pytest.mark.e2e, pytest.mark.django_db]


@pytest.fixture
def stack(
    tmp_path: Path,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    """The service without its user-data stream, its monitor's next cycle two minutes away, stopped behind a fill."""
    ambush = {"CRASH_POINT": f"ENTRY_SETTLED:1:STOP:{tmp_path / 'stopped'}", "POSITION_MONITOR_INTERVAL_SEC": "120"}
    programs = [program for program in crew(tmp_path) if program.name != "user-stream"]
    with (
        copied_database("protector") as database_url,
        CeleryStack(
            database_url=database_url,
            redis_url=redis_address(REDIS_DATABASE),
            folder=tmp_path,
            programs=programs,
            settings=SHORT | ambush | {"CELERY_VISIBILITY_TIMEOUT_SECONDS": "60"},
        ) as running,
    ):
        running.start_workers()
        yield running


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_a_position_gets_its_stop_while_no_order_worker_works(stack: CeleryStack, tmp_path: Path, ending: str) -> None:
    payload = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.010", "request_id": str(uuid4()), "leverage": 5}
    order = payload | {"stop_loss": "48000", "take_profit": "52000"}
    # No entry leaves before the first cycle is over, and the next one would let it leave two minutes later.
    cycle = "SELECT 1 FROM execution_heartbeat WHERE part = 'monitor'"
    eventually(lambda: stack.rows(cycle), within=WITHIN, what="the first cycle is over")
    stack.redis.xadd(stream_key("signal.execute"), wrapped("signal.execute", order, source="test"))
    eventually((tmp_path / "stopped").exists, within=WITHIN, what="the entry has filled", every=0.02)
    if ending == "killed":
        stack.kill("worker-orders")
    else:
        stack.send_signal("worker-orders", signal.SIGSTOP)
        for child in children_of(stack.processes["worker-orders"].pid):
            os.kill(child, signal.SIGSTOP)

    eventually(lambda: Ledger.of(stack.paper).live_stops, within=WITHIN, what="the stop stands", every=0.05)

    # It should have come within the bound, from the books, and the monitor should have had no part in it.
    [filled] = Ledger.of(stack.paper).fills
    [stop] = Ledger.of(stack.paper).live_stops
    waited = (int(stop["createTime"]) - int(filled["time"])) / 1000
    assert waited <= BOUND_SECONDS, ending
    assert stop["quantity"] == "0.010"
    [(state,)] = stack.rows("SELECT state FROM execution_executionrequest")
    assert state in {"PROTECTED", "FILLED"}
    assert stack.rows("SELECT count(*) FROM execution_order WHERE purpose = 'STOP'") == [(1,)]
