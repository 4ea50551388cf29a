"""A setting that nobody reads is named at the start, with what does its work."""

from pathlib import Path

import pytest

from execution.checks import every_setting_is_read
from execution_project.env import Environment, Mode
from execution_project.unread_settings import (
    NO_REAL_MONEY,
    READ_ELSEWHERE,
    REPLACED,
    Unread,
    given_settings,
    unread_settings,
)
from local_stack.settings import LocalEnvironment
from tests.unit.test_compose import KNOWN

OF_THE_SPECIFICATION = [
    *("SQLITE_DB_PATH", "EVENT_BUS_TYPE", "EVENT_RETENTION_HOURS", "MAX_CONCURRENT_ORDERS", "ORDER_TIMEOUT_SEC"),
    *("LOG_DIR", "BINANCE_RATE_LIMIT_BURST", "SERVICE_NAME"),
]


def found(given: dict[str, str], mode: Mode = Mode.PAPER) -> list[Unread]:
    return list(unread_settings(given, mode))


@pytest.mark.parametrize("name", OF_THE_SPECIFICATION)
def test_a_setting_of_the_specification_says_what_replaces_it(name: str) -> None:
    assert found({name: "5"}) == [Unread(name=name, sentence=f"{name} is not read: {REPLACED[name]}")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BINANCE_API_KYE", "BINANCE_API_KEY"),
        ("EXECUTION_MOED", "EXECUTION_MODE"),
        ("HARD_MAX_LEVERAG", "HARD_MAX_LEVERAGE"),
        ("REDIS_ULR", "REDIS_URL"),
        ("BINANCE_COLOUR", None),
        ("ORDER_COLOUR", None),
    ],
)
def test_an_unknown_setting_with_our_prefix_is_named(name: str, meant: str | None) -> None:
    sentence = f"{name} is not read" + (f"; did you mean {meant}?" if meant else "")

    assert found({name: "x"}) == [Unread(name=name, sentence=sentence)]


@pytest.mark.parametrize("name", ["PATH", "REDIS_PORT_6379_TCP", "LOG_FORMAT", "LANG", "POSTGRES_USER", "HOME"])
def test_what_is_for_others_is_not_named(name: str) -> None:
    assert found({name: "x"}) == []


def test_what_is_read_is_not_named() -> None:
    assert found(dict.fromkeys(KNOWN, "x")) == []
    assert {name.upper() for name in LocalEnvironment.model_fields} == READ_ELSEWHERE
    assert found({"BINANCE_SECRET_KEY": "x", "BINANCE_API_SECRET_FILE": "/x"}) == []
    assert not {*REPLACED, *NO_REAL_MONEY} & {name.upper() for name in Environment.model_fields}


def test_an_empty_setting_is_none() -> None:
    assert found({"SQLITE_DB_PATH": ""}) == []


@pytest.mark.parametrize("name", NO_REAL_MONEY)
@pytest.mark.parametrize(
    ("value", "refused"), [("true", True), ("1", True), (" Yes", True), ("false", False), ("0", False)]
)
def test_no_other_spelling_of_a_test_runs_live(name: str, value: str, *, refused: bool) -> None:
    assert [unread.is_error for unread in found({name: value}, Mode.LIVE)] == [refused]
    assert [unread.is_error for unread in found({name: value}, Mode.TESTNET)] == [False]


def test_the_check_reads_the_environment_and_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SQLITE_DB_PATH=x.db\nLOG_DIR=a\n")
    monkeypatch.setenv("LOG_DIR", "")
    monkeypatch.setenv("EVENT_BUS_TYPE", "redis")

    messages = [(message.id, message.msg.partition(" ")[0]) for message in every_setting_is_read(None)]

    assert given_settings()["SQLITE_DB_PATH"] == "x.db"
    assert [each for each in messages if each[1] in REPLACED] == [
        ("execution.W035", "EVENT_BUS_TYPE"),
        ("execution.W035", "SQLITE_DB_PATH"),
    ]
