"""Live mode starts with nothing of the demo and nothing weak: one bad value a line, each refused by its id."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex, token_urlsafe
from typing import Any
from urllib.parse import urlsplit

import pytest

from execution_project.env import REDIS_URLS, Environment, Mode
from execution_project.live_profile import profile_problems
from execution_project.strength import KEY_BITS, bits_of, is_weak
from local_stack.processes import CELERY
from tests.support.risk import RiskSafetyStandIn
from tests.support.stack import ROOT

PASSWORD = token_urlsafe(24)
OWNER = f"postgresql://owner:{token_urlsafe(24)}@db.internal:5432/execution"
DATABASE, REDIS = f"postgresql://execution:{PASSWORD}@db.internal:5432/execution", f"redis://:{PASSWORD}@cache:6379/0"
GOOD = {
    "EXECUTION_MODE": "live",
    "LIVE_TRADING_CONFIRMED": "true",
    "BINANCE_API_KEY": token_hex(32),
    "BINANCE_API_SECRET": token_hex(32),
    "SECRET_KEY": token_urlsafe(50),
    "EXECUTION_API_KEY": token_urlsafe(32),
    "ALLOWED_HOSTS": "trading.example",
    "DATABASE_URL": DATABASE,
    "REDIS_URL": REDIS,
    "RISK_SAFETY_SERVICE_URL": "http://risk-safety:8003",
    "HARD_MAX_DAILY_LOSS_USD": "500",
}


def producer_key(secret: str) -> str:
    """Return the setting that names one producer's key."""
    return json.dumps({"ai-1": {"producer": "ai-engine", "secret": secret, "streams": ["ai.decision.made"]}})


# (what an operator may have forgotten or copied, the ids that name it)
BAD: list[tuple[dict[str, str], list[str]]] = [
    ({"SECRET_KEY": ""}, ["E003"]),
    ({"SECRET_KEY": "x"}, ["E010"]),
    ({"SECRET_KEY": "a" * 64}, ["E010"]),
    ({"SECRET_KEY": "abcdefgh" * 8}, ["E010"]),
    ({"SECRET_KEY": "0123456789" * 6}, ["E010"]),
    ({"SECRET_KEY": token_urlsafe(30)}, ["E010"]),
    ({"SECRET_KEY": f"django-insecure-{token_urlsafe(50)}"}, ["E010"]),
    ({"SECRET_KEY": f"change-me-{token_urlsafe(50)}"}, ["E010"]),
    ({"EXECUTION_API_KEY": "a" * 16}, ["E011"]),
    ({"EXECUTION_API_KEY": "ab" * 20}, ["E011"]),
    ({"EXECUTION_API_KEY": "abcdefghijklmnopqrstuvwxyz"}, ["E011"]),
    ({"EXECUTION_API_KEY": "1234567890123456"}, ["E011"]),
    ({"EXECUTION_API_KEY": "my-secret-password-of-the-service"}, ["E011"]),
    ({"ALLOWED_HOSTS": "*"}, ["E012"]),
    ({"ALLOWED_HOSTS": "trading.example, *"}, ["E012"]),
    ({"ALLOWED_HOSTS": "."}, ["E012"]),
    ({"ALLOWED_HOSTS": ""}, ["E012"]),
    ({"HARD_MAX_DAILY_LOSS_USD": ""}, ["E013"]),
    ({"HARD_MAX_DAILY_LOSS_USD": "1000000000"}, ["E013"]),
    ({"RISK_SAFETY_SERVICE_URL": ""}, ["E014"]),
    ({"RISK_SAFETY_SERVICE_URL": "http://169.254.169.254"}, ["E015"]),
    ({"RISK_SAFETY_SERVICE_URL": "http://[fe80::1]:8003"}, ["E015"]),
    ({"RISK_SAFETY_SERVICE_URL": "http://[fd00:ec2::254]"}, ["E015"]),
    ({"RISK_SAFETY_SERVICE_URL": "http://100.100.100.200"}, ["E015"]),
    ({"RISK_SAFETY_SERVICE_URL": "http://metadata.google.internal"}, ["E015"]),
    ({"RISK_SAFETY_SERVICE_URL": "http://0.0.0.0:8003"}, ["E015"]),
    ({"DATABASE_URL": "postgresql://execution@db.internal/execution"}, ["E016"]),
    ({"DATABASE_URL": "postgresql://execution@127.0.0.1:5432/execution"}, ["E016"]),
    ({"DATABASE_URL": "postgresql://execution@localhost/execution"}, ["E016"]),
    ({"DATABASE_URL": "host=db.internal user=execution dbname=execution"}, ["E016"]),
    ({"DATABASE_URL": "postgresql://execution@a.internal,b.internal/execution"}, ["E016"]),
    ({"DATABASE_URL": ""}, ["E016"]),
    ({"DATABASE_URL": "postgresql://execution:postgres@db.internal/execution"}, ["E017"]),
    ({"DATABASE_URL": "postgresql://execution:execution@db.internal/execution"}, ["E017"]),
    ({"DATABASE_OWNER_URL": "postgresql://owner@db.internal/execution"}, ["E016"]),
    ({"DATABASE_OWNER_URL": "postgresql://owner:owner@db.internal/execution"}, ["E017"]),
    ({"REDIS_URL": "redis://cache:6379/0"}, ["E018"]),
    ({"REDIS_URL": "rediss://user@cache:6379/0"}, ["E018"]),
    ({"REDIS_URL": "", "REDIS_HOST": "cache"}, ["E018"]),
    ({"REDIS_URL": "redis://127.0.0.1:6379/0"}, ["W018"]),
    ({"REDIS_URL": "redis://:redis@cache:6379/0"}, ["E019"]),
    ({"REDIS_URL": "", "REDIS_HOST": "cache", "REDIS_PASSWORD": "aaaaaaaaaaaaaaaa"}, ["E019"]),
    ({"BINANCE_KEY_CHECK": "false"}, ["W020"]),
    ({"ESS_FAIL_MODE": "open"}, ["W021"]),
    ({"LOG_LEVEL": "DEBUG"}, ["W022"]),
    ({"EVENT_SIGNING_KEYS": producer_key("a" * 40)}, ["E034"]),
    ({"EVENT_OWN_KEY_ID": "us", "EVENT_OWN_KEY_SECRET": "0123456789" * 4}, ["E034"]),
    (
        {"SECRET_KEY": "x", "EXECUTION_API_KEY": "a" * 16, "ALLOWED_HOSTS": "*", "HARD_MAX_DAILY_LOSS_USD": ""},
        ["E010", "E011", "E012", "E013"],
    ),
]
# Secure in other ways than with a password in the address.
ALSO_GOOD = [
    {"DATABASE_URL": "postgresql://execution@db.internal/execution", "DATABASE_PASSWORD": PASSWORD},
    {"DATABASE_URL": "postgresql://execution@/execution?host=/var/run/postgresql"},
    {"DATABASE_URL": "postgresql://execution@db.internal/execution?sslcert=/etc/client.pem"},
    {"DATABASE_OWNER_URL": OWNER},
    {"DATABASE_OWNER_URL": "postgresql://owner@db.internal/execution", "DATABASE_OWNER_PASSWORD": PASSWORD},
    {"REDIS_URL": "unix:///var/run/valkey.sock"},
    {"REDIS_URL": "", "REDIS_HOST": "cache", "REDIS_PASSWORD": PASSWORD},
    {"ESS_FAIL_MODE": "closed"},
    {"ALLOWED_HOSTS": ".trading.example,10.0.0.7"},
    {"RISK_SAFETY_SERVICE_URL": "https://risk-safety.example:8443/base"},
    {"EVENT_SIGNING_KEYS": producer_key(token_urlsafe(32)), "EVENT_OWN_KEY_ID": "us"},
    {"EVENT_OWN_KEY_ID": "us", "EVENT_OWN_KEY_SECRET": token_urlsafe(32)},
]


def settings(further: Mapping[str, str]) -> dict[str, str]:
    """Return the good settings with these; an empty one is not set at all."""
    return {name: value for name, value in {**GOOD, **further}.items() if value}


def environment(further: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in settings(further).items():
        monkeypatch.setenv(name, value)
    # An operator who writes `ALLOWED_HOSTS=` sets it to nothing.
    if further.get("ALLOWED_HOSTS") == "":
        monkeypatch.setenv("ALLOWED_HOSTS", "")
    return Environment(_env_file=None)


def run(*command: str, **further: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of the service with the good settings and these."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        (sys.executable, *command),
        cwd=ROOT,
        env=plain | settings(further),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def ids_in(text: str) -> list[str]:
    return re.findall(r"execution\.([EW]\d{3})", text)


@pytest.mark.parametrize(("given", "ids"), BAD, ids=[f"{','.join(ids)}-{next(iter(bad))}" for bad, ids in BAD])
def test_each_bad_value_is_refused_by_its_id(
    given: dict[str, str], ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment(given, monkeypatch)

    found = profile_problems(env)

    assert [problem.code.removeprefix("execution.") for problem in found] == ids
    assert all(problem.is_error == problem.code.startswith("execution.E") for problem in found)
    # It should name the setting, in one line, and not repeat what it holds.
    for problem in found:
        assert "\n" not in problem.sentence
        assert re.search(r"[A-Z]+_[A-Z]+", problem.sentence)
        assert not any(value in problem.sentence for value in given.values() if len(value) > 30)


@pytest.mark.parametrize("given", [{}, *ALSO_GOOD])
def test_good_values_have_no_problem(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert profile_problems(environment(given, monkeypatch)) == []


def test_debug_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    [problem] = profile_problems(environment({}, monkeypatch), debug=True)

    assert problem.code == "execution.E020"


def test_silence_of_the_emergency_stop_refuses_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment({}, monkeypatch).ess_silence == "closed"
    assert environment({"ESS_FAIL_MODE": "open"}, monkeypatch).ess_silence == "open"
    paper = {"EXECUTION_MODE": "paper", "LIVE_TRADING_CONFIRMED": ""}
    assert environment(paper, monkeypatch).ess_silence == "open"


@pytest.mark.parametrize("mode", ["paper", "testnet"])
def test_other_modes_take_the_demo_s_values(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = {"EXECUTION_MODE": mode, "LIVE_TRADING_CONFIRMED": "", "DATABASE_URL": "", "REDIS_URL": ""}
    env = environment({**demo, "RISK_SAFETY_SERVICE_URL": "", "HARD_MAX_DAILY_LOSS_USD": ""}, monkeypatch)

    assert env.mode is Mode(mode)
    assert profile_problems(env) == []


@pytest.mark.parametrize("role", ["trade", "support"])
def test_a_process_without_a_secret_is_not_asked_for_it(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {"SECRET_KEY": "", "EXECUTION_API_KEY": "", "PROCESS_ROLE": role}
    if role == "support":
        without |= {"BINANCE_API_KEY": "", "BINANCE_API_SECRET": ""}

    assert profile_problems(environment(without, monkeypatch)) == []


def test_random_secrets_are_strong_and_patterns_are_weak() -> None:
    assert all(not is_weak(token_urlsafe(24), KEY_BITS) for _ in range(300))
    assert all(not is_weak(token_hex(16), KEY_BITS) for _ in range(300))
    assert bits_of("") == bits_of("a") == bits_of("a" * 1000) == 0
    assert bits_of("abcdefghijklmnopqrstuvwxyz") < 5
    assert bits_of("97531" * 20) < 20


# The processes


def test_the_check_for_deployment_is_clean_in_live_mode() -> None:
    result = run("manage.py", "check", "--deploy", "--fail-level=WARNING")

    assert result.returncode == 0, result.stderr
    assert "System check identified no issues" in result.stdout


def test_the_check_names_every_bad_value_in_a_line_of_its_own() -> None:
    result = run("manage.py", "check", SECRET_KEY="x", EXECUTION_API_KEY="a" * 16, ALLOWED_HOSTS="*")

    assert result.returncode != 0
    assert ids_in(result.stderr) == ["E010", "E011", "E012"]
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if "execution.E" in line]) == 3


WORKER = (*CELERY[1:], "worker", "--pool=solo", "-Q", "no-such-queue")
GUNICORN = ("-m", "gunicorn", "execution_project.wsgi:application", "--bind=127.0.0.1:0", "--no-control-socket")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(WORKER, id="worker"),
        # A file in the test's own folder: beat replaces whatever its schedule names.
        pytest.param((*CELERY[1:], "beat", "--schedule=SCHEDULE"), id="beat"),
        pytest.param(GUNICORN, id="web"),
        pytest.param(("manage.py", "stream_user_data"), id="user-stream"),
        pytest.param(("manage.py", "migrate"), id="migrate"),
    ],
)
def test_no_process_starts_with_a_bad_value(command: tuple[str, ...], tmp_path: Path) -> None:
    words = [word.replace("SCHEDULE", str(tmp_path / "beat")) for word in command]
    result = run(*words, DATABASE_URL="postgresql://execution@127.0.0.1:9/execution", REDIS_URL="redis://127.0.0.1:9/0")

    assert result.returncode != 0
    assert "execution.E016" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_flower_does_not_start_with_a_guessable_sign_in() -> None:
    for given in ({}, {"FLOWER_BASIC_AUTH": "admin"}, {"FLOWER_BASIC_AUTH": "admin:admin"}):
        result = run(
            "-m", "execution_project.flower", "--address=127.0.0.1", "--port=0", PROCESS_ROLE="support", **given
        )

        assert result.returncode != 0
        assert "FLOWER_BASIC_AUTH" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "given",
    [
        {"LIVE_TRADING_CONFIRMED": "false"},
        {"BINANCE_BASE_URL": "http://127.0.0.1:8700"},
        {"DATABASE_URL": "postgresql://execution:pa%zz-hidden@db/execution"},
        {"REDIS_URL": "redis://:pa/hidden@cache:6379/0"},
        {"REDIS_URL": "http://:hidden@cache:6379/0"},
        {"BINANCE_API_SECRET_FILE": "/nowhere/hidden"},
        {"LOG_LEVEL": "hidden"},
    ],
)
def test_a_contradiction_is_one_line_without_what_was_given(given: dict[str, str]) -> None:
    result = run("manage.py", "check", **given)
    [line] = [line for line in result.stderr.splitlines() if "execution.E000" in line]

    assert result.returncode != 0
    assert next(iter(given)) in line
    assert "Traceback" not in result.stderr
    assert "hidden" not in result.stderr


@pytest.mark.parametrize("command", [WORKER, GUNICORN], ids=["worker", "web"])
def test_no_process_starts_with_a_contradiction(command: tuple[str, ...]) -> None:
    result = run(*command, LIVE_TRADING_CONFIRMED="false")

    assert result.returncode != 0
    assert "execution.E000: EXECUTION_MODE=live needs LIVE_TRADING_CONFIRMED=true" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_local_stack_starts_no_double_beside_real_money() -> None:
    result = run(
        *("-m", "local_stack", "run"),
        DATABASE_URL="",
        REDIS_URL="",
        RISK_SAFETY_SERVICE_URL="",
        EXECUTION_API_KEY="a" * 16,
        PORT="0",
    )

    assert result.returncode != 0
    assert {"E030", "E031", "E032", "E011"} <= set(ids_in(result.stderr))
    assert "Traceback" not in result.stderr


def test_the_stand_in_does_not_run_in_live_mode() -> None:
    result = run("-m", "local_stack.risk_safety", "--port", "0")

    assert result.returncode != 0
    assert ids_in(result.stderr) == ["E032"]


def test_the_stand_in_takes_no_password_from_a_command_line() -> None:
    result = run(
        *("-m", "local_stack.risk_safety", "--port", "0", "--redis-url", "redis://:hidden@127.0.0.1:9/0"),
        EXECUTION_MODE="paper",
        LIVE_TRADING_CONFIRMED="",
    )

    assert result.returncode != 0
    assert "hidden" not in result.stdout + result.stderr


# What only an answer shows


@pytest.fixture
def stand_in() -> Iterator[RiskSafetyStandIn]:
    with RiskSafetyStandIn(os.environ["REDIS_URL"]) as running:
        yield running


@pytest.mark.django_db
def test_trust_authentication_and_the_stand_in_are_found_out_by_asking(stand_in: RiskSafetyStandIn) -> None:
    """The test's PostgreSQL asks for no password, whatever one is given."""
    url = urlsplit(os.environ["DATABASE_URL"])
    trusting = url._replace(netloc=f"{url.username}:{PASSWORD}@{url.hostname}:{url.port}").geturl()

    result = run(
        *("manage.py", "check", "--database", "default"), DATABASE_URL=trusting, RISK_SAFETY_SERVICE_URL=stand_in.url
    )

    assert result.returncode != 0
    # The test's own role is the owner, and a superuser.
    assert ids_in(result.stderr) == ["E024", "E025", "E027"]


def test_neighbours_that_do_not_answer_yet_are_a_warning() -> None:
    result = run(
        *("manage.py", "check", "--database", "default"),
        DATABASE_URL=f"postgresql://execution:{PASSWORD}@127.0.0.1:9/execution",
        RISK_SAFETY_SERVICE_URL="http://127.0.0.1:9",
    )

    assert result.returncode == 0
    assert ids_in(result.stderr + result.stdout) == ["W024", "W024", "W025"]


# Secrets by file


ADDRESSES = {"DATABASE_URL": DATABASE, "DATABASE_OWNER_URL": OWNER}
REDIS_NAMES = {name.upper() for name in REDIS_URLS}
SECRETS = [name.upper() for name, value in Environment.model_fields.items() if "Secret" in str(value.annotation)]


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_come_from_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formed = {**ADDRESSES, "EVENT_SIGNING_KEYS": producer_key(token_urlsafe(32))}
    value = formed.get(name) or (REDIS if name in REDIS_NAMES else token_hex(40))
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")

    env: Any = environment({"EVENT_OWN_KEY_ID": "us", name: "", f"{name}_FILE": str(file)}, monkeypatch)

    assert getattr(env, name.lower()).get_secret_value() == value


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe", b"x" * 20_000, b"with\0nul"])
def test_a_file_that_holds_no_secret_refuses(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)

    result = run("manage.py", "check", BINANCE_API_SECRET="", BINANCE_API_SECRET_FILE=str(file))

    assert result.returncode != 0
    assert "execution.E000: BINANCE_API_SECRET_FILE names a file" in result.stderr


def test_a_secret_that_is_given_twice_refuses(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(token_hex(40))

    result = run("manage.py", "check", BINANCE_API_SECRET_FILE=str(file))

    assert result.returncode != 0
    assert "BINANCE_API_SECRET_FILE and BINANCE_API_SECRET name the same secret" in result.stderr
