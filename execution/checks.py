"""Start-up checks: refuse settings that could lose tasks, run foreign code or expose the service."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Protocol

import psycopg
from celery import current_app
from celery.app.defaults import SETTING_KEYS
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 -- Django's name
from django.db import OperationalError, connection

from execution import wiring
from execution.domain.ports import RiskSafetyUnavailableError
from execution.signals.accept import EVENT_TYPES
from execution_project.database_roles import powers_of
from execution_project.env import Environment, Mode, environment
from execution_project.live_profile import needs_password, profile_problems
from execution_project.sessions_shared import sessions_are_shared
from execution_project.store_urls import user_of_database_url
from execution_project.unread_settings import given_settings, unread_settings

# Workers run these checks alone at their start.
TAG = "execution"
# Read by Celery's fixup for Django, which has no name for it among its settings.
OWN_SETTINGS = frozenset({"CELERY_DB_REUSE_MAX"})
# (setting, the value that it must have, what would happen otherwise)
MUST_BE: tuple[tuple[str, object, str], ...] = (
    ("task_acks_late", True, "a worker that dies loses the task that it has taken"),
    ("task_reject_on_worker_lost", True, "a pool process that dies loses its task"),
    ("worker_prefetch_multiplier", 1, "a dying worker holds back tasks that it has not begun"),
    ("task_serializer", "json", "other serialisers can run code from the broker"),
    ("accept_content", ["json"], "other serialisers can run code from the broker"),
    ("task_always_eager", False, "the chain would run inside the reader of events"),
)


class CeleryTask(Protocol):
    """A registered task with its own options, None where the settings decide."""

    acks_late: bool | None
    reject_on_worker_lost: bool | None


class CelerySettings(Protocol):
    """The settings of Celery that bound a task."""

    broker_transport_options: Mapping[str, float]
    task_time_limit: float | None


@register(TAG)
def tasks_cannot_be_lost(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001
    """Check the settings of Celery that exactly-once execution rests on."""
    conf = current_app.conf
    problems: list[CheckMessage] = [
        Error(f"{name} must be {wanted!r}, not {conf[name]!r}", hint=f"Otherwise {why}.", id="execution.E001")
        for name, wanted, why in MUST_BE
        if conf[name] != wanted
    ]
    return problems + _tasks_with_own_options(current_app.tasks) + _delivery_outlives_task(conf)


def _tasks_with_own_options(tasks: Mapping[str, CeleryTask]) -> list[CheckMessage]:
    """Return an error for each task that overrides these settings."""
    return [
        Error(f"{name} must not set {word}={getattr(task, word)!r}", hint=f"Otherwise {why}.", id="execution.E001")
        for name, task in sorted(tasks.items())
        if name.startswith("execution.")
        for word, why in (("acks_late", MUST_BE[0][2]), ("reject_on_worker_lost", MUST_BE[1][2]))
        if getattr(task, word) is False
    ]


def _delivery_outlives_task(conf: CelerySettings) -> list[CheckMessage]:
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
def celery_shows_no_settings(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001
    """Check that celeryconfig.py has only settings that Celery knows, and that remote control is off.

    Celery takes every name of celeryconfig.py for a setting and shows its value to clients. An object of this project
    among them would show every password that it holds.
    """
    strange = sorted(set(dir(import_module("celeryconfig"))) - set(SETTING_KEYS) - OWN_SETTINGS)
    found: list[CheckMessage] = [
        Error(f"celeryconfig.{name} is no setting of Celery", hint="Celery would show its value.", id="execution.E004")
        for name in strange
        if not name.startswith("__")
    ]
    if current_app.conf.worker_enable_remote_control:
        sentence = "worker_enable_remote_control must be False: who can write to Redis would steer the workers"
        found.append(Error(sentence, id="execution.E005"))
    return found


@register(TAG)
def profile_is_safe(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001
    """Check the settings that their mode demands (execution_project/live_profile.py)."""
    return [
        (Error if problem.is_error else Warning)(problem.sentence, id=problem.code)
        for problem in profile_problems(environment(), debug=settings.DEBUG)
    ]


@register(TAG)
def every_setting_is_read(app_configs: Sequence[AppConfig] | None, **_: object) -> list[CheckMessage]:  # noqa: ARG001
    """Report settings that look like the service's own and are not read, so that they have no effect."""
    return [
        Error(unread.sentence, id="execution.E035")
        if unread.is_error
        else Warning(unread.sentence, id="execution.W035")
        for unread in unread_settings(given_settings(), environment().mode)
    ]


@register(TAG)
def producers_speak_on_known_streams(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001
    **_: object,
) -> list[CheckMessage]:
    """Check that the streams of EVENT_SIGNING_KEYS are read.

    A misspelt name would refuse every honest event.
    """
    named = {name for key in environment().event_keys.values() for name in key.streams}
    return [
        Error(
            f"EVENT_SIGNING_KEYS: {name[:64]!r} is no stream that is read",
            hint=f"They are {', '.join(EVENT_TYPES)}.",
            id="execution.E033",
        )
        for name in sorted(named - set(EVENT_TYPES))
    ]


@register(TAG, Tags.database)
def sessions_are_ours(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001 -- the framework's signature
    databases: Sequence[str] | None = None,
    **_: object,
) -> list[CheckMessage]:
    """Refuse a pooler in transaction or statement mode.

    Runs when a database is named, as at each process's start. Other code waits for a database that does not answer yet.
    """
    try:
        shared = bool(databases) and sessions_are_shared(connection)
    except (OperationalError, psycopg.OperationalError):
        return []
    sentence = (
        "DATABASE_URL leads to a pooler in transaction or statement mode: the service needs sessions of its own; set "
        "its pool_mode to session, or give the address of PostgreSQL itself"
    )
    return [Error(sentence, id="execution.E036")] if shared else []


@register(TAG, Tags.database)
def neighbours_are_real(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001 -- the framework's signature
    databases: Sequence[str] | None = None,
    **_: object,
) -> list[CheckMessage]:
    """In live mode, check in PostgreSQL and risk-safety what the settings do not show.

    Runs when a database is named: at the start of every process, and by `manage.py check --database default`. A
    neighbour that does not answer now may do so later, and entries wait for it anyway, so that is a warning.
    """
    if environment().mode is not Mode.LIVE or not databases:
        return []
    env = environment()
    return [*_password_was_asked_for(env), *_role_is_bounded(env), *_risk_safety_is_no_double()]


def _password_was_asked_for(env: Environment) -> Iterator[CheckMessage]:
    url = env.database_url.get_secret_value()
    if not needs_password(url):
        return
    try:
        connection.ensure_connection()
        asked = connection.connection.pgconn.used_password
    except OperationalError as error:
        yield Warning(f"PostgreSQL cannot be asked: {type(error).__name__}", id="execution.W024")
        return
    finally:
        # A pool's processes are forked later and must not share it.
        connection.close()
    if not asked:
        sentence = (
            "PostgreSQL did not ask for the password (trust authentication): each client that reaches it owns the books"
        )
        yield Error(sentence, id="execution.E024")


def _role_is_bounded(env: Environment) -> Iterator[CheckMessage]:
    """Check the rights of the service's role. It is named, because the migration connects as the owner."""
    role = user_of_database_url(env.database_url.get_secret_value())
    try:
        connection.ensure_connection()
        powers = powers_of(connection.connection, role or connection.connection.info.user)
    except OperationalError as error:
        yield Warning(f"PostgreSQL cannot be asked for roles: {type(error).__name__}", id="execution.W024")
        return
    finally:
        connection.close()
    if powers:
        sentence = f"the role of DATABASE_URL could change the journal: it {', '.join(powers)}"
        hint = (
            "Give DATABASE_URL a role of its own, DATABASE_OWNER_URL the role that owns the tables, and run "
            "`manage.py migrate`, which sets the rights (docs/operations.md)."
        )
        yield Error(sentence, hint=hint, id="execution.E027")


def _risk_safety_is_no_double() -> Iterator[CheckMessage]:
    try:
        wiring.new_risk_safety().ess()
    except RiskSafetyUnavailableError as error:
        if error.kind == "stand_in":
            sentence = "RISK_SAFETY_SERVICE_URL leads to the stand-in, whose emergency stop judges nothing"
            yield Error(sentence, id="execution.E025")
        else:
            yield Warning(f"risk-safety cannot be asked: {error}", id="execution.W025")
