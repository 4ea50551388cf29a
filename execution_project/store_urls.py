"""The addresses of PostgreSQL, which hold passwords: checked without ever repeating them (Redis: redis_address.py).

A library that cannot read such an address prints parts of it, a password with a slash among them. So it is read once
here, and what is wrong is said without the text.
"""

import psycopg
from psycopg.conninfo import conninfo_to_dict

ENCODE = "Percent-encode a password's special characters."


def check_database_url(url: str, *, name: str) -> None:
    """Raise ValueError, without the address, for one that libpq cannot read."""
    _read_database_url(url, name=name)


def check_owner_url(url: str, owner_url: str) -> None:
    """Raise ValueError for an owner of another database than the service's, or one that is no other role."""
    if not owner_url:
        return
    service, owner = _read_database_url(url), _read_database_url(owner_url)
    if not service.get("user") or not owner.get("user"):
        raise ValueError("DATABASE_URL and DATABASE_OWNER_URL must each name its role: postgresql://role@host/name")
    if service["user"] == owner["user"]:
        raise ValueError("DATABASE_OWNER_URL names the role of DATABASE_URL: the service would own its journal")
    if service.get("dbname") != owner.get("dbname"):
        raise ValueError("DATABASE_OWNER_URL and DATABASE_URL must lead to the same database")


def user_of_database_url(url: str) -> str:
    return str(_read_database_url(url).get("user") or "")


def password_of_database_url(url: str) -> str:
    return str(_read_database_url(url).get("password") or "")


def host_of_database_url(url: str) -> str:
    """Return the host, or the hosts with commas between them; empty or a path: a socket of this machine."""
    parts = _read_database_url(url)
    return str(parts.get("hostaddr") or parts.get("host") or "")


def has_client_certificate(url: str) -> bool:
    return bool(_read_database_url(url).get("sslcert"))


def _read_database_url(url: str, *, name: str = "DATABASE_URL") -> dict[str, object]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.Error:
        raise ValueError(f"{name} cannot be read as postgresql://user:password@host/name. {ENCODE}") from None
