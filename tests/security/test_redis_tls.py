"""`rediss://` encrypts every connection, the broker's too, to a server that proves who it is; nothing goes plain.

What ends TLS stands in front of the test's real Valkey, asks for a client's certificate, and notes who speaks plain.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from execution.adapters.redis_bus import redis_connection
from execution_project.env import Environment
from execution_project.redis_address import RedisAddress, read_redis
from local_stack.bus import connect
from local_stack.credentials import ADMIN, Credentials
from local_stack.processes import Addresses, flower, web
from local_stack.server import HOST, free_port
from tests.security.certificates import Authority, authority, pair, server
from tests.security.test_tls import WRONG as OF_SERVICES
from tests.security.traps import Trap, answering, trap
from tests.support.databases import copied_database, redis_address
from tests.support.stack import CeleryStack, crew
from tests.support.tls_line import TlsLine, tls_line
from tests.support.waiting import eventually

# Apart from the numbers of the other suites.
REDIS_DATABASE = 11
USER, PASSWORD = "of-the-tls-test", "a-password-that-nobody-hears"
FLOWER_PASSWORD = "a-password-of-flower"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("known"), "known")


@pytest.fixture(scope="module")
def files(known: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of TLS: whom to trust, and what we prove ourselves with."""
    certificate, key = pair(tmp_path_factory.mktemp("client") / "pair", signed_by=known)
    return {
        "REDIS_TLS_CA_FILE": str(known.certificate),
        "REDIS_TLS_CERT_FILE": str(certificate),
        "REDIS_TLS_KEY_FILE": str(key),
    }


@pytest.fixture(scope="module")
def line(known: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsLine]:
    """The test's Valkey behind TLS, for clients with a certificate of the known authority; it has a user of ours."""
    certificate, key = pair(tmp_path_factory.mktemp("server") / "pair", signed_by=known)
    proof = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proof.load_cert_chain(certificate, key)
    proof.load_verify_locations(known.certificate)
    proof.verify_mode = ssl.CERT_REQUIRED
    port = urlsplit(os.environ["REDIS_URL"]).port
    assert port
    with Redis.from_url(os.environ["REDIS_URL"]) as admin, tls_line(port, proof=proof) as running:
        admin.acl_setuser(
            USER, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
        )
        yield running
        admin.acl_deluser(USER)


def url_of(port: int) -> str:
    return f"rediss://{USER}:{PASSWORD}@localhost:{port}/{REDIS_DATABASE}"


# The whole service


@pytest.mark.e2e
@pytest.mark.django_db(transaction=True)
def test_no_process_of_the_service_speaks_plain(line: TlsLine, files: dict[str, str], tmp_path: Path) -> None:
    addresses = Addresses(host=HOST, web_port=free_port(), flower_port=free_port(), database_url="", redis_url="")
    window = flower(addresses, Credentials(admin_password="", flower_password=FLOWER_PASSWORD, secret_key=""))
    with copied_database("redistls") as database_url:
        stack = CeleryStack(
            database_url=database_url,
            redis_url=redis_address(REDIS_DATABASE),
            folder=tmp_path,
            programs=[*crew(tmp_path), web(addresses), window],
        )
        stack.lines = {"REDIS_URL": url_of(line.port), **files}
        with stack:
            stack.decide(stack.symbols[:2])
            stack.await_final(requests=2, within=60)
            stack.check()
            eventually(lambda: health_of(addresses)["status"] == "OK", within=60, what="health says OK", every=0.3)
            eventually(lambda: queues_of(addresses), within=60, what="Flower reads the queues", every=0.3)
            callers = clients_of(stack.redis)
            stack.close_everything_by_hand()

    assert line.plain == []
    # Nobody has gone round the line: what is signed in as the service's user came through it.
    assert len(callers) >= len(stack.programs)
    assert line.encrypted >= len(callers)
    logs = "".join(log.read_text(errors="replace") for log in tmp_path.glob("*.log"))
    assert PASSWORD not in logs


def health_of(addresses: Addresses) -> dict[str, Any]:
    with suppress(requests.RequestException):
        found: dict[str, Any] = requests.get(f"{addresses.web_url}/health", timeout=5).json()
        return found
    return {"status": "does not answer"}


def queues_of(addresses: Addresses) -> list[dict[str, Any]]:
    """Return what Flower says of each queue: it asks Redis with a client of its own."""
    with suppress(requests.ConnectionError):
        answer = requests.get(f"{addresses.flower_url}/api/queues/length", auth=(ADMIN, FLOWER_PASSWORD), timeout=10)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["active_queues"]
        return found
    return []


def clients_of(redis: "Redis") -> list[dict[str, str]]:
    everybody: Any = redis.client_list()
    return [client for client in everybody if client["user"] == USER]


# Each kind of client alone


def ask_by_redis(address: RedisAddress) -> None:
    """As bus, state, limiter, health, stream and protector do (execution/wiring.py)."""
    with redis_connection(address.url, timeout_seconds=3) as client:
        client.ping()


def ask_by_broker(address: RedisAddress) -> None:
    """As workers, beat, web and the stream do: Celery's own way to a connection, with our transport."""
    app = Celery("one", broker=address.broker_url, set_as_current=False)
    app.conf.update(
        broker_transport="execution_project.broker:Transport",
        broker_use_ssl=address.broker_tls or False,
        broker_transport_options={"socket_timeout": 3, "socket_connect_timeout": 3},
    )
    with app.connection_for_write() as connection:
        connection.default_channel.client.ping()


def ask_by_flower(address: RedisAddress) -> None:
    from flower.utils.broker import Broker  # noqa: PLC0415 -- it is loaded where it is used

    broker = Broker(address.broker_url, broker_options={}, broker_use_ssl=address.broker_tls or False)
    asyncio.run(broker.queues(["orders"]))


def ask_by_local_stack(address: RedisAddress) -> None:
    async def ping() -> None:
        async with connect(address.url) as client:
            await client.ping()

    asyncio.run(ping())


CLIENTS: Mapping[str, Callable[[RedisAddress], None]] = {
    "redis": ask_by_redis,
    "broker": ask_by_broker,
    "flower": ask_by_flower,
    "local stack": ask_by_local_stack,
}
# A certificate without a single name is judged by its subject, as private authorities write them for stores.
WRONG: Mapping[str, Callable[[Path, Authority, Authority], ssl.SSLContext]] = {
    **OF_SERVICES,
    "of another address": lambda folder, known, _other: server(
        folder, signed_by=known, hosts="IP:127.0.0.9,DNS:elsewhere.example"
    ),
}
REFUSALS = (RedisError, OperationalError, OSError)


def read(port: int, files: Mapping[str, str]) -> RedisAddress:
    return Environment(_env_file=None, redis_url=url_of(port), **lower(files)).redis_broker


def lower(files: Mapping[str, str]) -> dict[str, Any]:
    return {name.lower(): value for name, value in files.items()}


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_is_served_with_a_certificate(client: str, line: TlsLine, files: dict[str, str]) -> None:
    CLIENTS[client](read(line.port, files))

    assert line.plain == []


@pytest.mark.parametrize("client", CLIENTS)
def test_none_is_served_without_its_own_certificate(client: str, line: TlsLine, files: dict[str, str]) -> None:
    before = line.hellos
    with pytest.raises(REFUSALS):
        CLIENTS[client](read(line.port, {"REDIS_TLS_CA_FILE": files["REDIS_TLS_CA_FILE"]}))

    assert line.hellos > before
    assert line.plain == []


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("certificate", WRONG)
def test_a_server_with_a_wrong_certificate_hears_no_password(
    certificate: str, client: str, known: Authority, files: dict[str, str], tmp_path: Path
) -> None:
    other = authority(tmp_path, "other")
    with trap(answering("200 OK"), tls=WRONG[certificate](tmp_path / "server", known, other)) as stranger:
        refused_by(client, stranger, files)

    assert stranger.heard == []


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_without_tls_hears_no_password(client: str, files: dict[str, str]) -> None:
    with trap(answering("200 OK")) as stranger:
        refused_by(client, stranger, files)

    assert stranger.heard
    assert all(PASSWORD.encode() not in heard for heard in stranger.heard)


def refused_by(client: str, stranger: Trap, files: dict[str, str]) -> None:
    with pytest.raises(REFUSALS):
        CLIENTS[client](read(stranger.port, files))
    eventually(lambda: stranger.connections >= 1, what="the connection is seen at the other end")


# Settings


def test_the_address_of_every_part_is_encrypted_to_the_same_authority(files: dict[str, str]) -> None:
    urls: dict[str, Any] = {
        f"redis_{part}_url": url_of(port) for port, part in enumerate(("bus", "broker", "state"), start=7001)
    }
    env = Environment(_env_file=None, **urls, **lower(files))

    for url in (env.redis_bus, env.redis_broker.url, env.redis_state):
        assert read_redis(url).tls["ssl_ca_certs"] == files["REDIS_TLS_CA_FILE"]
    assert env.redis_broker.broker_tls == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_ca_certs": files["REDIS_TLS_CA_FILE"],
        "ssl_certfile": files["REDIS_TLS_CERT_FILE"],
        "ssl_keyfile": files["REDIS_TLS_KEY_FILE"],
    }
