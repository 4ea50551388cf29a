"""The Celery application; its settings stand in `celeryconfig.py` at the top of the project."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, task_prerun, worker_init, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")

app = Celery("execution_project")
app.config_from_object("celeryconfig")
app.autodiscover_tasks(["execution"])


@setup_logging.connect
def keep_django_logging(**_: Any) -> None:
    """Leave the log handlers as Django set them up; Celery would replace them."""


@worker_init.connect
def refuse_unsafe_settings(**_: Any) -> None:
    """Stop a worker before its first task when a setting could lose one (`execution/checks.py`)."""
    from django.core.management import call_command  # noqa: PLC0415 -- Django must be set up first

    call_command("check", fail_level="ERROR")


@worker_process_init.connect
def die_with_parent(**_: Any) -> None:
    """Let a pool process end with its worker, so that kill -9 of a worker leaves nobody behind."""
    from execution_project.processes import end_with_parent  # noqa: PLC0415 -- only pool processes need it

    end_with_parent()


@task_prerun.connect
def recheck_connections(**_: Any) -> None:
    """Make the next query check its connection first, so that a PostgreSQL restart costs no task.

    Celery keeps connections over tasks (CELERY_DB_REUSE_MAX), which triples throughput but skips Django's own check.
    """
    from django.db import close_old_connections  # noqa: PLC0415 -- Django must be set up first

    close_old_connections()
