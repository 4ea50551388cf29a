"""Seals the journal behind its writers, and removes old lines as the database's owner permits.

Both are functions of the database (migration 0002): the service's role can neither write a seal nor delete a line.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import connection

from execution.models import AuditEvent
from execution.store.heartbeats import beat

log = structlog.get_logger(__name__)
PART = "journal"

# Lines a call: it holds the chain's head for some tens of milliseconds.
PAGE = 1000
# A run ends before beat asks for the next one, also while an old journal gets its first seals.
MOST_PAGES = 20
# The database's clock decides what is old enough, and ours must not ask too early.
CLOCKS_DIFFER = timedelta(minutes=5)


# A transaction that writes the journal lasts milliseconds. One that lasts this long keeps all later lines unsealed.
LONGEST_UNSEALED = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What retention may remove from the journal.

    Lines up to `sealed_to`, older than `kept_days` (None: nothing).
    """

    sealed_to: int
    kept_days: int | None

    def before(self, wanted: datetime, now: datetime) -> datetime | None:
        """Return the time before which lines may be removed, at most `wanted`. None: none may."""
        if self.kept_days is None:
            return None
        return min(wanted, now - timedelta(days=self.kept_days) - CLOCKS_DIFFER)


def keep_sealed(now: datetime) -> None:
    """Seal what is final and beat. Health raises the alarm when lines stay without a seal."""
    sealed = seal_journal()
    oldest = AuditEvent.objects.filter(id__gt=keeping().sealed_to).order_by("pk").values_list("at", flat=True).first()
    age = now - oldest if oldest else timedelta(0)
    details = {"sealed": sealed, "oldest_unsealed_seconds": round(age.total_seconds(), 3)}
    beat(PART, now=now, healthy=sealed > 0 or age <= LONGEST_UNSEALED, details=details)


def report_head() -> None:
    """Write the end of the chain to the log.

    Kept outside of the database, it shows whether the chain was made anew.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT position, encode(link, 'hex') FROM execution_journalhead")
        for position, link in cursor.fetchall():
            log.info("journal_head", head=f"{position}:{link}")


def seal_journal() -> int:
    """Seal the lines that are final, and return how many: no running transaction can add one before them."""
    sealed = 0
    for _ in range(MOST_PAGES):
        page = _call("SELECT execution_seal_journal(%s)", PAGE)
        sealed += page
        if page < PAGE:
            break
    return sealed


def remove_lines(ids: Collection[int]) -> int:
    """Remove old, sealed lines and record that in the journal. Returns how many there were.

    Raises:
        django.db.DatabaseError: one of them is too young, or has no seal yet; none was removed.

    """
    return _call("SELECT execution_forget_journal(%s::bigint[])", list(ids)) if ids else 0


def keeping() -> Keeping:
    """Return what the owner of the database lets retention take."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT line_id, kept_days FROM execution_journalhead")
        row = cursor.fetchone()
    return Keeping(sealed_to=row[0], kept_days=row[1]) if row else Keeping(sealed_to=0, kept_days=None)


def _call(query: str, parameter: int | list[int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, [parameter])
        (number,) = cursor.fetchone()
        return int(number)
