"""Tells the supervisor that a Celery worker consumes: a worker that includes this module touches WORKER_READY_FILE.

A file and not the worker's log line, which LOG_LEVEL may hide.
"""

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_ready


def touch_ready_file(**_: Any) -> None:
    Path(os.environ["WORKER_READY_FILE"]).touch()


worker_ready.connect(touch_ready_file)
