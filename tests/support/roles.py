"""The service's role on a test's database: what the service's processes connect as."""

from urllib.parse import quote, urlsplit

import psycopg

from execution_project.database_roles import ensure_role, grant_service
from local_stack.postgres import SERVICE


def as_service(owner_url: str) -> str:
    """Return the address of the same database for the service's role."""
    url = urlsplit(owner_url)
    host = url.netloc.rpartition("@")[2]
    password = f":{quote(url.password)}" if url.password else ""
    return url._replace(netloc=f"{SERVICE}{password}@{host}").geturl()


def with_rights(owner_url: str, *, kept_days: int | None = 1) -> str:
    """Give the service's role its rights on a migrated database, and return the address for it."""
    with psycopg.connect(owner_url) as connection:
        ensure_role(connection, SERVICE, "")
        grant_service(connection, SERVICE, kept_days=kept_days)
    return as_service(owner_url)
