"""The files of docs/deployment.md, read: units run what docker-compose.yml runs, with the secrets that each needs."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from execution_project.env import Environment
from local_stack.processes import EXCHANGE_SECRETS, FLOWER_SECRETS, OWNER_SECRETS, WEB_SECRETS
from tests.unit.test_compose import ANSWERING, ROOT, SERVICES, TRADING, command_of

UNITS = ROOT / "deploy/systemd"
PAGE = (ROOT / "docs/deployment.md").read_text()
PROGRAMS = "/opt/execution/.venv/bin/"
QUEUES = ("orders", "monitor", "protect", "bridge")
# What starts them together, by their name in docker-compose.yml.
WANTED = {
    **{f"worker-{queue}": f"execution-worker@{queue}.service" for queue in QUEUES},
    **{name: f"execution-{name}.service" for name in ("web", "user-stream", "beat", "flower")},
}
ALL = WANTED | {"migrate": "execution-migrate.service"}
# Where a container keeps what it writes, and where a unit does.
PLACES = {
    "--alive-file=/tmp/user-stream": "--alive-file=/run/execution-user-stream/alive",
    "--schedule=/tmp/beat-schedule": "--schedule=/run/execution-beat/schedule",
    "--bind=0.0.0.0:8002": "--bind=127.0.0.1:8002",
    "--address=0.0.0.0": "--address=127.0.0.1",
    "--concurrency=${ORDERS_CONCURRENCY:-2}": "--concurrency=2",
}


def settings_of(unit: str) -> dict[str, list[str]]:
    """Return the lines of a unit with those of its drop-ins, as systemd puts them together."""
    template = re.sub(r"@.+\.service$", "@.service", unit)
    parts = [UNITS / template, UNITS / "execution-.service.d/common.conf", *UNITS.glob(f"{unit}.d/*.conf")]
    found: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for line in part.read_text().splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[name].append(value)
    return found


def environment_of(unit: str) -> dict[str, str]:
    pairs = (pair for line in settings_of(unit)["Environment"] for pair in line.split())
    return dict(pair.split("=", 1) for pair in pairs)


def command_line(unit: str) -> list[str]:
    """Return the words of the unit's command, with its instance and its own variables put in."""
    [command] = settings_of(unit)["ExecStart"]
    instance = re.search(r"@(.+)\.service", unit)
    command = command.replace("%i", instance[1] if instance else "").replace("%%", "%").removeprefix(PROGRAMS)
    return re.sub(r"\$\{(\w+)\}", lambda name: environment_of(unit)[name[1]], command).split()


def test_the_target_starts_everything_that_containers_start() -> None:
    wanted = re.search(r"^Wants=(.+)$", (UNITS / "execution.target").read_text(), flags=re.MULTILINE)

    assert wanted is not None
    assert set(wanted[1].split()) == set(WANTED.values())
    others = {"pod", "postgres", "redis", "migrate", "paper-exchange", "risk-safety"}
    assert set(WANTED) == set(SERVICES) - others


@pytest.mark.parametrize("service", sorted(ALL))
def test_a_unit_runs_the_command_of_its_container(service: str) -> None:
    assert command_line(ALL[service]) == [PLACES.get(word, word) for word in command_of(service)]


@pytest.mark.parametrize("service", sorted(ALL))
def test_a_unit_has_the_limit_of_its_container(service: str) -> None:
    limit = settings_of(ALL[service])["MemoryMax"][-1]

    assert limit.lower() == SERVICES[service]["mem_limit"]
    # It should be the one that the page tells.
    assert limit in PAGE


@pytest.mark.parametrize("service", sorted(ALL))
def test_a_unit_is_given_only_the_secrets_that_it_needs(service: str) -> None:
    unit, given = ALL[service], environment_of(ALL[service])
    files = {name.removesuffix("_FILE"): path for name, path in given.items() if name.endswith("_FILE")}
    exchange = {"BINANCE_API_KEY", "BINANCE_API_SECRET"} if service in TRADING else set()
    web = set(WEB_SECRETS) if service in ANSWERING else set()
    flower = set(FLOWER_SECRETS) if service == "flower" else set()
    owner = {"DATABASE_OWNER_PASSWORD"} if service == "migrate" else set()
    stores = {"DATABASE_PASSWORD", "REDIS_BUS_URL", "REDIS_BROKER_URL", "REDIS_STATE_URL"}

    assert set(files) == stores | exchange | web | flower | owner
    # It should find each where systemd puts it, under the name of the secret.
    loaded = dict(line.split(":") for line in settings_of(unit)["LoadCredential"])
    assert files == {name: f"%d/{name.lower().replace('_', '-')}" for name in files}
    assert loaded == {path.removeprefix("%d/"): f"/etc/execution/secrets/{path[3:]}" for path in files.values()}
    assert given["PROCESS_ROLE"] == SERVICES[service]["environment"]["PROCESS_ROLE"]
    assert set(files) <= {name.upper() for name in Environment.model_fields}
    assert set(files) - set(owner) <= {*EXCHANGE_SECRETS, *WEB_SECRETS, *FLOWER_SECRETS, *stores}
    assert owner <= set(OWNER_SECRETS)


@pytest.mark.parametrize("service", sorted(WANTED))
def test_a_unit_is_confined_and_comes_back(service: str) -> None:
    settings = settings_of(WANTED[service])

    assert settings["User"] == ["execution"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["Restart"] == ["always"]
    assert "execution-migrate.service" in settings["Requires"]


def test_the_file_of_settings_holds_no_secret_and_nothing_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (UNITS / "environment").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert set(given) <= {name.upper() for name in Environment.model_fields}
    assert [name for name in given if re.search("PASSWORD|SECRET|KEY|AUTH", name)] == []
    assert "@" not in given["DATABASE_URL"].partition("@")[0].partition("//")[2]
    # It should be what the service takes, once the keys are there.
    secrets = {"BINANCE_API_KEY": "k" * 20, "BINANCE_API_SECRET": "s" * 20, "EXECUTION_API_KEY": "e" * 20}
    for name in ("BINANCE_BASE_URL", "BINANCE_STREAM_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (given | secrets).items():
        monkeypatch.setenv(name, value)
    found = Environment(_env_file=None)
    assert (found.public_url, "desk.example.org" in found.hosts) == ("https://desk.example.org", True)


def test_the_page_names_the_files_that_there_are() -> None:
    named = set(re.findall(r"(?:/opt/execution/|\b)(deploy/[\w/.-]+\w)", PAGE))
    tests = set(re.findall(r"tests/\w+/\w+\.py", PAGE))

    assert len(named) > 5
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert tests
    assert {name for name in tests if not (ROOT / name).exists()} == set()
    used = (ROOT / "deploy/execution-manage").read_text()
    for secret in re.findall(r"LoadCredential=([\w-]+):", used):
        assert f"`{secret}`" in PAGE


def test_who_follows_the_page_finds_each_unit() -> None:
    copied = {path.name for pattern in ("*.service*", "*.target", "*.timer") for path in UNITS.glob(pattern)}
    rest = {path.name for path in UNITS.iterdir()} - copied

    assert rest == {"environment", "journald.conf"}
    assert all(f"deploy/systemd/{name}" in PAGE for name in rest)
    assert Path(UNITS / "backup-execution.timer").exists()
