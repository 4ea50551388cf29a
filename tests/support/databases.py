"""A copy of the migrated test database for a service that runs as processes of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.db import connections

from tests.support.stack import create_database, drop_database


@contextmanager
def copied_database(suffix: str) -> Iterator[str]:
    """Copy the test database and yield the copy's address; the copy is dropped at the end.

    Needs pytest-django's database to be there: `django_db_setup`, or a test that is marked for it.
    """
    template = str(connections["default"].settings_dict["NAME"])
    # A database with a session cannot be copied.
    connections.close_all()
    server_url, name = os.environ["DATABASE_URL"], f"{template}_{suffix}"
    try:
        yield create_database(server_url, name, template=template)
    finally:
        drop_database(server_url, name)


def redis_address(number: int) -> str:
    """Return the address of one numbered database of the test's Redis: each suite has a number of its own."""
    return urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}").geturl()
