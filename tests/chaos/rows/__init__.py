"""The stories of the matrix by theme; importing this package enters all of them."""

from tests.chaos.rows import (
    account,
    answers,
    clockwork,
    inputs,
    kills,
    limits,
    neighbours,
    postgres_faults,
    protection,
    redis_faults,
    repeats,
)

__all__ = [
    "account",
    "answers",
    "clockwork",
    "inputs",
    "kills",
    "limits",
    "neighbours",
    "postgres_faults",
    "protection",
    "redis_faults",
    "repeats",
]
