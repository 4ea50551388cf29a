"""Django's PostgreSQL backend with bounds for every session, and with a sign of life from those that have rested."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import psycopg
import structlog
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base
from psycopg.sql import SQL

from execution_project.postgres.connection import (
    BoundedConnection,
    NoAnswerError,
    answers_within,
    give_back,
    seconds_left,
    session_name,
    take_abandoned,
)
from execution_project.waits import (
    DATABASE_SERVER_SOCKET,
    RESTED_SECONDS,
    SIGN_SECONDS,
    Kind,
    database_waits,
    held_as,
    kind_held,
)

log = structlog.get_logger(__name__)
# Ends what we have given up, and what it holds with it: duties, locks of rows, an open transaction.
END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ANY(%s) AND usename = current_user
"""


def session_bounds() -> dict[str, str]:
    """Return the settings of a new session: the bounds that the server keeps for this kind of process."""
    waits = database_waits()
    kept = {
        "lock_timeout": waits.lock,
        "statement_timeout": waits.statement,
        "idle_in_transaction_session_timeout": waits.idle_in_transaction,
    }
    return {**{name: f"{round(seconds * 1000)}ms" for name, seconds in kept.items()}, **DATABASE_SERVER_SOCKET}


def bound_session(database: BaseDatabaseWrapper) -> None:
    """Give a session that is open the bounds of what this process is now; a new one has them anyway."""
    if database.connection is not None:
        with database.cursor() as cursor:
            for name, value in session_bounds().items():
                cursor.execute("SELECT set_config(%s, %s, false)", [name, value])


@contextmanager
def unbounded(database: BaseDatabaseWrapper) -> Iterator[None]:
    """Wait for as long as it takes, for a while; a session that stays open has its usual bounds afterwards."""
    try:
        with held_as(Kind.MIGRATION):
            bound_session(database)
            yield
    finally:
        bound_session(database)


class DatabaseWrapper(base.DatabaseWrapper):
    """Named by `ENGINE`; everything else is Django's."""

    # psycopg as Django knows it, with our way to connect.
    Database = cast("ModuleType", SimpleNamespace(**{**vars(psycopg), "connect": BoundedConnection.connect}))

    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        parameters["application_name"] = session_name(parameters.get("application_name") or f"execution-{kind_held()}")
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect, bound the session, and end those that this process has given up before.

        Raises:
            psycopg.OperationalError: no connection within its bound.

        """
        if seconds_left() == 0:
            raise NoAnswerError("no time is left to connect")
        connection = super().get_new_connection(conn_params)
        connection.session = conn_params["application_name"]
        gone = take_abandoned()
        try:
            self._begin_session(connection, gone)
        except psycopg.Error:
            give_back(gone)
            connection.close()
            raise
        return connection

    def _begin_session(self, connection: Any, gone: list[str]) -> None:
        bounds = session_bounds()
        calls = SQL(", ").join([SQL("set_config(%s, %s, false)")] * len(bounds))
        connection.autocommit = True
        connection.execute(SQL("SELECT ") + calls, [word for pair in bounds.items() for word in pair])
        if gone:
            log.warning("database_sessions_ended", sessions=gone)
            connection.execute(END_SESSIONS, [gone])
        connection.autocommit = False

    def close_if_health_check_failed(self) -> None:
        """Ask a connection that has rested for a sign of life, and replace it when there is none.

        A line can be cut in two without a word: the first statement after a rest would wait for its whole bound.
        """
        if self.connection is not None and not self.in_atomic_block and not self.errors_occurred:
            rested = self.connection.rested_seconds > RESTED_SECONDS
            self.health_check_enabled, self.health_check_done = True, not rested
        super().close_if_health_check_failed()

    def is_usable(self) -> bool:
        if self.connection is None:
            return False
        left = seconds_left()
        # Half of what is left is for the connection that takes its place.
        with answers_within(SIGN_SECONDS if left is None else min(SIGN_SECONDS, left / 2)):
            usable: bool = super().is_usable()
        return usable
