"""A worker that could lose tasks does not start: Celery itself would log the refusal and go on."""

import os
import subprocess
import sys

from tests.support.stack import ROOT

WORKER = (sys.executable, "-m", "celery", "-q", "-A", "execution_project", "worker", "--pool=solo", "-Q", "nobody")


def test_a_worker_whose_delivery_ends_before_its_task_is_refused() -> None:
    wrong = {"CELERY_VISIBILITY_TIMEOUT_SECONDS": "5", "CELERY_TASK_TIME_LIMIT_SECONDS": "9"}

    told = subprocess.run(
        WORKER, cwd=ROOT, env={**os.environ, **wrong}, capture_output=True, text=True, timeout=60, check=False
    )

    assert told.returncode != 0
    # It should say which rule was broken.
    assert "execution.E002" in told.stderr
