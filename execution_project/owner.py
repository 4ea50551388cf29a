"""Lets Django's connection be the owner's for a while: only migrations need that."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from execution_project.env import environment
from execution_project.settings import database_settings


@contextmanager
def as_owner(alias: str = "default") -> Iterator[Any]:
    """Connect as the role of DATABASE_OWNER_URL; without one, as ever."""
    connection, env = connections[alias], environment()
    url = env.database_owner_url.get_secret_value()
    if not url:
        yield connection
        return
    service = connection.settings_dict
    owner = database_settings(url, env.database_owner_password.get_secret_value())
    connection.close()
    # The database of the moment: a test's has a name of its own.
    connection.settings_dict = {**service, **owner, "NAME": service["NAME"]}
    try:
        yield connection
    finally:
        connection.close()
        connection.settings_dict = service
