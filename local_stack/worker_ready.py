"""What a Celery worker of the local stack does when it is ready: it tells the supervisor and begins its rounds.

A worker that includes this module touches WORKER_READY_FILE (its log line may be hidden by LOG_LEVEL) and sends the
FIRST_TASKS, so that what beat repeats is done now for the first time instead of an interval later.
"""

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_ready


def begin(sender: Any, **_: Any) -> None:
    for task in os.environ["FIRST_TASKS"].split():
        sender.app.send_task(task)
    Path(os.environ["WORKER_READY_FILE"]).touch()


worker_ready.connect(begin)
