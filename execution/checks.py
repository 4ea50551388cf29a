"""Start-up checks: settings that could lose a task, run code from the broker or expose the service refuse to start."""

from collections.abc import Mapping, Sequence
from typing import Any

from celery import current_app
from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from execution_project.env import Environment, Mode, environment

# Workers run these checks alone at their start.
TAG = "execution"
# (setting, the value that it must have, what would happen otherwise)
MUST_BE: tuple[tuple[str, Any, str], ...] = (
    ("task_acks_late", True, "a worker that dies loses the task that it has taken"),
    ("task_reject_on_worker_lost", True, "a pool process that dies loses its task"),
    ("worker_prefetch_multiplier", 1, "a dying worker holds back tasks that it has not begun"),
    ("task_serializer", "json", "other serialisers can run code from the broker"),
    ("accept_content", ["json"], "other serialisers can run code from the broker"),
    ("task_always_eager", False, "the chain would run inside the reader of events"),
)


@register(TAG)
def tasks_cannot_be_lost(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Hold Celery's settings against what exactly-once rests on."""
    conf = current_app.conf
    problems: list[CheckMessage] = [
        Error(f"{name} must be {wanted!r}, not {conf[name]!r}", hint=f"Otherwise {why}.", id="execution.E001")
        for name, wanted, why in MUST_BE
        if conf[name] != wanted
    ]
    return problems + _tasks_of_their_own(current_app.tasks) + _delivery_outlives_task(conf)


def _tasks_of_their_own(tasks: Mapping[str, Any]) -> list[CheckMessage]:
    """Return the tasks that set aside what the settings say."""
    return [
        Error(f"{name} must not set {word}={getattr(task, word)!r}", hint=f"Otherwise {why}.", id="execution.E001")
        for name, task in sorted(tasks.items())
        if name.startswith("execution.")
        for word, why in (("acks_late", MUST_BE[0][2]), ("reject_on_worker_lost", MUST_BE[1][2]))
        if getattr(task, word) is False
    ]


def _delivery_outlives_task(conf: Any) -> list[CheckMessage]:
    visible, limit = conf.broker_transport_options.get("visibility_timeout", 0), conf.task_time_limit
    if limit and visible > limit:
        return []
    return [
        Error(
            f"CELERY_VISIBILITY_TIMEOUT_SECONDS ({visible}) must be above CELERY_TASK_TIME_LIMIT_SECONDS ({limit})",
            hint="Otherwise a task that still runs is delivered a second time.",
            id="execution.E002",
        )
    ]


@register(TAG)
def secrets_are_set(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Outside of paper mode, sessions must not rest on a key made up at start."""
    return missing_secrets(environment())


def missing_secrets(env: Environment) -> list[CheckMessage]:
    """Return what is missing in an environment."""
    if env.mode is Mode.PAPER or env.secret_key.get_secret_value():
        return []
    return [Error("SECRET_KEY is not set", hint="Sign-ins would end with every restart.", id="execution.E003")]
