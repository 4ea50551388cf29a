"""The shipped users of Redis: each part of the service reaches its own keys, a neighbour the streams and no more."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from execution.outbox.payloads import EVENT_TYPES as OUTGOING
from execution.signals.accept import EVENT_TYPES as INCOMING
from execution_project.celery import app
from local_stack.bus import stream_key
from tests.security.aftermath import trade
from tests.support.databases import copied_database, redis_address
from tests.support.stack import SHORT, CeleryStack
from tests.support.waiting import eventually

ACL = Path(__file__).resolve().parents[2] / "deploy/valkey/users.acl"
# Apart from the numbers of the other suites.
REDIS_DATABASE = 4
PASSWORDS = {
    f"{part}_PASSWORD": f"a-password-of-the-{part.lower()}" for part in ("BUS", "BROKER", "STATE", "NEIGHBOUR")
}
BUS, BROKER, STATE, NEIGHBOUR = "execution-bus", "execution-broker", "execution-state", "neighbour"


@pytest.fixture(scope="module", autouse=True)
def users() -> Iterator[dict[str, str]]:
    """The users of the shipped file on the test's server, each with the address by which it is reached."""
    server = urlsplit(os.environ["REDIS_URL"])
    # A pattern is subscribed to literally, with the number of the database in it.
    shipped = ACL.read_text().replace("/0.", f"/{REDIS_DATABASE}.")
    lines = [line.split() for line in shipped.splitlines()]
    with ExitStack() as undo, Redis.from_url(os.environ["REDIS_URL"]) as admin:
        addresses = {}
        # Everybody else's connections are the default user's, who stays as it is on this server.
        for _, name, *rules in [line for line in lines if line[1] != "default"]:
            words = [PASSWORDS.get(rule.lstrip(">")) for rule in rules if rule.startswith(">")]
            assert words == [word for word in words if word], name
            text = " ".join(f">{PASSWORDS[rule[1:]]}" if rule.startswith(">") else rule for rule in rules)
            admin.execute_command("ACL", "SETUSER", name, "reset", *split(text))
            undo.callback(admin.acl_deluser, name)
            login = f"{name}:{words[0]}@{server.hostname}:{server.port}"
            addresses[name] = server._replace(netloc=login, path=f"/{REDIS_DATABASE}").geturl()
        yield addresses


def split(rules: str) -> list[str]:
    """Split the rules of a user as the server does: what stands in parentheses is one rule."""
    found: list[str] = []
    for word in rules.split():
        if found and found[-1].startswith("(") and not found[-1].endswith(")"):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def as_user(users: dict[str, str], name: str) -> "Redis":
    return Redis.from_url(users[name])


def test_the_default_user_is_off() -> None:
    assert ACL.read_text().splitlines()[0] == "user default off"


@pytest.mark.django_db(transaction=True)
def test_the_whole_service_trades_with_three_users(users: dict[str, str], tmp_path: Path) -> None:
    urls = {"REDIS_BUS_URL": users[BUS], "REDIS_BROKER_URL": users[BROKER], "REDIS_STATE_URL": users[STATE]}
    redis_url = redis_address(REDIS_DATABASE)
    with (
        copied_database("users") as database_url,
        CeleryStack(
            database_url=database_url, redis_url=redis_url, folder=tmp_path, settings={**SHORT, **urls}
        ) as stack,
    ):
        trade(stack, "ETHUSDT")
        stack.close_everything_by_hand()
        stack.check()
        logs = "".join(log.read_text(errors="replace") for log in tmp_path.glob("*.log"))

    # It should have missed no right.
    assert "NOPERM" not in logs
    assert "NoPermission" not in logs


def test_flower_hears_the_workers_with_the_brokers_user(users: dict[str, str]) -> None:
    heard: list[str] = []
    # Its first round waits for the connection and hears nothing.
    with app.connection_for_read(users[BROKER]) as ear, app.connection_for_write(users[BROKER]) as mouth:
        receiver = app.events.Receiver(ear, handlers={"worker-online": lambda event: heard.append(event["hostname"])})
        listening = Thread(target=lambda: receiver.capture(limit=3, timeout=30, wakeup=False), daemon=True)
        listening.start()
        with app.events.Dispatcher(mouth, hostname="orders@here") as dispatcher:
            eventually(lambda: dispatcher.send("worker-online") or heard, what="it is heard", within=20, every=0.1)
        listening.join(30)

    assert set(heard) == {"orders@here"}


@pytest.mark.parametrize("event_type", INCOMING)
def test_a_neighbour_publishes_what_we_read(users: dict[str, str], event_type: str) -> None:
    with as_user(users, NEIGHBOUR) as client:
        assert client.xadd(stream_key(event_type), {"x": "y"})
        with pytest.raises(NoPermissionError):
            client.xread({stream_key(event_type): "0"})
        with pytest.raises(NoPermissionError):
            client.delete(stream_key(event_type))


@pytest.mark.parametrize("event_type", OUTGOING)
def test_a_neighbour_reads_what_we_publish_alone_or_in_a_group(users: dict[str, str], event_type: str) -> None:
    key = stream_key(event_type)
    with as_user(users, BUS) as bus, as_user(users, NEIGHBOUR) as client:
        bus.delete(key)
        entry = bus.xadd(key, {"payload": "{}"})
        assert client.xread({key: "0"}) == [[key.encode(), [(entry, {b"payload": b"{}"})]]]
        client.xgroup_create(key, "theirs", "0")
        [[_, [(read, _)]]] = client.xreadgroup("theirs", "one", {key: ">"})
        assert read == entry
        assert client.xack(key, "theirs", entry) == 1
        for words in (("XADD", key, "*", "a", "b"), ("XTRIM", key, "MAXLEN", 0), ("XDEL", key, entry), ("DEL", key)):
            with pytest.raises(NoPermissionError):
                client.execute_command(*words)
        assert bus.xlen(key) == 1


@pytest.mark.parametrize(
    "command",
    [
        "GET execution:memory",
        "SET execution:memory 0",
        "HSET execution:limiter:x:hold until everybody",
        "LPUSH execution-broker:orders x",
        "PUBLISH execution-broker:/0.execution-control.pidbox x",
        "XADD quantum:stream:other * a b",
        "KEYS *",
        "SCAN 0",
        "CONFIG GET *",
        "FLUSHALL",
        "SHUTDOWN NOSAVE",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "ACL LIST",
        "EVAL return(1) 0",
        "MONITOR",
    ],
)
def test_a_neighbour_does_nothing_else(users: dict[str, str], command: str) -> None:
    with as_user(users, NEIGHBOUR) as client, pytest.raises((NoPermissionError, ResponseError)) as refused:
        client.execute_command(*command.split())

    assert isinstance(refused.value, NoPermissionError) or "wrong number of arguments" in str(refused.value)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        (BUS, "SET execution:memory 0"),
        (BUS, "LPUSH execution-broker:orders x"),
        (BROKER, "LPUSH orders x"),
        (BROKER, "GET execution:memory"),
        (BROKER, "PUBLISH /0.celery.pidbox x"),
        (BROKER, "PSUBSCRIBE *"),
        (BROKER, "XADD quantum:stream:ai.decision.made * a b"),
        (BROKER, "FLUSHALL"),
        (STATE, "LPUSH execution-broker:orders x"),
        (STATE, "LRANGE execution-broker:orders 0 -1"),
        (STATE, "XADD quantum:stream:ai.decision.made * a b"),
        (STATE, "PUBLISH celery x"),
        (STATE, "CONFIG GET *"),
    ],
)
def test_each_part_keeps_to_its_own(users: dict[str, str], user: str, command: str) -> None:
    with as_user(users, user) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())
