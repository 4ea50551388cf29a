"""No wait for PostgreSQL without a bound: silenced lines, a frozen server, locked rows, forgotten transactions."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import pre_migrate

from execution.models import Heartbeat
from execution.operations.single_flight import Duty, single_flight
from execution_project import waits
from execution_project.postgres.base import DatabaseWrapper, session_bounds
from execution_project.postgres.connection import answers_within
from execution_project.task_limits import raise_in
from execution_project.waits import DATABASE, DatabaseWaits, Kind, held_as
from tests.support.half_open import HalfOpenProxy, half_open
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
SETTING = "SELECT setting FROM pg_settings WHERE name = %s"
IMPATIENT = DatabaseWaits(lock=1, statement=5, idle_in_transaction=9, answer=1)


@pytest.fixture
def line() -> Iterator[HalfOpenProxy]:
    with half_open(int(connection.settings_dict["PORT"])) as proxy:
        yield proxy


@contextmanager
def session(kind: Kind, port: int | str = "") -> Iterator[Any]:
    """Yield a session of a kind of process, beside that of the test."""
    with held_as(kind):
        own = DatabaseWrapper({**connection.settings_dict, "PORT": port or connection.settings_dict["PORT"]})
        own.inc_thread_sharing()
        try:
            yield own
        finally:
            own.close()


def ask(database: BaseDatabaseWrapper, sql: str, *parameters: Any) -> Any:
    with database.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_of_process_has_its_bounds_at_the_server(kind: Kind) -> None:
    with session(kind) as own:
        shown = {name: ask(own, SETTING, name) for name in session_bounds()}

    bounds = DATABASE[kind]
    assert shown["lock_timeout"] == str(round(bounds.lock * 1000))
    assert shown["statement_timeout"] == str(round(bounds.statement * 1000))
    assert shown["idle_in_transaction_session_timeout"] == str(round(bounds.idle_in_transaction * 1000))
    assert (shown["tcp_keepalives_idle"], shown["tcp_keepalives_count"]) == ("5", "3")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.MIGRATION])
def test_only_migrations_wait_without_a_bound(kind: Kind) -> None:
    bounds = DATABASE[kind]

    assert min(bounds.lock, bounds.statement, bounds.idle_in_transaction, bounds.answer) > 0
    # A server that lives has the first word.
    assert bounds.lock < bounds.statement < bounds.answer


def test_the_socket_is_watched() -> None:
    options = settings.DATABASES["default"]["OPTIONS"]

    assert {name: options[name] for name in waits.DATABASE_SOCKET} == waits.DATABASE_SOCKET


# A silenced line


def sessions(pid: int) -> int:
    return int(ask(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid))


def test_a_rested_connection_that_is_silenced_is_replaced_before_its_use(line: HalfOpenProxy) -> None:
    with session(Kind.WORKER, line.port) as own:
        before = ask(own, "SELECT pg_backend_pid()")
        assert line.silence() == 1
        own.connection.used_at -= 1

        began = time.monotonic()
        after = ask(own, "SELECT pg_backend_pid()")

        # It should be served as if nothing had happened, once the old one has given no sign.
        assert after != before
        assert waits.SIGN_SECONDS - 0.1 <= time.monotonic() - began < waits.SIGN_SECONDS + 3
        # It should have ended the session that it let go of: it may hold locks.
        eventually(lambda: sessions(before) == 0, what="the old session has ended")


def test_a_silence_in_the_middle_of_work_ends_within_the_bound(
    line: HalfOpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATABASE, Kind.WORKER, IMPATIENT)
    with session(Kind.WORKER, line.port) as own:
        pid = ask(own, "SELECT pg_backend_pid()")
        ask(own, "SELECT pg_try_advisory_lock(%s)", 4711)
        line.silence()

        began = time.monotonic()
        with pytest.raises(OperationalError, match=r"has not answered within 1\.0s"):
            ask(own, "SELECT 1")

        assert 0.9 <= time.monotonic() - began < 20
        # It should work again, and what the lost session held is free.
        own.close_if_unusable_or_obsolete()
        assert ask(own, "SELECT pg_backend_pid()") != pid
        assert ask(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == 0
        assert ask(own, "SELECT pg_try_advisory_lock(%s)", 4711) is True


def test_a_connection_in_use_is_not_asked_for_signs() -> None:
    with session(Kind.WORKER) as own:
        ask(own, "SELECT 1")
        usable = MagicMock(wraps=own.is_usable)
        own.is_usable = usable

        ask(own, "SELECT 1")
        assert usable.call_count == 0
        own.connection.used_at -= 1
        ask(own, "SELECT 1")
        assert usable.call_count == 1


def test_what_waits_within_a_bound_of_its_own_gives_up_by_then() -> None:
    with session(Kind.WORKER) as own, answers_within(0.3):
        began = time.monotonic()
        with pytest.raises(OperationalError):
            ask(own, "SELECT pg_sleep(30)")
        # It should not begin another wait.
        own.close_if_unusable_or_obsolete()
        with pytest.raises(OperationalError, match="no time is left"):
            ask(own, "SELECT 1")
    assert time.monotonic() - began < 20


def test_an_interrupted_wait_leaves_no_statement_behind() -> None:
    with session(Kind.WORKER) as own:
        pid, thread = ask(own, "SELECT pg_backend_pid()"), threading.get_ident()
        timer = threading.Timer(0.5, raise_in, (thread, SoftTimeLimitExceeded))
        timer.start()
        with pytest.raises(SoftTimeLimitExceeded):
            ask(own, "SELECT pg_sleep(30)")
        # It should have let go of the connection, and end its session from the next one.
        assert own.connection.closed
        own.close()
        assert ask(own, "SELECT 1") == 1
        assert ask(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == 0


# A frozen server


def test_a_frozen_session_ends_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATABASE, Kind.WORKER, IMPATIENT)
    with session(Kind.WORKER) as own:
        pid = ask(own, "SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(OperationalError, match="has not answered"):
                ask(own, "SELECT 1")
            assert time.monotonic() - began < 20
            own.close_if_unusable_or_obsolete()
            assert ask(own, "SELECT 1") == 1
        finally:
            os.kill(pid, signal.SIGCONT)


# Locks and forgotten transactions


@pytest.mark.parametrize("kind", [Kind.WEB, Kind.WORKER, Kind.STREAM])
def test_nobody_waits_for_a_forgotten_lock(kind: Kind) -> None:
    Heartbeat.objects.create(part="x", at="2026-01-01T00:00:00Z", healthy=True, details={})
    with session(kind) as own, transaction.atomic():
        Heartbeat.objects.select_for_update().get(part="x")
        began = time.monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):
            ask(own, "UPDATE execution_heartbeat SET healthy = false WHERE part = 'x' RETURNING part")
    bound = DATABASE[kind].lock
    assert bound - 0.1 <= time.monotonic() - began < bound + 3


def test_a_transaction_that_is_forgotten_loses_its_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    short = DatabaseWaits(lock=1, statement=5, idle_in_transaction=0.3, answer=6)
    monkeypatch.setitem(DATABASE, Kind.WORKER, short)
    Heartbeat.objects.create(part="x", at="2026-01-01T00:00:00Z", healthy=True, details={})
    with session(Kind.WORKER) as own:
        own.set_autocommit(False)
        ask(own, "SELECT part FROM execution_heartbeat WHERE part = 'x' FOR UPDATE")
        began = time.monotonic()
        # Nothing more comes of it.
        assert Heartbeat.objects.filter(part="x").update(healthy=False) == 1
        assert time.monotonic() - began < 20


def test_a_duty_is_free_again_when_its_holder_was_silenced(line: HalfOpenProxy) -> None:
    with session(Kind.WORKER, line.port) as own:
        assert ask(own, "SELECT pg_try_advisory_lock(%s)", Duty.ENSURE_COVER.value) is True
        with single_flight(Duty.ENSURE_COVER) as held:
            assert not held
        line.silence()
        own.connection.used_at -= 1
        ask(own, "SELECT 1")
        with single_flight(Duty.ENSURE_COVER) as held:
            assert held


def test_a_migration_has_no_bounds_and_gives_them_back() -> None:
    seen: list[str] = []

    def look(**_: object) -> None:
        seen.append(ask(connection, "SHOW statement_timeout"))

    pre_migrate.connect(look, weak=False)
    try:
        call_command("migrate", verbosity=0)
    finally:
        pre_migrate.disconnect(look)
    assert set(seen) == {"0"}
    assert ask(connection, "SHOW statement_timeout") == "1min"
