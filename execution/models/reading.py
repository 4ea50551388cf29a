"""Reads stored times that Python cannot hold as a marked bound, so that their rows stay readable.

PostgreSQL holds times before the year 1, after the year 9999 and infinite ones, on which the driver fails: one such row
would fail every statement that reads it, and with it the stops of all other positions.
"""

from datetime import UTC, datetime

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg import DataError
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader

from execution.domain.bounds import UnreadableTime, readable

PAST = (b"-infinity", b"BC")


class BoundedTimestamptzLoader(TimestamptzLoader):
    """Loads a time in UTC, whatever it is."""

    # Django compares this with its connection's zone before it trusts a loader.
    timezone = UTC

    def load(self, data: Buffer) -> datetime:
        try:
            return readable(super().load(data).astimezone(UTC))
        except (DataError, OverflowError):
            written = bytes(data)
            # The first year is within a day of what cannot be held at all.
            return UnreadableTime.of(past=written.startswith((PAST[0], b"0001-")) or written.endswith(PAST[1]))


def read_bounded(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Let a new connection to PostgreSQL read times by the loader above."""
    if connection.vendor == "postgresql":
        connection.connection.adapters.register_loader("timestamptz", BoundedTimestamptzLoader)


def install() -> None:
    """Do so for every connection that is opened from now on."""
    connection_created.connect(read_bounded, dispatch_uid="execution.bounded_times")
