"""Policy values in force, and the snapshot of risk-safety's last answer."""

from datetime import datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Max

from execution.models import PolicyValue

# One lock for all processes while a value changes.
POLICY_LOCK = 0x706F6C69
# Any change of a row changes the digest, also one by hand that leaves the version as it was.
MARK = """
    SELECT md5(string_agg(concat_ws(' ', key, value, source, version), ',' ORDER BY key)),
           (SELECT details ->> 'answered_at' FROM execution_heartbeat WHERE part = 'policy')
    FROM execution_policyvalue
"""


def lock_policy() -> None:
    """Wait until no other process changes a value, and hold the lock in this transaction.

    Versions are a sequence, and each change compares with the value in force.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [POLICY_LOCK])


def policy_mark() -> tuple[str, str | None]:
    """Return a digest of all stored values, and when risk-safety last reported them: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(MARK)
        mark, answered_at = cursor.fetchone() or ("", None)
    return str(mark or ""), answered_at


def policy_values() -> list[PolicyValue]:
    """Return all stored values."""
    return list(PolicyValue.objects.all())


def policy_values_by_key() -> list[PolicyValue]:
    """Return all stored values in the order of their keys."""
    return list(PolicyValue.objects.order_by("key"))


def policy_value(key: str) -> PolicyValue | None:
    """Return the stored value of a key, or None while its default is in force."""
    return PolicyValue.objects.filter(key=key).first()


def newest_policy_version() -> int:
    """Return the version of the newest value, or 0 when none was ever stored."""
    return PolicyValue.objects.aggregate(newest=Max("version"))["newest"] or 0


def policy_is_newer_than(version: int) -> bool:
    """Whether a value has changed since this version of the policy."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM execution_policyvalue WHERE version > %s)", [version])
        return bool(cursor.fetchone()[0])


def save_policy_value(key: str, value: Decimal, *, source: str, version: int, now: datetime) -> None:
    """Insert or replace the value of a key."""
    PolicyValue.objects.update_or_create(
        key=key, defaults={"value": value, "source": source, "version": version, "changed_at": now}
    )


def change_policy_source(key: str, *, source: str, to: str, now: datetime) -> None:
    """Write another source to a value that comes from `source`."""
    PolicyValue.objects.filter(key=key, source=source).update(source=to, changed_at=now)
