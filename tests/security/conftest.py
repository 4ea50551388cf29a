"""One running service with its web server for all attacks; each attack finds it flat and leaves it trading."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections

from local_stack.processes import Addresses, web
from local_stack.server import free_port
from tests.security.aftermath import Api, HeldPosition, hold_position
from tests.support.stack import CeleryStack, create_database, crew, drop_database

# Apart from the numbers of the other suites.
REDIS_DATABASE = 5
HOST = "127.0.0.1"


@pytest.fixture(scope="package")
def running_stack(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    settings = connections["default"].settings_dict
    # A database with a session cannot be copied.
    connections.close_all()
    name = f"{settings['NAME']}_security"
    server_url = os.environ["DATABASE_URL"]
    database_url = create_database(server_url, name, template=str(settings["NAME"]))
    redis_url = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{REDIS_DATABASE}").geturl()
    folder: Path = tmp_path_factory.mktemp("security")
    server = web(
        Addresses(host=HOST, web_port=free_port(), flower_port=0, database_url=database_url, redis_url=redis_url)
    )
    try:
        with CeleryStack(
            database_url=database_url, redis_url=redis_url, folder=folder, programs=[*crew(folder), server]
        ) as stack:
            yield stack
    finally:
        drop_database(server_url, name)


@pytest.fixture
def stack(running_stack: CeleryStack) -> CeleryStack:
    """The running service, flat: what the test before has opened is closed and booked."""
    # A test that failed may have left them dead.
    running_stack.start_workers()
    running_stack.close_everything_by_hand()
    running_stack.paper.clear_faults()
    running_stack.risk.restore()
    Api.of(running_stack).await_answer()
    return running_stack


@pytest.fixture
def api(stack: CeleryStack) -> Api:
    """The running web server."""
    return Api.of(stack)


@pytest.fixture
def held(stack: CeleryStack) -> HeldPosition:
    """A protected position, opened before the attack; `aftermath.trading_goes_on` asks what became of it."""
    return hold_position(stack)
