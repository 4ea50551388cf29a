"""Lets a locked row or a slow statement delay its own trade and nothing else.

A session waits for a lock or a statement no longer than its bound (execution_project/waits.py). What then fails has met
another transaction. The database works, and all that is not about that row goes on.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import structlog
from django.db import OperationalError
from django.utils import timezone

from execution.models import Heartbeat

log = structlog.get_logger(__name__)
# PostgreSQL's codes: a lock was not given in time, a statement took too long, two transactions waited for each other.
BUSY = frozenset({"55P03", "57014", "40P01"})
_lock = threading.Lock()
# What this process could not do for that reason, and when last.
_met: dict[str, datetime] = {}


def is_busy(error: BaseException) -> bool:
    """Whether a statement met a locked row or its time limit, after which the connection is usable."""
    return getattr(error.__cause__, "sqlstate", None) in BUSY


@contextmanager
def apart(what: str) -> Iterator[None]:
    """Skip the rest of the block when it meets a locked row. The next sweep tries again.

    Raises:
        OperationalError: the database itself has failed.

    """
    try:
        yield
    except OperationalError as error:
        if not is_busy(error):
            raise
        note(what, error)


def note(what: str, error: OperationalError) -> None:
    """Record that something was not done because of a locked row. Health reports it."""
    log.error("row_held_by_another_session", what=what, error=str(error).partition("\n")[0])
    with _lock:
        _met[what] = timezone.now()


def met_since(began_at: datetime, part: str) -> dict[str, str]:
    """Return what was not done since then, with the time since which it is so.

    `part`: the part whose last heartbeat may have reported `held` before.
    """
    with _lock:
        lately = {what: at for what, at in _met.items() if at >= began_at}
        for what in _met.keys() - lately.keys():
            del _met[what]
    if not lately:
        return {}
    last = Heartbeat.objects.filter(part=part).values_list("details", flat=True).first()
    known: Mapping[str, str] = (last or {}).get("held") or {}
    return {what: known.get(what) or at.isoformat() for what, at in lately.items()}
