"""The Celery application; its settings stand in `celeryconfig.py` at the top of the project."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, heartbeat_sent, setup_logging, task_prerun, worker_init, worker_process_init

from execution_project.own_clock import ClockStep
from execution_project.task_limits import LimitsStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
# Our own checks run instead (`refuse_unsafe_settings`): Django's look at models and addresses, so they load the whole
# web part, and a worker that is killed would be back a quarter of its start later.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("execution_project")
app.config_from_object("celeryconfig")
app.autodiscover_tasks(["execution"])
app.steps["worker"].update((LimitsStep, ClockStep))


@setup_logging.connect
def keep_django_logging(**_: Any) -> None:
    """Leave the log handlers as Django set them up; Celery would replace them."""


@worker_init.connect
@beat_init.connect
def refuse_unsafe_settings(**_: Any) -> None:
    """Stop a worker, or beat, before its first task when a setting is unsafe (`execution/checks.py`)."""
    from execution_project.processes import keep_what_is_loaded  # noqa: PLC0415 -- only workers need it
    from execution_project.start_checks import refuse_unsafe_start  # noqa: PLC0415 -- Django must be set up first
    from execution_project.waits import Kind, hold  # noqa: PLC0415 -- only workers and beat are this

    hold(Kind.WORKER)

    # Celery logs what a signal's handler raises and goes on; only an exit stops the worker.
    refuse_unsafe_start()
    keep_what_is_loaded()


@worker_init.connect
def show_life(**_: Any) -> None:
    """Touch a file with every heartbeat, by which a container's health check sees that the worker consumes."""
    from execution_project.alive import AliveFile  # noqa: PLC0415 -- only workers need it
    from execution_project.env import environment  # noqa: PLC0415 -- as above

    heartbeat_sent.connect(AliveFile(environment().worker_alive_file).touch, weak=False)


@worker_process_init.connect
def die_with_parent(**_: Any) -> None:
    """Let a pool process end with its worker, so that kill -9 of a worker leaves nobody behind."""
    from execution_project.processes import end_with_parent  # noqa: PLC0415 -- only pool processes need it

    end_with_parent()


@task_prerun.connect
def drop_broken_connections(**_: Any) -> None:
    """Give a task a new connection when its thread's last one has failed, as after a restart of PostgreSQL.

    Celery keeps connections over tasks (CELERY_DB_REUSE_MAX) and skips Django's own check, which would cost a round
    trip a task. The task that meets the restart fails and is tried again (ON_LOST_DATABASE in execution/tasks.py).
    """
    from django.db import connections  # noqa: PLC0415 -- Django must be set up first

    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
