"""What a Celery worker of the local stack does around its start; it gets this module by `--include`.

It loads its code beside the migration and waits for that with its first task. When it is ready it sends the
FIRST_TASKS, so that what beat repeats is done now instead of an interval later, and touches WORKER_READY_FILE for the
supervisor (a log line could be hidden by LOG_LEVEL).
"""

import os
import time
from pathlib import Path
from typing import Any

from celery.signals import celeryd_after_setup, worker_ready


def wait_for_migration(**_: Any) -> None:
    # Without a limit: the supervisor ends the worker when the migration fails.
    while not Path(os.environ["MIGRATED_FILE"]).exists():
        time.sleep(0.02)


def begin(sender: Any, **_: Any) -> None:
    for task in os.environ["FIRST_TASKS"].split():
        sender.app.send_task(task)
    Path(os.environ["WORKER_READY_FILE"]).touch()


celeryd_after_setup.connect(wait_for_migration)
worker_ready.connect(begin)
