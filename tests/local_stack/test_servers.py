"""Real PostgreSQL and Valkey: they start, keep their data, survive kill -9 and never outlive their parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis

from local_stack import postgres
from local_stack.lease import InUseError, Lease
from local_stack.postgres import remove_data, start_postgres
from local_stack.server import Server, StartError, spawn
from local_stack.valkey import start_valkey
from tests.local_stack.helpers import PYTHON, ROOT, descendants, is_alive
from tests.support.waiting import eventually

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
Start = Callable[..., Server]


@pytest.fixture
def stop_later() -> Iterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.stop()


def ask(server: Server, sql: str) -> object:
    with closing(psycopg.connect(server.url, autocommit=True)) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone() if cursor.description else None


def write(server: Server) -> None:
    if server.name == "PostgreSQL":
        ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    else:
        with closing(redis.Redis.from_url(server.url)) as client:
            client.set("kept", "42")


def is_written(server: Server) -> bool:
    if server.name == "PostgreSQL":
        return ask(server, "SELECT answer FROM kept") == (42,)
    with closing(redis.Redis.from_url(server.url)) as client:
        return bool(client.get("kept") == b"42")


@pytest.mark.parametrize("start", [start_postgres, start_valkey])
def test_data_survives_a_stop_and_a_kill(tmp_path: Path, stop_later: list[Server], start: Start) -> None:
    first = start(tmp_path / "data")
    stop_later.append(first)
    write(first)
    first.stop()
    # It should be gone, and a second stop should be harmless.
    assert first.process.returncode == 0
    first.stop()

    second = start(tmp_path / "data")
    stop_later.append(second)
    # It should have kept what was written.
    assert is_written(second)

    if second.name == "Valkey":
        # A second's worth of writes may be lost by a kill, as configured; this one is older.
        with closing(redis.Redis.from_url(second.url)) as client:
            eventually(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
    os.kill(second.process.pid, signal.SIGKILL)
    second.process.wait()
    second.lease.release()
    third = start(tmp_path / "data")
    stop_later.append(third)
    # It should start in spite of what the killed one left, with the data.
    assert is_written(third)


def test_a_stale_lock_file_with_a_number_in_use_does_not_hinder(tmp_path: Path, stop_later: list[Server]) -> None:
    server = start_postgres(tmp_path / "data", durable=False)
    server.process.kill()
    server.process.wait()
    server.lease.release()
    lock_file = tmp_path / "data/postmaster.pid"
    _, _, rest = lock_file.read_text().partition("\n")
    # Number 1 runs on every machine: PostgreSQL alone would refuse to start now.
    lock_file.write_text(f"1\n{rest}")

    stop_later.append(start_postgres(tmp_path / "data", durable=False))
    assert ask(stop_later[0], "SELECT 1") == (1,)


@pytest.mark.parametrize("start", [start_postgres, start_valkey])
def test_listens_on_loopback_only_at_the_given_port(tmp_path: Path, stop_later: list[Server], start: Start) -> None:
    server = start(tmp_path / "data", port=18050, durable=False)
    stop_later.append(server)

    assert server.port == 18050
    assert "127.0.0.1:18050/" in server.url
    if sys.platform == "linux":
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line]
        # 127.0.0.1, written backwards, and 18050.
        assert [address for address in listening if address.endswith(":4682")] == ["0100007F:4682"]


def test_a_folder_in_use_is_refused(tmp_path: Path, stop_later: list[Server]) -> None:
    stop_later.append(start_valkey(tmp_path / "data", durable=False))

    with pytest.raises(InUseError, match="still running"):
        start_valkey(tmp_path / "data", durable=False)
    # The running one should not have been touched.
    assert stop_later[0].process.poll() is None


def test_a_start_that_fails_shows_the_log_and_frees_the_folder(tmp_path: Path, stop_later: list[Server]) -> None:
    stop_later.append(start_valkey(tmp_path / "first", durable=False))

    with pytest.raises(StartError, match="already in use"):
        start_valkey(tmp_path / "second", port=stop_later[0].port, durable=False)
    stop_later.append(start_valkey(tmp_path / "second", durable=False))


@on_linux
def test_a_killed_parent_leaves_nothing_alive(tmp_path: Path) -> None:
    code = f"""
import sys, pathlib
from local_stack.postgres import start_postgres
from local_stack.valkey import start_valkey
folder = pathlib.Path({str(tmp_path)!r})
started = [start_postgres(folder / "pg"), start_valkey(folder / "valkey")]
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [PYTHON, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        family = descendants(parent.pid)
        # PostgreSQL has children of its own.
        assert len(family) > 4
        parent.kill()
        eventually(lambda: not any(map(is_alive, family)))

    # And what it held should be free.
    start_valkey(tmp_path / "valkey").stop()


def test_a_leftover_of_a_dead_owner_is_ended(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path / "owner.lease")
    leftover = spawn([PYTHON, "-c", "import time; time.sleep(60)"], output=subprocess.DEVNULL)
    lease.record(leftover.pid)
    # The owner dies: its lock goes, its record stays.
    lease.file.close()

    Lease.take(tmp_path / "owner.lease").release()
    assert leftover.wait(5) == -signal.SIGTERM


def test_a_number_that_belongs_to_somebody_else_now_is_spared(tmp_path: Path) -> None:
    stranger = spawn([PYTHON, "-c", "import time; time.sleep(60)"], output=subprocess.DEVNULL)
    (tmp_path / "owner.lease").write_text(f"{stranger.pid} another-boot 12345\n")

    Lease.take(tmp_path / "owner.lease").release()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_postgres_runs_as_nobody_where_namespaces_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(postgres, "choose_identity", lambda: "nobody")
    request.addfinalizer(lambda: remove_data(tmp_path / "data"))
    # pytest's own folders are private to root, as a project under /root would be.
    tmp_path.chmod(0o700)
    server = start_postgres(tmp_path / "data")
    write(server)
    owner = Path(f"/proc/{server.process.pid}").stat().st_uid
    server.stop()
    # It should have run as an ordinary user and left the private folder private.
    assert owner != 0
    assert tmp_path.stat().st_mode & 0o777 == 0o700

    again = start_postgres(tmp_path / "data")
    assert is_written(again)
    again.stop()
    home = (tmp_path / "data").resolve().parent
    remove_data(tmp_path / "data")
    # It should leave nothing in the shared folder.
    assert not home.exists()


def test_nothing_installed_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_candidates", lambda: iter(()))
    with pytest.raises(StartError, match="DATABASE_URL"):
        postgres.find_binaries()
