"""Asks whether what PostgreSQL calls a session is ours alone: a pooler in transaction mode hands it round.

PgBouncer does so with `pool_mode = transaction`, and other poolers in their own words; none tells its clients. The
service needs sessions: bounds of waits are set once a session, the duties of the monitor and of the user-data stream
are locks that a session holds, statements are prepared, and a session that was given up is ended by its name, which
would end whatever somebody else does on it just then. So it is found out by what shows: two clients on one session.
"""

from contextlib import closing
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import ProtocolViolation

from execution_project.postgres.connection import answers_within

# The number of a process comes again one day, and on another server; with its start it does not.
SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
# A pooler may hand out what rested longest, so that the second client gets the first one's session later.
ROUNDS = 5
SECONDS = 4.0


def sessions_are_shared(database: BaseDatabaseWrapper) -> bool:
    """Whether two clients that are connected at once are given one session, or one of them has had two.

    Raises:
        psycopg.OperationalError: the database cannot be asked.

    """
    parameters = database.get_connection_params()
    with (
        answers_within(SECONDS),
        closing(_connect(database, parameters)) as one,
        closing(_connect(database, parameters)) as other,
    ):
        return _has_moved(one, other)


def _connect(database: BaseDatabaseWrapper, parameters: dict[str, Any]) -> Any:
    connection = database.get_new_connection(parameters)
    connection.autocommit = True
    return connection


def _has_moved(one: Any, other: Any) -> bool:
    mine = _session(one)
    try:
        return any(_round(one, other, mine) for _ in range(ROUNDS))
    except ProtocolViolation:
        # In its statement mode PgBouncer refuses every transaction so.
        return True


def _round(one: Any, other: Any, mine: object) -> bool:
    """Hold a session by a transaction, as busy clients do, and look who has which."""
    with other.transaction():
        return _session(other) == mine or _session(one) != mine


def _session(connection: Any) -> object:
    # Unprepared: what a pooler has lost would fail instead of telling.
    return connection.execute(SESSION, prepare=False).fetchone()
