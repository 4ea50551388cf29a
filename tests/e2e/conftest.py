"""One running service for all tests of this folder, stopped with the last of them."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections

from tests.support.stack import CeleryStack, create_database, drop_database

# Apart from the integration tests' number, for the developer may have given the server.
REDIS_DATABASE = 8


@pytest.fixture(scope="package")
def running_stack(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    settings = connections["default"].settings_dict
    # A database with a session cannot be copied.
    connections.close_all()
    name = f"{settings['NAME']}_e2e"
    server_url = os.environ["DATABASE_URL"]
    database_url = create_database(server_url, name, template=str(settings["NAME"]))
    redis_url = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{REDIS_DATABASE}").geturl()
    folder: Path = tmp_path_factory.mktemp("stack")
    try:
        with CeleryStack(database_url=database_url, redis_url=redis_url, folder=folder) as stack:
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
    return running_stack
