"""How long anything of ours waits for a store, by kind of process: one page for every bound (docs/waits.md).

Nothing waits without a bound: a connection may be silenced without being closed, and a row may be locked by a session
that nobody remembers. What a program is, it says at its start (`hold`); what says nothing is an operator's command.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Kind(StrEnum):
    """What a process is for, as far as its patience goes."""

    # People and neighbours wait for its answers.
    WEB = "web"
    # Workers and beat: a task that fails is tried again.
    WORKER = "worker"
    # One thread reads what the exchange tells; nothing may hold it up for long.
    STREAM = "stream"
    # Commands and tests: somebody looks on.
    OPERATOR = "operator"
    # It rewrites tables and waits for as long as that takes.
    MIGRATION = "migration"


@dataclass(frozen=True, kw_only=True)
class DatabaseWaits:
    """Bounds of one session of PostgreSQL, in seconds; 0 is none.

    `lock`, `statement` and `idle_in_transaction` are kept by the server. `answer` is kept by us, for a server that is
    frozen or no longer hears us: it is longer than `statement`, so that a server that lives has the first word.
    """

    lock: float
    statement: float
    idle_in_transaction: float
    answer: float


DATABASE: Final = {
    Kind.WEB: DatabaseWaits(lock=2, statement=5, idle_in_transaction=20, answer=6),
    Kind.WORKER: DatabaseWaits(lock=1, statement=5, idle_in_transaction=20, answer=6),
    Kind.STREAM: DatabaseWaits(lock=0.3, statement=3, idle_in_transaction=20, answer=4),
    Kind.OPERATOR: DatabaseWaits(lock=10, statement=60, idle_in_transaction=60, answer=65),
    Kind.MIGRATION: DatabaseWaits(lock=0, statement=0, idle_in_transaction=0, answer=0),
}
# A connection that rested for so long is asked for a sign of life before it is used, and replaced when it gives none.
RESTED_SECONDS, SIGN_SECONDS = 0.25, 2.0
# How long a page of health waits for the stores, which are asked beside each other; it answers within a second.
HEALTH_SECONDS = 0.6
# For so long the last answer counts while the next one is late. What hangs ends its question sooner, with its name.
HEALTH_KEPT_SECONDS = 15.0
# All that health asks of PostgreSQL, together: the question goes on for as long, and the page tells that it is late.
HEALTH_DATABASE_SECONDS = 3.0
# libpq's: a connection, its keepalives, and what was sent and not acknowledged.
DATABASE_SOCKET: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# The same from the server's end, so that the session of a machine that is gone keeps no lock.
DATABASE_SERVER_SOCKET: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

# Every command of Redis, and making a connection. Blocking reads are asked to block for less: BRPOP of the broker for
# a second (kombu's `brpop_timeout`), XREAD of the bus for half a second (`BLOCK_MS`).
REDIS_SECONDS = 5.0
# A connection that rested for so long is asked for a sign of life; the broker's BRPOP is overdue by then.
REDIS_CHECK_SECONDS = 5
# A stop that asks for its turn, and a health page.
LIMITER_REDIS_SECONDS = 0.5
HEALTH_REDIS_SECONDS = 1.0

_held = Kind.OPERATOR


def hold(kind: Kind) -> None:
    """Say what this process is; connections made from now on have its bounds."""
    global _held  # noqa: PLW0603 -- a process is one thing
    _held = kind


def kind_held() -> Kind:
    return _held


def database_waits() -> DatabaseWaits:
    return DATABASE[_held]


@contextmanager
def held_as(kind: Kind) -> Iterator[None]:
    """Be something else for a while, as a migration is."""
    before = _held
    hold(kind)
    try:
        yield
    finally:
        hold(before)
