"""Reads which outbox ids have been given, and which writers may still commit one of them."""

from django.db import connection

# A writer holds this lock from its first insert to its commit, which is milliseconds later.
WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'execution_outboxevent'::regclass AND mode = 'RowExclusiveLock'
      AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LAST_ID = "SELECT pg_sequence_last_value(pg_get_serial_sequence('execution_outboxevent', 'id')::regclass)"


def last_event_id() -> int | None:
    """Return the highest id given so far, committed or not, or None before the first."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_ID)
        (last,) = cursor.fetchone()
    return None if last is None else int(last)


def event_writers() -> set[str]:
    """Return the transactions, by their virtual ids, that have inserted events and have not ended yet."""
    with connection.cursor() as cursor:
        cursor.execute(WRITERS)
        return {str(row[0]) for row in cursor.fetchall()}
