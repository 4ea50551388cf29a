"""Another Celery application on the same database of Redis: nobody runs the other's tasks or obeys the other's orders.

It has Celery's default names, tasks that are called as ours are, and it takes every queue that is called as ours are.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from celery import Celery

from execution_project.broker_names import KEY_PREFIX
from local_stack.credentials import ADMIN, Credentials
from local_stack.processes import Addresses, flower
from local_stack.server import HOST, end_process, free_port, spawn, tail
from tests.support.databases import copied_database, redis_address
from tests.support.neighbour import NOTES, OUR_TASKS, QUEUES
from tests.support.stack import ROOT, CeleryStack, crew, is_running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

# Apart from the numbers of the other suites.
REDIS_DATABASE = 10
NEIGHBOUR = "other@neighbour"
OF_THE_SERVICE = ("quantum:stream:", "execution:", "trade:", KEY_PREFIX)


@pytest.fixture(scope="module")
def window() -> Addresses:
    return Addresses(host=HOST, web_port=0, flower_port=free_port(), database_url="", redis_url="")


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    window: Addresses,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    folder: Path = tmp_path_factory.mktemp("neighbour")
    seen = flower(window, Credentials(admin_password="", flower_password="a-password", secret_key=""))
    with (
        copied_database("neighbour") as database_url,
        CeleryStack(
            database_url=database_url,
            redis_url=redis_address(REDIS_DATABASE),
            folder=folder,
            programs=(*crew(folder), seen),
        ) as running,
    ):
        yield running


@pytest.fixture
def theirs() -> Iterator[Celery]:
    """The neighbour's application as its own programs have it: nothing but Celery's defaults and an address."""
    with Celery("neighbour", broker=redis_address(REDIS_DATABASE), set_as_current=False) as app:
        yield app


@contextmanager
def neighbour_at_work(theirs: Celery, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    log = folder / "neighbour.log"
    command = (sys.executable, "-m", "celery", "-A", "tests.support.neighbour", "worker", "-n", NEIGHBOUR)
    options = ("--pool=threads", "--concurrency=4", "-E", "-Q", ",".join(QUEUES), "--loglevel=INFO")
    with log.open("ab") as output:
        # No Django of ours: nothing of the service is in that process.
        env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        env["BROKER"] = redis_address(REDIS_DATABASE)
        process = spawn([*command, *options], output=output, env=env, cwd=ROOT)
    try:
        eventually(lambda: is_ready(theirs, process, log), within=60, what="the neighbour works", every=0.2)
        yield process
    finally:
        end_process(process, signal.SIGTERM, 10)


def is_ready(theirs: Celery, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the neighbour ended: {tail(log)}")
    return answers_ping(theirs) == [NEIGHBOUR]


def answers_ping(theirs: Celery) -> list[str]:
    """Return who answers the neighbour's own question, by name."""
    return sorted(theirs.control.inspect(timeout=1).ping() or {})


def notes(stack: CeleryStack) -> list[str]:
    found: Any = stack.redis.lrange(NOTES, 0, -1)
    return [note.decode() for note in found]


def ours_run(stack: CeleryStack) -> bool:
    return all(is_running(process.pid) for process in stack.processes.values())


def test_each_runs_its_own_tasks_only(stack: CeleryStack, theirs: Celery, tmp_path: Path) -> None:
    with neighbour_at_work(theirs, tmp_path):
        sent = []
        for name in OUR_TASKS:
            for queue in QUEUES:
                request_id = str(uuid4())
                theirs.send_task(f"execution.tasks.{name}", kwargs={"request_id": request_id}, queue=queue)
                sent.append(f"{name} {request_id}")
        stack.decide(stack.symbols[:4])
        stack.await_final(requests=4, within=60)
        stack.check()
        eventually(lambda: len(notes(stack)) >= len(sent), within=30, what="the neighbour ran its tasks")

    # It ran each of its own once, and none of ours: ours would be more, and with other ids.
    assert sorted(notes(stack)) == sorted(sent)
    assert stack.states() == ["RECORDED"] * 4
    stack.redis.delete(NOTES)


def test_neither_obeys_the_other(stack: CeleryStack, theirs: Celery, tmp_path: Path) -> None:
    with neighbour_at_work(theirs, tmp_path) as process:
        # It should not even hear us, whatever an operator of ours sends.
        for words in (("control", "--timeout=1", "shutdown"), ("inspect", "--timeout=1", "ping")):
            result = celery_of_ours(stack, *words)
            assert NEIGHBOUR not in result.stdout + result.stderr
        assert answers_ping(theirs) == [NEIGHBOUR]
        assert is_running(process.pid)

        theirs.control.purge()
        theirs.control.cancel_consumer("orders")
        theirs.control.shutdown()
        eventually(lambda: process.poll() is not None, within=30, what="the neighbour obeyed itself")

    assert ours_run(stack)
    before = len(stack.states())
    stack.decide(stack.symbols[4:6])
    stack.await_final(requests=before + 2, within=60)


def celery_of_ours(stack: CeleryStack, *words: str) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-m", "celery", "-A", "execution_project", *words)
    return subprocess.run(
        command, cwd=ROOT, env=stack.environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_flower_shows_ours_only(stack: CeleryStack, theirs: Celery, tmp_path: Path, window: Addresses) -> None:
    with neighbour_at_work(theirs, tmp_path):
        theirs.send_task("execution.tasks.tidy_up", kwargs={"request_id": "of-the-neighbour"}, queue="celery")
        eventually(lambda: notes(stack), within=30, what="the neighbour ran its task")
        names = eventually(lambda: workers_shown(window), within=30, what="Flower has heard of workers", every=0.3)
        shown = eventually(lambda: tasks_shown(window), within=30, what="Flower has heard of tasks", every=0.3)

    assert {name.partition("@")[0] for name in names} == {"orders", "monitor", "protect", "bridge"}
    assert NEIGHBOUR not in repr(shown)
    assert "of-the-neighbour" not in repr(shown)


def workers_shown(window: Addresses) -> list[str]:
    rows = ask(window, "/workers?json=1")["data"]
    names = [row["hostname"] for row in rows]
    return names if len(names) >= len(QUEUES) - 1 else []


def tasks_shown(window: Addresses) -> dict[str, Any]:
    found: dict[str, Any] = ask(window, "/api/tasks?limit=1000")
    return found


def ask(window: Addresses, path: str) -> Any:
    answer = requests.get(f"{window.flower_url}{path}", auth=(ADMIN, "a-password"), timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_key_of_the_broker_has_our_prefix(stack: CeleryStack) -> None:
    stack.redis.delete(NOTES, "_kombu.binding.celery", *neighbour_keys(stack))
    before = len(stack.states())
    stack.decide(stack.symbols[6:8])
    stack.await_final(requests=before + 2, within=60)

    keys = [key.decode() for key in stack.redis.scan_iter(count=1000)]
    channels: Any = stack.redis.pubsub_channels()
    assert [key for key in keys if not key.startswith(OF_THE_SERVICE)] == []
    assert any(key.startswith(f"{KEY_PREFIX}_kombu.binding.") for key in keys)
    assert [name for name in channels if b"celery" in name] == []


def neighbour_keys(stack: CeleryStack) -> list[bytes]:
    """Return what the neighbour of the other tests has left behind."""
    return [key for key in stack.redis.scan_iter(count=1000) if not key.decode().startswith(OF_THE_SERVICE)]


def test_requests_whose_messages_lie_under_the_names_of_before_are_finished(stack: CeleryStack) -> None:
    """After an upgrade nobody reads the old keys: the rows are the truth, and the monitor resumes from them."""
    before = len(stack.states())
    stack.kill("worker-orders")
    stack.decide(stack.symbols[8:10])
    moved = eventually(lambda: moved_to_old_names(stack, before + 2), within=30, what="both wait for a worker")
    stack.start_workers()
    stack.await_final(requests=before + 2, within=60)
    stack.check()

    # Nobody of ours has touched them.
    assert first_steps(stack, moved) == 2
    stack.redis.delete(*moved)


def moved_to_old_names(stack: CeleryStack, requests: int) -> list[bytes]:
    """Rename the lists of `orders` as an older version called them, once both messages are there."""
    keys = list(stack.redis.scan_iter(f"{KEY_PREFIX}orders*"))
    # A request's row is there before its message.
    if len(stack.states()) < requests or first_steps(stack, keys) < 2:
        return []
    found = []
    for key in keys:
        old = key.removeprefix(KEY_PREFIX.encode())
        stack.redis.rename(key, old)
        found.append(old)
    return found


def first_steps(stack: CeleryStack, keys: Sequence[bytes]) -> int:
    """Return how many decisions lie in these lists, beside the proofs of the queue."""
    redis: Any = stack.redis
    return sum(b"execution.tasks.check_ess" in each for key in keys for each in redis.lrange(key, 0, -1))
