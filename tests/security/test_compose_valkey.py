"""The Valkey of docker-compose.yml, started here with the same script and the same file of users."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as ConnectionFailed

from local_stack.bus import stream_key
from local_stack.server import free_port
from local_stack.valkey import find_valkey
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICE: dict[str, Any] = COMPOSE["services"]["redis"]
PARTS = ("BUS", "BROKER", "STATE", "NEIGHBOUR")
PASSWORDS = {f"VALKEY_{part}_PASSWORD": token_hex(16) for part in PARTS}
ASKED = re.compile(r"\$\{([A-Z_]+):\?[^}]*\}")


def command(folder: Path) -> list[str]:
    """Return the container's command with its folders here; `$$` is how compose writes `$`."""
    shell, flag, script = SERVICE["command"]
    [config] = SERVICE["configs"]
    users = ROOT / COMPOSE["configs"][config["source"]]["file"]
    places = {
        # First: the folders here may lie below it.
        "/tmp/": f"{folder}/",  # noqa: S108 -- of the container
        config["target"]: str(users),
        "--dir /data": f"--dir {folder}",
    }
    script = script.replace("$$", "$")
    for there, here in places.items():
        assert there in script
        script = script.replace(there, here)
    return [shell, flag, script]


def environment(folder: Path, given: dict[str, str]) -> dict[str, str]:
    """Return the container's environment, with a `valkey-server` on its path that listens where a test may."""
    (folder / "valkey-server").symlink_to(find_valkey())
    own = {name: ASKED.sub(lambda asked: given[asked[1]], value) for name, value in SERVICE["environment"].items()}
    return {**own, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, chosen = tmp_path_factory.mktemp("valkey"), free_port()
    words = command(folder)
    words[2] += f" --port {chosen} --bind 127.0.0.1"
    process = subprocess.Popen(words, env=environment(folder, PASSWORDS))
    try:
        eventually(lambda: answers(chosen), within=60, what="Valkey answers", every=0.05)
        yield chosen
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        with login("STATE", port) as client:
            return bool(client.ping())
    except ConnectionFailed:
        return False


def login(part: str, port: int) -> "Redis":
    """Return a client of one user, by the address that compose gives the service or the stand-in."""
    name = {"NEIGHBOUR": "REDIS_URL"}.get(part, f"REDIS_{part}_URL")
    where = COMPOSE["services"]["risk-safety" if part == "NEIGHBOUR" else "worker-orders"]["environment"][name]
    return Redis.from_url(
        ASKED.sub(lambda asked: PASSWORDS[asked[1]], where).replace("redis:6379", f"127.0.0.1:{port}")
    )


def test_each_user_signs_in_and_keeps_to_its_keys(port: int) -> None:
    allowed: dict[str, tuple[Any, ...]] = {
        "BUS": ("XADD", stream_key("order.placed"), "*", "a", "b"),
        "BROKER": ("LPUSH", "execution-broker:orders", "x"),
        "STATE": ("SET", "execution:x", "1"),
        "NEIGHBOUR": ("XADD", stream_key("ai.decision.made"), "*", "a", "b"),
    }
    refused = {"BUS": "BROKER", "BROKER": "BUS", "STATE": "BUS", "NEIGHBOUR": "STATE"}
    for part, words in allowed.items():
        with login(part, port) as client:
            assert client.execute_command(*words)
            with pytest.raises(NoPermissionError):
                client.execute_command(*allowed[refused[part]])
            for administration in ("FLUSHALL", "CONFIG GET *", "ACL LIST", "SHUTDOWN NOSAVE"):
                with pytest.raises(NoPermissionError):
                    client.execute_command(*administration.split())


@pytest.mark.parametrize("address", ["redis://", "redis://:x@", "redis://default:@", "redis://neighbour:x@"])
def test_nobody_else_signs_in(port: int, address: str) -> None:
    with Redis.from_url(f"{address}127.0.0.1:{port}/0") as client, pytest.raises(AuthenticationError):
        client.ping()


def test_no_password_stands_on_a_command_line(port: int) -> None:  # noqa: ARG001 -- it runs
    lines = b"".join(file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists())

    assert [name for name, password in PASSWORDS.items() if password.encode() in lines] == []


@pytest.mark.parametrize("password", ["", "two words", "x allkeys", "a&b", "a/b", "#abc", "nopass\n"])
@pytest.mark.parametrize("part", PARTS)
def test_a_password_that_would_be_another_rule_starts_nothing(part: str, password: str, tmp_path: Path) -> None:
    name = f"VALKEY_{part}_PASSWORD"

    done = subprocess.run(
        command(tmp_path),
        env=environment(tmp_path, PASSWORDS | {name: password}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode != 0
    assert f"{name} must be letters and digits" in done.stderr
