"""One holder at a time of a piece of work, by an advisory lock of its database session."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(number: int) -> Iterator[bool]:
    """Yield whether this caller has the work now. It saves double work, correctness never rests on it.

    A killed holder's session is closed with its socket, so the next one need not wait for a lease to run out.

    Args:
        number: the lock's own, within 64 signed bits.

    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        (held,) = cursor.fetchone()
    try:
        yield held
    finally:
        # A connection that was lost in the meantime has taken the lock with it.
        if held and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
