"""Servers, exchange and the service's processes under a section that kills them, with the times of production.

The programs are those of `make run`, without web and Flower, unless a section needs others.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local_stack.postgres import start_postgres
from local_stack.processes import PYTHON, Program, migrated_file
from local_stack.server import spawn, tail
from local_stack.supervisor import StackError
from local_stack.valkey import start_valkey
from tests.bench.stack import ENVIRONMENT
from tests.support.paper import PaperExchange
from tests.support.stack import READY_SECONDS, ROOT, CeleryStack

SETTINGS = {
    **ENVIRONMENT,
    "BINANCE_API_KEY": PaperExchange.key,
    "BINANCE_API_SECRET": PaperExchange.secret,
    "SECRET_KEY": "a-key-for-the-benchmark-only",
    "HOST": "127.0.0.1",
}


@contextmanager
def live_stack(
    folder: Path, exchange_options: Sequence[str], *, programs: Sequence[Program] = (), limits: bool = False
) -> Iterator[CeleryStack]:
    """Start everything, on durable servers as in production, and stop it in reverse order.

    `limits`: the exchange enforces its limits of requests and orders.
    """
    with ExitStack() as undo:
        valkey = start_valkey(folder / "valkey")
        undo.callback(valkey.stop)
        postgres = start_postgres(folder / "postgres")
        undo.callback(postgres.stop)
        migrate(folder, postgres.url, valkey.url)
        stack = CeleryStack(
            database_url=postgres.url,
            redis_url=valkey.url,
            folder=folder,
            programs=programs,
            settings=SETTINGS,
            paper=PaperExchange(*exchange_options, limits=limits),
        )
        yield undo.enter_context(stack)


def migrate(folder: Path, database_url: str, redis_url: str) -> None:
    log = folder / "migrate.log"
    env = {
        **SETTINGS,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ADMIN_PASSWORD": "not-used-here",
        "MIGRATED_FILE": str(migrated_file(folder)),
    }
    with log.open("wb") as output:
        process = spawn((PYTHON, "-m", "local_stack.prepare_database"), output=output, cwd=ROOT, env=env)
        if process.wait(READY_SECONDS) != 0:
            raise StackError(f"the migration failed: {tail(log)}")
