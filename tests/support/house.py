"""A desk's surroundings outside of pytest: real PostgreSQL, Valkey, paper exchange and neighbour, for long stories.

It starts its own servers, whatever the shell says: what it works on is wiped between two stories.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command
from django.db import connection
from redis import Redis

from local_stack.postgres import start_postgres
from local_stack.valkey import start_valkey
from tests.services import DEFAULTS, PAPER
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn

if TYPE_CHECKING:
    from tests.support.desk import Desk


@dataclass(frozen=True, kw_only=True)
class House:
    """Everything that a desk works with; `open_desk()` gives an empty one."""

    paper: PaperExchange
    risk: RiskSafetyStandIn
    redis: Redis

    def open_desk(self) -> "Desk":
        """Wipe books, bus and exchange, and begin as after a stack's first cycle."""
        # Models can be imported once Django is set up.
        from tests.support.desk import Desk  # noqa: PLC0415

        self.paper.reset()
        self.risk.restore()
        self.redis.flushdb()
        forget_books()
        desk = Desk(paper=self.paper, risk=self.risk, redis=self.redis)
        desk.start()
        return desk


@contextmanager
def house(paper: PaperExchange) -> Iterator[House]:
    """Start what a desk needs, set Django up on it, and stop everything in reverse order at the end."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="execution-house-")))
        postgres = start_postgres(folder / "postgres", durable=False)
        undo.callback(postgres.stop)
        valkey = start_valkey(folder / "valkey", durable=False)
        undo.callback(valkey.stop)
        undo.callback(_put_back, dict(os.environ))
        os.environ |= {**DEFAULTS, **PAPER, "DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
        # Long stories have more positions, and stops farther away, than any account should.
        os.environ |= {"HARD_MAX_POSITIONS": "10000", "HARD_MAX_STOP_DISTANCE_PCT": "0.5"}
        os.environ |= {"DJANGO_SETTINGS_MODULE": "execution_project.settings", "LOG_LEVEL": "CRITICAL"}
        django.setup()
        call_command("migrate", verbosity=0)
        undo.callback(connection.close)
        undo.enter_context(paper)
        risk = undo.enter_context(RiskSafetyStandIn(valkey.url))
        redis = Redis.from_url(valkey.url)
        undo.callback(redis.close)
        yield House(paper=paper, risk=risk, redis=redis)


def _put_back(environment: dict[str, str]) -> None:
    """Let what this process starts later not look for our servers."""
    os.environ.clear()
    os.environ |= environment


def forget_books() -> None:
    """Truncate all tables of the service, also the one that refuses changes."""
    with connection.cursor() as cursor:
        # Triggers that keep the journal append-only are for the service, not for us.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'execution_%%'")
        names = ", ".join(f'"{row[0]}"' for row in cursor.fetchall())
        cursor.execute(f"TRUNCATE {names}")
        cursor.execute("SET session_replication_role = DEFAULT")
