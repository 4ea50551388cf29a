"""Django's command line for people: a store that does not answer is one line, as a refused setting is."""

import sys
from collections.abc import Sequence

from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

NO_TABLE = "42P01"


def main(arguments: Sequence[str]) -> None:
    """Run a command; with `--traceback` what stops it is shown whole.

    Raises:
        SystemExit: the command failed; its text is for the person who typed it.

    """
    try:
        execute_from_command_line(list(arguments))
    except (OperationalError, ProgrammingError, RedisConnectionError, RedisTimeoutError) as error:
        sentence = _sentence(error)
        if not sentence or "--traceback" in arguments:
            raise
        sys.exit(f"{sentence} {' '.join(str(error).split())}")


def _sentence(error: Exception) -> str:
    """Return what to look at; nothing where the failure is a fault of ours."""
    if isinstance(error, OperationalError):
        return "PostgreSQL does not serve this command (DATABASE_URL):"
    if isinstance(error, ProgrammingError):
        missing = getattr(error.__cause__, "sqlstate", None) == NO_TABLE
        return "The database has no tables yet, run `manage.py migrate`:" if missing else ""
    return "Redis does not serve this command (REDIS_URL):"
