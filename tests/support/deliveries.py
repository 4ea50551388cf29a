"""Loaded by a worker under test: writes a line to the file `DELIVERIES` whenever a task begins."""

import os
from pathlib import Path
from typing import Any

from celery.signals import task_prerun


@task_prerun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def note(task: Any, task_id: str, **_: Any) -> None:
    with Path(os.environ["DELIVERIES"]).open("a") as file:
        file.write(f"{task.name} {task_id}\n")
