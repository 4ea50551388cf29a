"""A task that outlasts the broker's patience is delivered again beside itself by a real worker: still one stop."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from kombu.connection import Connection

from execution import tasks
from execution_project.celery import app
from local_stack.processes import migrated_file, worker
from local_stack.server import end_process, spawn
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.roles import with_rights
from tests.support.stack import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
# tests.support.deliveries lifts the time limit: the task goes on, long after the broker has stopped waiting for it.
IMPATIENT = {"CELERY_VISIBILITY_TIMEOUT_SECONDS": "2", "CELERY_TASK_TIME_LIMIT_SECONDS": "1"}
EXCHANGE_TAKES_MS = 12_000


@contextmanager
def running_worker(desk: Desk, redis_url: str, folder: Path) -> Iterator[None]:
    """Run a worker of three threads on this test's database; it writes a line for each delivery."""
    program = worker("orders", folder, ("--pool=threads", "--concurrency=3"))
    command = [word + ",tests.support.deliveries" if word.startswith("--include") else word for word in program.command]
    deliveries = folder / "deliveries"
    deliveries.touch()
    database = settings.DATABASES["default"]
    address = f"{database['HOST']}:{database['PORT']}/{quote(str(connection.settings_dict['NAME']))}"
    env = {
        "DATABASE_URL": with_rights(f"postgresql://{database['USER']}@{address}"),
        "REDIS_URL": redis_url,
        "BINANCE_BASE_URL": desk.paper.url,
        "RISK_SAFETY_SERVICE_URL": desk.risk.url,
        "BINANCE_TIMEOUT_SECONDS": "30",
        "MAX_UNPROTECTED_SECONDS": "60",
        "LOG_LEVEL": "WARNING",
        "DELIVERIES": str(deliveries),
    }
    migrated_file(folder).touch()
    with (folder / "worker.log").open("wb") as output:
        settings_of_it = {**os.environ, **IMPATIENT, **program.env, **env}
        process = spawn(command, output=output, env=settings_of_it, cwd=ROOT)
    try:
        assert program.ready_file
        eventually(program.ready_file.exists, within=90, what="the worker consumes")
        yield
    finally:
        end_process(process, SIGTERM, 20)


def test_a_task_delivered_beside_itself_places_one_stop(desk: Desk, redis_url: str, tmp_path: Path) -> None:
    """Of an entry the account's lease would keep it, too; cover has nothing but its rows."""
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="delay", ms=EXCHANGE_TAKES_MS)

    with running_worker(desk, redis_url, tmp_path):
        options = app.conf.broker_transport_options
        with Connection(redis_url, transport_options=options) as broker:  # type: ignore[no-untyped-call]
            arguments = {"request_id": str(request_id)}
            tasks.protect_position.apply_async(kwargs=arguments, queue="orders", connection=broker)
        eventually(lambda: len(deliveries_of(tmp_path)) >= 2, within=60, what="it is delivered again")
        # It should be so while the first is still under way.
        assert desk.request(request_id).state == "FILLED"
        eventually(lambda: desk.request(request_id).state == "PROTECTED", within=60, what="it is covered")

    # It should be the same message, and one order of each kind.
    assert len(set(deliveries_of(tmp_path))) == 1
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    assert desk.run(request_id) == "RECORDED"
    desk.check()


def deliveries_of(folder: Path) -> list[str]:
    return (folder / "deliveries").read_text().splitlines()
