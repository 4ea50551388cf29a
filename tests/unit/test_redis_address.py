"""One reading of an address of Redis, for redis-py and kombu alike; what is wrong is one line without a secret."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection
from pydantic import ValidationError
from redis import ConnectionPool
from redis.connection import parse_url

from execution_project.broker_names import KEY_PREFIX
from execution_project.env import Environment, describe_refusal
from execution_project.redis_address import read_redis
from tests.security.certificates import authority, pair

WORDS = "?ssl_cert_reqs=required&ssl_check_hostname=true"
# Address: as redis-py gets it, and as kombu does.
ADDRESSES = {
    "redis://h": ("redis://h:6379/0", "redis://h:6379/0"),
    "redis://:p%2Fw@h:1/2": ("redis://:p%2Fw@h:1/2", "redis://:p%2Fw@h:1/2"),
    "redis://u:p@h/1": ("redis://u:p@h:6379/1", "redis://u:p@h:6379/1"),
    "redis://h?db=5": ("redis://h:6379/5", "redis://h:6379/5"),
    "redis://h?password=p%20w&username=u": ("redis://u:p%20w@h:6379/0", "redis://u:p%20w@h:6379/0"),
    "redis://[::1]:7/3": ("redis://[::1]:7/3", "redis://[::1]:7/3"),
    "rediss://u:p@h:7/3": (f"rediss://u:p@h:7/3{WORDS}", "rediss://u:p@h:7/3"),
    "rediss://h?ssl_ca_certs=/c": (f"rediss://h:6379/0{WORDS}&ssl_ca_certs=%2Fc", "rediss://h:6379/0"),
    "rediss://h?ssl_cert_reqs=CERT_REQUIRED": (f"rediss://h:6379/0{WORDS}", "rediss://h:6379/0"),
    "unix:///run/V.sock": ("unix:///run/V.sock?db=0", "redis://localhost:6379/0"),
    "unix://u:p@/run/v.sock?db=3": ("unix://u:p@/run/v.sock?db=3", "redis://u:p@localhost:6379/3"),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_both_clients_get_the_same_place(url: str) -> None:
    address = read_redis(url)
    found = parse_url(address.url)  # type: ignore[no-untyped-call]  # redis-py has few types
    transport = "execution_project.broker:Transport"
    kombu = Connection(address.broker_url, transport=transport)  # type: ignore[no-untyped-call]  # nor has kombu

    assert (address.url, address.broker_url) == ADDRESSES[url]
    # It should be read alike again: the local stack hands it on to its children.
    assert read_redis(address.url) == address
    assert kombu.userid == (found.get("username") or None)
    assert kombu.password == (found.get("password") or None)
    assert kombu.virtual_host == str(found["db"])
    if not address.path:
        assert (kombu.hostname, kombu.port) == (found["host"], found["port"])


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "unix:///run/v.sock"])
def test_the_broker_is_encrypted_when_the_address_says_so(url: str) -> None:
    assert (read_redis(url).broker_tls is not None) == url.startswith("rediss:")


def test_the_broker_of_a_socket_is_that_socket(tmp_path: Path) -> None:
    address = read_redis(f"unix://u:p@{tmp_path}/v.sock?db=3")
    parameters = parameters_of(address.broker_url, socket_path=address.path)

    assert parameters["path"] == f"{tmp_path}/v.sock"
    assert (parameters["db"], parameters["username"], parameters["password"]) == (3, "u", "p")
    # It should be a client that redis-py can make, and one of a socket.
    assert "v.sock" in repr(ConnectionPool(**parameters).make_connection())


def parameters_of(url: str, **options: Any) -> dict[str, Any]:
    """Return what kombu would make its connections of, without making one."""
    app = Celery("one", broker=url, set_as_current=False)
    app.conf.update(broker_transport="execution_project.broker:Transport", broker_transport_options=options)
    transport = app.connection_for_write().transport
    channel = transport.Channel.__new__(transport.Channel)
    channel.connection = transport
    for name, value in options.items():
        setattr(channel, name, value)
    found: dict[str, Any] = channel._connparams()
    return found


# What is refused


UNPROVEN = (
    *("ssl_cert_reqs=none", "ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs=optional", "ssl_cert_reqs="),
    *("ssl_check_hostname=false", "ssl_check_hostname=0", "ssl_check_hostname=no", "ssl_cert_reqs=None"),
)


def refusal_of(**given: str) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        Environment(_env_file=None, **given)  # type: ignore[arg-type]
    return describe_refusal(refused.value)


@pytest.mark.parametrize("name", ["redis_url", "redis_bus_url", "redis_broker_url", "redis_state_url"])
@pytest.mark.parametrize("words", UNPROVEN)
def test_what_proves_nothing_is_refused(name: str, words: str) -> None:
    [line] = refusal_of(**{name: f"rediss://:hidden@h/0?{words}"})

    assert line.startswith(f"{name.upper()} must not set {words.partition('=')[0]}")
    assert "hidden" not in line


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hidden@h/0?ssl_cert_reqs=required", "does not begin with rediss://: nothing would be encrypted"),
        ("redis://:hidden@h/0?ssl_ca_certs=/c", "does not begin with rediss://: nothing would be encrypted"),
        ("redis://:hidden@h/0?socket_timeout=0", "has options that are not read: socket_timeout"),
        ("rediss://:hidden@h/0?ssl_ciphers=NULL", "has options that are not read: ssl_ciphers"),
        ("rediss://:hidden@h/0?ssl_min_version=1", "has options that are not read: ssl_min_version"),
        ("redis://:hidden@h/first", "must end in the number of a database"),
        ("redis://:hidden@h/0/1", "must end in the number of a database"),
        ("redis://:hidden@h?db=-1", "must end in the number of a database"),
        ("redis://:hidden@[::1/0", "cannot be read as redis://"),
        ("redis://:hidden@h:0/0", "cannot be read as redis://"),
        ("redis://:hidden@h:99999/0", "cannot be read as redis://"),
        ("amqp://:hidden@h/0", "cannot be read as redis://"),
        ("redis+socket://:hidden@/run/v.sock", "cannot be read as redis://"),
    ],
)
def test_an_address_that_would_not_do_what_it_says_is_refused(url: str, says: str) -> None:
    [line] = refusal_of(redis_url=url)

    assert line.startswith("REDIS_URL ")
    assert says in line
    assert "hidden" not in line


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    known = authority(tmp_path, "known")
    certificate, key = pair(tmp_path / "one", signed_by=known)
    _, other = pair(tmp_path / "two", signed_by=known)
    nothing = tmp_path / "nothing"
    nothing.write_text("no certificate")
    cases: list[tuple[dict[str, Path], str]] = [
        ({"redis_tls_ca_file": tmp_path / "missing"}, "REDIS_TLS_CA_FILE holds no certificates that can be read"),
        ({"redis_tls_ca_file": nothing}, "REDIS_TLS_CA_FILE holds no certificates that can be read"),
        ({"redis_tls_cert_file": certificate}, "belong together"),
        ({"redis_tls_key_file": key}, "belong together"),
        ({"redis_tls_cert_file": certificate, "redis_tls_key_file": other}, "are no certificate and its key"),
        ({"redis_tls_cert_file": nothing, "redis_tls_key_file": key}, "are no certificate and its key"),
    ]
    for files, says in cases:
        [line] = refusal_of(redis_url="rediss://h/0", **{name: str(path) for name, path in files.items()})
        assert says in line


def test_an_encrypted_key_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    known = authority(tmp_path, "known")
    certificate, key = pair(tmp_path / "one", signed_by=known, passphrase="a-passphrase")
    [line] = refusal_of(redis_url="rediss://h/0", redis_tls_cert_file=str(certificate), redis_tls_key_file=str(key))

    assert "the key is encrypted" in line


def test_files_without_an_encrypted_address_are_refused(tmp_path: Path) -> None:
    [line] = refusal_of(redis_url="redis://h/0", redis_tls_ca_file=str(authority(tmp_path, "known").certificate))

    assert line.startswith("REDIS_TLS_CA_FILE is set, and no address of Redis begins with rediss://")


def test_two_files_for_one_thing_are_refused(tmp_path: Path) -> None:
    known = str(authority(tmp_path, "known").certificate)
    [line] = refusal_of(redis_url="rediss://h/0?ssl_ca_certs=/other", redis_tls_ca_file=known)

    assert line == "REDIS_URL and REDIS_TLS_CA_FILE name different files"


def test_the_keys_of_the_broker_are_not_those_of_the_state() -> None:
    # The user of the state may read all below `execution:`.
    assert not KEY_PREFIX.startswith("execution:")
