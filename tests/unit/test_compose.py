"""`docker-compose.yml` and `Dockerfile`, read without an engine: what they start exists, and nothing is left open."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

import celeryconfig
from execution_project.addresses import is_loopback
from execution_project.env import Environment
from local_stack.processes import (
    EVENT_SECRETS,
    EXCHANGE_SECRETS,
    FLOWER_SECRETS,
    OWNER_SECRETS,
    STORE_SECRETS,
    WEB_SECRETS,
)
from local_stack.settings import LocalEnvironment
from paper_exchange.__main__ import parser as exchange_parser
from tests.unit.test_env_example import COMPOSE_ONLY

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("execution-service"))
IN_POD = sorted(set(OURS) - {"pod"})
LASTING = sorted(set(SERVICES) - {"migrate"})
# Names that other programs read: libpq, the images of the two servers, and the client of the second.
FOREIGN = {"POSTGRES_USER", "POSTGRES_DB", "REDISCLI_AUTH"}
SECRETS = {*EXCHANGE_SECRETS, *WEB_SECRETS, *FLOWER_SECRETS, *STORE_SECRETS, *EVENT_SECRETS}
KNOWN = {name.upper() for name in (*Environment.model_fields, *LocalEnvironment.model_fields)} | set(COMPOSE_ONLY)
KNOWN |= SECRETS | {f"{name}_FILE" for name in SECRETS}
# What other programs of the file know under their own names.
SERVER_PASSWORDS = {
    *("POSTGRES_PASSWORD", "POSTGRES_SERVICE_PASSWORD"),
    *(f"VALKEY_{user}_PASSWORD" for user in ("BUS", "BROKER", "STATE", "NEIGHBOUR")),
}
# Who signs requests to the exchange, and who answers callers.
TRADING = {"web", "worker-orders", "worker-monitor", "worker-protect", "user-stream"}
ANSWERING = {"web"}
BRIDGE = "worker-bridge"


def command_of(name: str) -> list[str]:
    """Return a service's command as words, with the inner command of a shell."""
    command: list[str] = SERVICES[name].get("command", [])
    if command[:2] == ["sh", "-c"]:
        return shlex.split(command[2].replace("$$", "$").rpartition("exec ")[2])
    return command


def option(command: list[str], name: str) -> str:
    found = [word.partition("=")[2] for word in command if word.startswith(f"{name}=")]
    assert len(found) == 1, f"{name} in {command}"
    return found[0]


def workers() -> dict[str, list[str]]:
    commands = {name: command_of(name) for name in OURS}
    return {name: command for name, command in commands.items() if command[0] == "celery" and "worker" in command}


def test_every_part_of_the_service_runs() -> None:
    assert set(SERVICES) == {
        *(
            "pod",
            "postgres",
            "redis",
            "migrate",
            "web",
            "worker-orders",
            "worker-monitor",
            "worker-protect",
            "worker-bridge",
        ),
        *("user-stream", "beat", "flower", "paper-exchange", "risk-safety"),
    }


def test_testnet_and_live_start_no_double_of_the_demo() -> None:
    """A double that runs unasked would answer in the place of the real neighbour, or of the exchange."""
    optional = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}

    assert optional == {"paper-exchange": ["paper"], "risk-safety": ["stand-in"]}
    # It should start everything else without a profile, and need neither of the two.
    assert {need for service in SERVICES.values() for need in service.get("depends_on", {})} & set(optional) == set()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_logs_and_memory_have_an_end(name: str) -> None:
    logging = SERVICES[name]["logging"]

    assert logging["driver"] == "json-file"
    assert re.fullmatch(r"\d+m", logging["options"]["max-size"])
    assert 0 < int(logging["options"]["max-file"]) <= 10
    assert re.fullmatch(r"\d+[mg]", SERVICES[name]["mem_limit"])


@pytest.mark.parametrize("name", IN_POD)
def test_each_command_exists(name: str) -> None:
    program, *arguments = command_of(name)

    if program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1])
    elif program == "python":
        assert arguments[0] == "manage.py"
        assert (ROOT / "manage.py").exists()
        assert arguments[1] in get_commands()
    elif program == "celery":
        assert option(arguments, "--app") == "execution_project"
        assert importlib.import_module("execution_project").celery_app
        assert arguments[1] in {"worker", "beat", "flower"}
    else:
        assert program == "gunicorn"
        module, _, attribute = arguments[0].partition(":")
        assert getattr(importlib.import_module(module), attribute)


def test_each_queue_has_exactly_one_kind_of_worker() -> None:
    served = [queue for command in workers().values() for queue in option(command, "--queues").split(",")]

    assert sorted(served) == sorted(queue.name for queue in celeryconfig.task_queues)
    # It should give each a name of its own, and look at the file that it touches.
    names = [option(command, "--hostname") for command in workers().values()]
    assert len(set(names)) == len(names)
    for service in workers():
        touched = SERVICES[service]["environment"]["WORKER_ALIVE_FILE"]
        assert f"find {touched} -mmin -1" in SERVICES[service]["healthcheck"]["test"][1]


@pytest.mark.parametrize("name", IN_POD)
def test_a_container_gets_only_the_secrets_that_it_needs(name: str) -> None:
    """`.env` hands everything to who reads it: what a container must not have is set to nothing."""
    service = SERVICES[name]
    if not service["env_file"]:
        given = service["environment"]
        assert set(given) <= {"EXECUTION_MODE", "REDIS_URL"}
        return
    needless = {*FLOWER_SECRETS, *SERVER_PASSWORDS} - (set(FLOWER_SECRETS) if name == "flower" else set())
    needless |= set() if name == "migrate" else set(OWNER_SECRETS)
    needless |= set() if name in TRADING else set(EXCHANGE_SECRETS)
    needless |= set() if name in ANSWERING else set(WEB_SECRETS)
    needless |= set() if name == BRIDGE else set(EVENT_SECRETS)
    held = {secret: value for secret in needless if (value := service["environment"].get(secret)) != ""}
    assert held == {}
    files = {f"{secret}_FILE" for secret in needless - {*SERVER_PASSWORDS, *FLOWER_SECRETS}}
    assert {file for file in files if service["environment"].get(file) != ""} == set()


def test_the_bridge_is_not_kept_from_proving_who_sends() -> None:
    """Empty keys would take unsigned events without a word."""
    environment = SERVICES[BRIDGE]["environment"]

    assert not {*EVENT_SECRETS, *(f"{name}_FILE" for name in EVENT_SECRETS)} & set(environment)


def test_the_roles_are_those_of_the_secrets() -> None:
    roles = {name: SERVICES[name]["environment"].get("PROCESS_ROLE") for name in IN_POD if SERVICES[name]["env_file"]}

    assert {name for name, role in roles.items() if role == "all"} == ANSWERING
    assert {name for name, role in roles.items() if role == "trade"} == TRADING - ANSWERING
    assert {role for name, role in roles.items() if name not in TRADING} == {"support"}


def test_tasks_that_place_orders_run_in_processes() -> None:
    """Only a process can be killed by the hard time limit."""
    command = workers()["worker-orders"]

    assert option(command, "--pool") == "prefork"


def test_only_loopback_of_the_host_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert sorted(published) == ["127.0.0.1:5555:5555", "127.0.0.1:6379:6379", "127.0.0.1:8002:8002"]


def test_the_service_and_the_paper_exchange_share_one_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINANCE_BASE_URL", raising=False)
    # It should be one network namespace, because paper mode refuses any address but loopback.
    assert {SERVICES[name]["network_mode"] for name in IN_POD} == {"service:pod"}
    assert "ports" not in {key for name in IN_POD for key in SERVICES[name]}
    options = exchange_parser().parse_args(command_of("paper-exchange")[3:])
    assert is_loopback(options.host)
    assert f"http://{options.host}:{options.port}" == Environment(_env_file=None).exchange_url


def test_who_listens_beyond_loopback_says_so_and_asks_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTION_API_KEY", raising=False)
    bind = option(command_of("web"), "--bind")
    environment = SERVICES["web"]["environment"]

    assert bind == f"{environment['HOST']}:{environment['PORT']}"
    # It should not start without a key.
    assert environment["EXECUTION_API_KEY"].startswith("${EXECUTION_API_KEY:?")
    with pytest.raises(ValueError, match="EXECUTION_API_KEY is required"):
        Environment(_env_file=None, host=environment["HOST"])


def test_flower_asks_for_a_password() -> None:
    assert SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")


def test_every_setting_is_one_that_the_example_knows() -> None:
    given = {name for service in SERVICES.values() for name in service.get("environment", {})}
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))

    assert given - KNOWN - FOREIGN == set()
    assert asked - KNOWN == set()


def test_no_secret_stands_in_the_file() -> None:
    secret = re.compile("PASSWORD|SECRET|KEY|AUTH")
    given = [pair for service in SERVICES.values() for pair in service.get("environment", {}).items()]
    values = {value for name, value in given if secret.search(name)}
    in_urls = {password for _, value in given for password in re.findall(r"://[^/@]*?:(.*)@", str(value))}

    assert values
    assert len(in_urls) == 4
    assert {value for value in values | in_urls if value and not re.match(r"\$\{[A-Z_]+:\?", value)} == set()


def test_no_password_stands_on_a_command_line() -> None:
    words = " ".join(word for name in SERVICES for word in SERVICES[name].get("command", []) if name != "redis")

    assert re.search("PASSWORD|SECRET|AUTH|redis://", words) is None


@pytest.mark.parametrize("name", LASTING)
def test_what_runs_on_is_watched_and_restarted(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_migration_runs_once_and_everything_waits_for_it() -> None:
    assert SERVICES["migrate"]["restart"].startswith("on-failure")
    for name in ("web", "user-stream", "beat", "flower", *workers()):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", OURS)
def test_ours_are_confined(name: str) -> None:
    service = SERVICES[name]

    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_valkey_keeps_its_data_and_asks_for_a_password() -> None:
    script = SERVICES["redis"]["command"][2]

    assert "--aclfile" in script
    assert "--appendonly yes" in script
    # It should be the valkey-server that receives the stop signal, not a shell in front of it.
    assert "exec valkey-server" in script
    assert SERVICES["redis"]["user"] == "valkey"


def test_the_service_does_not_own_its_database() -> None:
    addresses = {SERVICES[name]["environment"].get("DATABASE_URL") for name in IN_POD if SERVICES[name]["env_file"]}
    owner = SERVICES["migrate"]["environment"]["DATABASE_OWNER_URL"]

    assert addresses == {"postgresql://execution_service@postgres:5432/execution"}
    # It should be the role that the image makes, with the right to make the other one.
    assert owner == f"postgresql://{SERVICES['postgres']['environment']['POSTGRES_USER']}@postgres:5432/execution"
    given = [name for name in IN_POD if SERVICES[name].get("environment", {}).get("DATABASE_OWNER_URL")]
    assert given == ["migrate"]


def user_of(url: str) -> str:
    """Return the user in an address whose password is a variable of the file."""
    return url.removeprefix("redis://").partition(":")[0]


def test_each_kind_of_key_has_its_user() -> None:
    environment = SERVICES["worker-orders"]["environment"]
    urls = {name: value for name, value in environment.items() if name.startswith("REDIS_") and value}
    users = {name: user_of(value) for name, value in urls.items()}

    assert users == {
        "REDIS_BUS_URL": "execution-bus",
        "REDIS_BROKER_URL": "execution-broker",
        "REDIS_STATE_URL": "execution-state",
    }
    assert user_of(SERVICES["risk-safety"]["environment"]["REDIS_URL"]) == "neighbour"
    [config] = SERVICES["redis"]["configs"]
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["configs"][config["source"]]["file"]
    assert {line.split()[1] for line in (ROOT / file).read_text().splitlines()} == {
        *users.values(),
        *("neighbour", "default"),
    }


def test_what_is_written_has_a_volume_that_exists() -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    mounted = {
        volume.split(":")[0]: volume.split(":")[1] for each in SERVICES.values() for volume in each.get("volumes", [])
    }

    assert set(mounted) == set(declared)
    # It should be a folder that belongs to our user in the image: a new volume takes its owner over.
    assert f"--owner=10001 --group=10001 {mounted['paper-exchange']}" in (ROOT / "Dockerfile").read_text()


def test_the_image_holds_the_code_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", lines, flags=re.MULTILINE)
    sources = " ".join(copied).split()

    assert "requirements.lock" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "USER 10001:10001" in lines
    # It should say the address that its own command listens on, so that the rule about keys holds.
    assert "HOST=0.0.0.0" in lines
    assert '"--bind", "0.0.0.0:8002"' in lines
    # It should let nothing else into the build: no .env, no state.
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(sources)
