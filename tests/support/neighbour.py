"""Somebody else's Celery application, with Celery's own names for everything; `celery -A tests.support.neighbour`.

It has tasks of our names and takes every queue that we have. `BROKER` is where; what it ran, it notes at `NOTES`.
"""

import os

from celery import Celery
from redis import Redis

NOTES = "neighbour:notes"
QUEUES = ("celery", "orders", "monitor", "protect", "bridge")
OUR_TASKS = (
    *("check_ess", "guard_safety", "place_order", "protect_position", "record_trade"),
    *("read_events", "send_events", "run_monitor_cycle", "ensure_cover", "seal_journal", "tidy_up", "keep_figures"),
)

app = Celery("neighbour", broker=os.environ.get("BROKER", "memory://"), set_as_current=False)
app.conf.update(broker_connection_retry_on_startup=True, worker_send_task_events=True)


def _note(name: str, sender: str) -> None:
    with Redis.from_url(os.environ["BROKER"]) as redis:
        redis.rpush(NOTES, f"{name} {sender}")


for _name in OUR_TASKS:

    @app.task(name=f"execution.tasks.{_name}")  # type: ignore[untyped-decorator]  # Celery has no types
    def _work(*, request_id: str = "", _name: str = _name, **_: object) -> None:
        _note(_name, request_id)
