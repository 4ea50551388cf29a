"""The stories of the matrix by theme; importing this package enters all of them."""

from tests.chaos.rows import (
    account,
    answers,
    clockwork,
    everything,
    inputs,
    judged,
    kills,
    limits,
    neighbours,
    postgres_faults,
    protection,
    redis_faults,
    repeats,
    stream,
    triggers,
)

__all__ = [
    "account",
    "answers",
    "clockwork",
    "everything",
    "inputs",
    "judged",
    "kills",
    "limits",
    "neighbours",
    "postgres_faults",
    "protection",
    "redis_faults",
    "repeats",
    "stream",
    "triggers",
]
