"""The one row that holds the last known state of the emergency stop."""

from collections.abc import Mapping

from django.db import connection

from execution.models import EssStatus
from execution.store.named_sql import NamedSql

STATUS = NamedSql("ess_status", status=EssStatus)

# The columns that an answer of risk-safety fills.
ANSWERED = ("state", "permitted", "reason", "source", "observed_at", "held_until", "unanswered")
# Counted in the row itself: all processes share the figure.
COUNT_SILENCE = """
    UPDATE execution_essstatus SET unanswered = unanswered + 1,
        failures = failures || jsonb_build_object(%(kind)s::text, COALESCE((failures ->> %(kind)s)::int, 0) + 1)
"""


def ess_status() -> EssStatus | None:
    """Return the last known state, or None before the first answer or trip."""
    found = STATUS.row()
    return found[0] if found else None


def lock_ess_status() -> EssStatus | None:
    """Return the last known state, locked until the transaction ends."""
    return EssStatus.objects.select_for_update().filter(pk=1).first()


def known_block() -> EssStatus | None:
    """Return the last known state when it blocks entries, without a call to risk-safety."""
    return EssStatus.objects.filter(pk=1, permitted=False).first()


def any_block() -> EssStatus | None:
    """Return a row that blocks entries, as the statement `STANDING` counts it."""
    return EssStatus.objects.filter(permitted=False).first()


def save_ess_status(values: Mapping[str, object]) -> None:
    """Write these columns, and insert the row when there is none."""
    EssStatus.objects.update_or_create(pk=1, defaults=values)


def save_ess_answer(answer: EssStatus) -> None:
    """Write an answer of risk-safety in one statement. The counted failures stay."""
    EssStatus.objects.bulk_create([answer], update_conflicts=True, unique_fields=["id"], update_fields=ANSWERED)


def clear_unanswered() -> None:
    """Note that risk-safety answers again, whatever its answer is worth while a trip is held."""
    EssStatus.objects.filter(pk=1, unanswered__gt=0).update(unanswered=0)


def count_unanswered(kind: str, first: Mapping[str, object]) -> None:
    """Count a check that got no answer, by kind of failure.

    `first` are the columns of the row when there is none yet.
    """
    EssStatus.objects.get_or_create(pk=1, defaults=first)
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SILENCE, {"kind": kind})
