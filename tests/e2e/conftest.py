"""One running service for all tests of this folder, stopped with the last of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import copied_database, redis_address
from tests.support.stack import CeleryStack

# Apart from the integration tests' number, for the developer may have given the server.
REDIS_DATABASE = 8


@pytest.fixture(scope="package")
def running_stack(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    with (
        copied_database("e2e") as database_url,
        CeleryStack(database_url=database_url, redis_url=redis_address(REDIS_DATABASE), folder=folder) as stack,
    ):
        yield stack


@pytest.fixture
def stack(running_stack: CeleryStack) -> CeleryStack:
    """The running service, flat: what the test before has opened is closed and booked."""
    # A test that failed may have left them dead.
    running_stack.start_workers()
    running_stack.close_everything_by_hand()
    running_stack.paper.clear_faults()
    return running_stack
