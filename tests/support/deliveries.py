"""Loaded by a worker under test: writes a line to `DELIVERIES` whenever a task begins; tasks may take their time."""

import os
from pathlib import Path
from typing import Any

from celery.signals import celeryd_after_setup, task_prerun


@task_prerun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def note(task: Any, task_id: str, **_: Any) -> None:
    with Path(os.environ["DELIVERIES"]).open("a") as file:
        file.write(f"{task.name} {task_id}\n")


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]  # as above
def take_time(conf: Any, **_: Any) -> None:
    """Lift the limit of tasks, after the start has been checked: they are to outlast the broker's patience."""
    conf.task_time_limit = 600
