"""One running service with its web server for all attacks; each attack finds it flat and leaves it trading."""

from collections.abc import Iterator

import pytest

from local_stack.processes import Addresses, web
from local_stack.server import free_port
from tests.security.aftermath import Api, HeldPosition, hold_position
from tests.support.databases import copied_database, redis_address
from tests.support.stack import CeleryStack, crew

# Apart from the numbers of the other suites.
REDIS_DATABASE = 5
HOST = "127.0.0.1"


@pytest.fixture(scope="package")
def running_stack(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    folder, redis_url = tmp_path_factory.mktemp("security"), redis_address(REDIS_DATABASE)
    with copied_database("security") as database_url:
        server = web(
            Addresses(host=HOST, web_port=free_port(), flower_port=0, database_url=database_url, redis_url=redis_url)
        )
        with CeleryStack(
            database_url=database_url, redis_url=redis_url, folder=folder, programs=[*crew(folder), server]
        ) as stack:
            yield stack


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
