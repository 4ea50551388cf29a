"""Several calls at the same moment, each in a thread with a database connection of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connections

Value = TypeVar("Value")
LONGEST_SECONDS = 30.0


def at_once(calls: Sequence[Callable[[], Value]]) -> list[Value]:
    """Start all calls together and return their results in order; the first exception of any is raised.

    The caller's test needs `django_db(transaction=True)`: other connections see only what is committed.
    """
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Value]) -> Value:
        try:
            barrier.wait(LONGEST_SECONDS)
            return call()
        finally:
            # An open connection would keep the test database from being dropped.
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(run, call) for call in calls]
        return [future.result(LONGEST_SECONDS) for future in futures]
