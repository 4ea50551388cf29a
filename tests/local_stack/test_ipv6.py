"""IPv6 in every setting that names a host: read with brackets or without, written with them where a port follows."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from kombu.connection import Connection
from redis.connection import parse_url

from execution_project.addresses import callable_host, in_url, is_loopback
from execution_project.env import Environment
from execution_project.settings import database_settings
from execution_project.store_urls import host_of_database_url
from local_stack.processes import Addresses, web
from local_stack.risk_safety import redis_url
from local_stack.server import end_process, free_port, listen_on, spawn, tail
from paper_exchange.config import Config
from paper_exchange.server import PaperServer
from tests.support.waiting import eventually

HERE = "::1"
ROOT = Path(__file__).resolve().parents[2]


def built(**given: Any) -> Environment:
    return Environment(_env_file=None, **given)


def redis_at(url: str) -> tuple[object, object, object]:
    found = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has few types
    return found["host"], found["port"], found["db"]


def broker_at(env: Environment) -> tuple[object, object, object]:
    url, transport = env.redis_broker.broker_url, "execution_project.broker:Transport"
    found = Connection(url, transport=transport)  # type: ignore[no-untyped-call]  # nor has kombu
    return found.hostname, found.port, found.virtual_host


OWN = {f"redis_{part}_url": f"redis://[::1]:637{number}/2" for number, part in enumerate(("bus", "broker", "state"))}
# Setting, and what the client that it is for makes of it.
SETTINGS: dict[str, tuple[Callable[[], object], object]] = {
    "REDIS_URL": (lambda: redis_at(built(redis_url="redis://[::1]:6379/4").redis), (HERE, 6379, 4)),
    "REDIS_URL, rediss": (lambda: redis_at(built(redis_url="rediss://u:p@[fd00::7]:6380").redis), ("fd00::7", 6380, 0)),
    "REDIS_HOST": (lambda: redis_at(built(redis_url="", redis_host="::1").redis), (HERE, 6379, 0)),
    "REDIS_HOST, in brackets": (lambda: redis_at(built(redis_url="", redis_host="[::1]").redis), (HERE, 6379, 0)),
    "REDIS_BUS_URL": (lambda: redis_at(built(**OWN).redis_bus), (HERE, 6370, 2)),
    "REDIS_STATE_URL": (lambda: redis_at(built(**OWN).redis_state), (HERE, 6372, 2)),
    "REDIS_BROKER_URL": (lambda: broker_at(built(**OWN)), (HERE, 6371, "2")),
    "REDIS_URL, of the broker": (lambda: broker_at(built(redis_url="redis://[::1]:6379/4")), (HERE, 6379, "4")),
    "REDIS_HOST, of the broker": (lambda: broker_at(built(redis_url="", redis_host="::1")), (HERE, 6379, "0")),
    "DATABASE_URL": (
        lambda: [database_settings("postgresql://u@[::1]:5433/books")[name] for name in ("HOST", "PORT", "NAME")],
        [HERE, "5433", "books"],
    ),
    "DATABASE_URL, by words": (lambda: host_of_database_url("host=::1 dbname=books"), HERE),
    "BINANCE_BASE_URL": (
        lambda: built(binance_base_url="http://[::1]:8700/").exchange_url,
        "http://[::1]:8700",
    ),
    "BINANCE_STREAM_URL": (lambda: built(binance_stream_url="ws://[::1]:8700").stream_url, "ws://[::1]:8700"),
    "RISK_SAFETY_SERVICE_URL": (
        lambda: built(risk_safety_service_url="http://[fd00::9]:8003/").risk_safety_url,
        "http://[fd00::9]:8003",
    ),
    "PUBLIC_URL": (
        lambda: (
            built(public_url="https://[2001:db8::1]").hosts[-1],
            built(public_url="https://[2001:db8::1]").origins,
        ),
        ("[2001:db8::1]", ["https://[2001:db8::1]"]),
    ),
    "HOST": (lambda: (built(host="::1").host, built(host="::1").api_key_required), (HERE, False)),
    "HOST, in brackets": (lambda: (built(host="[::1]").host, built(host="[::1]").api_key_required), (HERE, False)),
    "HOST, everywhere": (
        lambda: built(host="::", execution_api_key="a-key-of-sixteen-and-more").api_key_required,
        True,
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_takes_an_ipv6_host(setting: str) -> None:
    found, wanted = SETTINGS[setting]

    assert found() == wanted


@pytest.mark.parametrize("setting", ["host", "redis_host"])
@pytest.mark.parametrize("text", ["[::1]:8002", "127.0.0.1:6379", "localhost:1", "::g"])
def test_a_host_with_a_port_or_no_address_is_refused(setting: str, text: str) -> None:
    with pytest.raises(ValueError, match="must be a host name or an IP address alone"):
        built(**{setting: text})


def test_the_stand_in_reads_the_same_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("REDIS_HOST", HERE)

    assert redis_at(redis_url("")) == (HERE, 6379, 0)


@pytest.mark.parametrize(
    ("listens", "called", "bound"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1", "0.0.0.0"),
        ("::1", "[::1]", "[::1]"),
        ("::", "[::1]", "[::]"),
        ("[::1]", "[::1]", "[::1]"),
        ("fd00::7", "[fd00::7]", "[fd00::7]"),
        ("localhost", "localhost", "localhost"),
    ],
)
def test_where_the_web_process_listens_and_is_called(listens: str, called: str, bound: str) -> None:
    addresses = Addresses(host=listens, web_port=8002, flower_port=0, database_url="", redis_url="")

    assert (callable_host(listens), in_url(listens)) == (called, bound)
    assert addresses.web_url == f"http://{called}:8002"
    assert web(addresses).command[-1] == f"{bound}:8002"


# Servers that listen: on IPv6, too, where the machine has it


def loopbacks() -> list[str]:
    with suppress(OSError):
        listen_on(HERE, 0).close()
        return ["127.0.0.1", HERE]
    return ["127.0.0.1"]


@pytest.mark.parametrize("host", loopbacks())
def test_the_paper_exchange_answers_where_it_listens(host: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "paper_exchange", "--host", in_url(host), "--port", "0")
    check_server(command, tmp_path, "paper exchange ready on ", "/fapi/v1/ping", host)


@pytest.mark.parametrize("host", loopbacks())
def test_the_stand_in_answers_where_it_listens(host: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "local_stack.risk_safety", "--host", in_url(host), "--port", "0")
    check_server(command, tmp_path, "Stand-in risk-safety service on ", "/health", host)


def check_server(command: tuple[str, ...], folder: Path, says: str, path: str, host: str) -> None:
    """Start a server, read from its log where it is, and call it there."""
    log = folder / "log"
    with log.open("wb") as output:
        process = spawn(command, output=output, cwd=ROOT)
    try:
        url = eventually(lambda: said(process, log, says), within=60, what="it says where it is")
        assert url.startswith(f"http://{in_url(host)}:")
        answer = requests.get(f"{url}{path}", timeout=10, proxies={"http": ""})
        assert answer.status_code == 200, answer.text
    finally:
        end_process(process, signal.SIGTERM, 10)


def said(process: "subprocess.Popen[bytes]", log: Path, words: str) -> str:
    if process.poll() is not None:
        raise RuntimeError(tail(log))
    line = next((line for line in log.read_text().splitlines() if line.startswith(words)), "")
    return line.removeprefix(words).strip()


@pytest.mark.parametrize("host", loopbacks())
def test_gunicorn_binds_where_it_is_told(host: str, tmp_path: Path) -> None:
    application = tmp_path / "application.py"
    application.write_text(
        "def answer(environ, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"
    )
    port = free_port()
    command = (sys.executable, "-m", "gunicorn", "application:answer", "--bind", f"{in_url(host)}:{port}")
    with (tmp_path / "log").open("wb") as output:
        process = spawn(command, output=output, cwd=tmp_path)
    try:
        eventually(lambda: accepts(host, port), within=60, what="it listens")
        assert requests.get(f"http://{in_url(host)}:{port}/", timeout=10, proxies={"http": ""}).text == "ok"
    finally:
        end_process(process, signal.SIGTERM, 10)


def accepts(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def test_the_paper_exchange_names_its_address_in_brackets() -> None:
    exchange = PaperServer.__new__(PaperServer)
    exchange.config, exchange.port = Config(host=HERE), 8700

    assert exchange.url == "http://[::1]:8700"
    assert is_loopback(HERE)
