"""Pytest plugin: a real PostgreSQL and a real Valkey for the session, ready before Django reads its settings.

It is loaded by `-p tests.services` (pyproject.toml), because pytest-django reads the settings before any conftest.
`DATABASE_URL` and `REDIS_URL` that are given are used; what is not given is started in a temporary folder. With `-n`,
each process of pytest-xdist that runs tests has a pair of its own, so that a test may restart or flush what it uses.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# These need no shared servers: unit tests do no I/O, the others start what they test. Anything else gets servers.
WITHOUT_SERVERS = (ROOT / "tests/unit", ROOT / "tests/paper_exchange", ROOT / "tests/local_stack")
# Port 9 is "discard": a test that talks to a neighbour by mistake is refused instead of reaching a running stack.
NOWHERE = "127.0.0.1:9"
# Forced, whatever the developer's shell says: a test never trades on a real account.
PAPER = {"EXECUTION_MODE": "paper", "BINANCE_API_KEY": "paper", "BINANCE_API_SECRET": "paper-secret"}
# DATABASE_URL is the owner's here: tests make databases, empty them and look everywhere. What they start as processes
# connects as the service's role (tests/support/roles.py).
PAPER["DATABASE_OWNER_URL"] = ""
DEFAULTS = {
    "SECRET_KEY": "a-key-for-tests-only",
    "HOST": "127.0.0.1",
    "BINANCE_BASE_URL": f"http://{NOWHERE}",
    "BINANCE_STREAM_URL": f"ws://{NOWHERE}",
    "RISK_SAFETY_SERVICE_URL": f"http://{NOWHERE}",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Run around pytest-django's hook of the same name, which reads the settings."""
    os.environ |= PAPER | {name: os.environ.get(name, value) for name, value in DEFAULTS.items()}
    keep_compiled()
    options = early_config.known_args_namespace
    only_looks = options.help or options.version or options.collectonly
    # The process that hands out the tests runs none; those that it starts inherit its environment.
    distributes = options.numprocesses and "PYTEST_XDIST_WORKER" not in os.environ
    if only_looks or distributes or not needs_servers(options.file_or_dir):
        os.environ.setdefault("DATABASE_URL", f"postgresql://execution@{NOWHERE}/execution")
        os.environ.setdefault("REDIS_URL", f"redis://{NOWHERE}/0")
    else:
        start_servers(early_config)
    return (yield)


def keep_compiled() -> None:
    """Keep what Python compiles, whatever the shell says: this process, its workers and the hundreds they start."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def needs_servers(arguments: Sequence[str]) -> bool:
    """Whether a test outside of WITHOUT_SERVERS was asked for; no path at all means all tests."""
    paths = [Path(argument.partition("::")[0]).resolve() for argument in arguments]
    return not paths or not all(any(path.is_relative_to(folder) for folder in WITHOUT_SERVERS) for path in paths)


def start_servers(config: pytest.Config) -> None:
    """Start what is not given by URL; pytest stops it in its clean-up, also after an error in a plugin or setting."""
    from local_stack.postgres import start_postgres  # noqa: PLC0415 - unit tests alone do not pay for the driver
    from local_stack.valkey import start_valkey  # noqa: PLC0415 - as above

    folder = Path(tempfile.mkdtemp(prefix="execution-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name, start in (("DATABASE_URL", start_postgres), ("REDIS_URL", start_valkey)):
        if NOWHERE in os.environ.get(name, NOWHERE):
            server = start(folder / name.lower(), durable=False)
            config.add_cleanup(server.stop)
            os.environ[name] = server.url
