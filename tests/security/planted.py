"""A running service in which every secret is a marker, and the places in which a marker must never be found."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import psycopg
import requests
from psycopg import sql
from redis import Redis

from local_stack.credentials import Credentials
from local_stack.processes import Addresses, Program, flower, web
from local_stack.server import free_port
from tests.security.producers import producer_keys, signing_as
from tests.support.databases import copied_database
from tests.support.paper import PaperExchange
from tests.support.stack import SHORT, CeleryStack, crew
from tests.support.waiting import eventually

HOST = "127.0.0.1"
REDIS_DATABASE = 6
REDIS_USER = "planted"
ADMIN, FLOWER_USER = "planted-admin", "watcher"
# Unlike anything that stands in code, logs or data by itself. Each names the setting that it was planted in.
MARKERS = {
    name: f"MarkerOf{name.title().replace('_', '')}x7Qf2LkW9pZr4Vn8"
    for name in (
        *("PAPER_API_KEY", "PAPER_API_SECRET", "BINANCE_API_KEY", "BINANCE_API_SECRET", "BINANCE_TESTNET_API_KEY"),
        *("BINANCE_TESTNET_API_SECRET", "REDIS_PASSWORD", "DATABASE_PASSWORD", "SECRET_KEY", "EXECUTION_API_KEY"),
        *("FLOWER_BASIC_AUTH", "DATABASE_URL", "REDIS_URL", "EVENT_SIGNING_KEYS", "EVENT_OWN_KEY_SECRET"),
    )
}
ADMIN_PASSWORD = "MarkerOfAdminPasswordx7Qf2LkW9pZr4Vn8"


class PlantedPaper(PaperExchange):
    """A paper exchange that knows the planted key."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.add_account(MARKERS["PAPER_API_KEY"], MARKERS["PAPER_API_SECRET"])
        return self


@dataclass(frozen=True, kw_only=True)
class Planted:
    """The running service, where its parts listen and where it writes."""

    stack: CeleryStack
    folder: Path
    redis_url: str
    web_url: str
    flower_url: str

    @property
    def api(self) -> requests.Session:
        """A client of the API that holds the key."""
        return _session(headers={"X-API-Key": MARKERS["EXECUTION_API_KEY"]})

    @property
    def flower(self) -> requests.Session:
        """A client that has signed in to Flower."""
        return _session(auth=(FLOWER_USER, MARKERS["FLOWER_BASIC_AUTH"]))

    @property
    def stranger(self) -> requests.Session:
        return _session()

    def manage(self, *arguments: str, **further: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command of an operator with the planted settings."""
        return subprocess.run(
            (sys.executable, *arguments),
            env=self.stack.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **further,
        )


def found_in(text: str, *, also: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the secrets that a text gives away, in any of their spellings."""
    secrets = (
        MARKERS | {"ADMIN_PASSWORD": ADMIN_PASSWORD} | {f"also {place}": value for place, value in enumerate(also)}
    )
    return [name for name, value in secrets.items() if value in text or quote(value) in text]


@contextmanager
def planted_service(folder: Path) -> Iterator[Planted]:
    """Run the whole service, web and Flower too, on the test's servers with markers for secrets, logging at DEBUG."""
    with ExitStack() as undo:
        database_url = _planted_database(undo)
        redis_url = _planted_redis(undo)
        addresses = Addresses(
            host=HOST, web_port=free_port(), flower_port=free_port(), database_url=database_url, redis_url=redis_url
        )
        credentials = Credentials(
            admin_password=ADMIN_PASSWORD, flower_password=MARKERS["FLOWER_BASIC_AUTH"], secret_key=""
        )
        window = flower(addresses, credentials)
        user = {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{MARKERS['FLOWER_BASIC_AUTH']}"}
        programs = [*crew(folder), web(addresses), _with(window, user)]
        stack = CeleryStack(
            database_url=database_url,
            redis_url=redis_url,
            folder=folder,
            programs=programs,
            settings=planted_settings(),
            paper=PlantedPaper(),
            seal=signing_as(MARKERS["EVENT_SIGNING_KEYS"]),
        )
        undo.enter_context(stack)
        planted = Planted(
            stack=stack,
            folder=folder,
            redis_url=redis_url,
            web_url=addresses.web_url,
            flower_url=addresses.flower_url,
        )
        eventually(lambda: _answers(addresses.web_url, 200), within=60, what="the web server answers", every=0.2)
        eventually(lambda: _answers(addresses.flower_url, 401), within=60, what="Flower answers", every=0.2)
        yield planted


def planted_settings() -> dict[str, str]:
    within_others = {"DATABASE_URL", "REDIS_URL", "FLOWER_BASIC_AUTH", "EVENT_SIGNING_KEYS"}
    plain = {name: value for name, value in MARKERS.items() if name not in within_others}
    events = {"EVENT_OWN_KEY_ID": "execution", "EVENT_SIGNING_KEYS": producer_keys(MARKERS["EVENT_SIGNING_KEYS"])}
    return {**SHORT, **plain, **events, "LOG_LEVEL": "DEBUG"}


def _with(program: Program, env: Mapping[str, str]) -> Program:
    return replace(program, env={**program.env, **env})


def _planted_database(undo: ExitStack) -> str:
    """Return the URL, with a password, of a copy of the migrated test database."""
    url = urlsplit(undo.enter_context(copied_database("planted")))
    host = url.netloc.rpartition("@")[2]
    return url._replace(netloc=f"{url.username}:{MARKERS['DATABASE_URL']}@{host}").geturl()


def _planted_redis(undo: ExitStack) -> str:
    """Return the URL of the test's Valkey for a user with a password."""
    url = urlsplit(os.environ["REDIS_URL"])
    admin = Redis.from_url(os.environ["REDIS_URL"])
    undo.callback(admin.close)
    undo.callback(admin.acl_deluser, REDIS_USER)
    admin.acl_setuser(
        REDIS_USER,
        enabled=True,
        passwords=[f"+{MARKERS['REDIS_URL']}"],
        keys=["*"],
        channels=["*"],
        categories=["+@all"],
    )
    login = f"{REDIS_USER}:{MARKERS['REDIS_URL']}@{url.hostname}:{url.port}"
    return url._replace(netloc=login, path=f"/{REDIS_DATABASE}").geturl()


def _session(*, headers: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.update(headers or {})
    session.auth = auth
    return session


def _answers(url: str, status: int) -> bool:
    try:
        return _session().get(f"{url}/health/live", timeout=5).status_code == status
    except requests.RequestException:
        return False


# Places in which a secret could lie


def everything_in_redis(planted: Planted) -> str:
    """Return every key of the service's Redis database with its value."""
    readers: dict[str, Any] = {
        "string": lambda redis, key: redis.get(key),
        "list": lambda redis, key: redis.lrange(key, 0, -1),
        "set": lambda redis, key: redis.smembers(key),
        "zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
        "hash": lambda redis, key: redis.hgetall(key),
        "stream": lambda redis, key: redis.xrange(key),
    }
    lines = []
    with Redis.from_url(planted.redis_url) as redis:
        for key in redis.scan_iter(count=1000):
            kind: Any = redis.type(key)
            # It may have been taken away since it was listed.
            lines.append(repr((key, readers[kind.decode()](redis, key) if kind != b"none" else None)))
    return "\n".join(lines)


def everything_in_the_database(planted: Planted) -> str:
    """Return every row of every table as text."""
    with psycopg.connect(planted.stack.database_url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        rows = [
            str(row[0])
            for (name,) in tables.fetchall()
            for row in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))).fetchall()
        ]
    return "\n".join(rows)


def every_command_line() -> str:
    """Return what everybody on the machine can read: the command lines of all processes."""
    return "\n".join(
        file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if file.exists()
    )


def every_log(planted: Planted) -> str:
    return "\n".join(file.read_text(errors="replace") for file in sorted(planted.folder.rglob("*.log")))
