"""Rows of entry holds: why no entry leaves in a symbol, or in the whole account."""

from datetime import datetime

from execution.domain.reasons import Reason
from execution.models import EntryHold


def entry_holds_by_scope() -> dict[str, EntryHold]:
    """Return the holds in force by symbol, the account's under ACCOUNT."""
    return {hold.scope: hold for hold in EntryHold.objects.all()}


def store_entry_hold(scope: str, code: Reason, sentence: str, *, now: datetime) -> None:
    """Begin a hold, or note that its reason was seen again.

    Call it in a transaction.
    """
    EntryHold.objects.update_or_create(
        scope=scope,
        defaults={"reason_code": code, "reason": sentence, "seen_at": now, "clear_readings": 0},
        create_defaults={"reason_code": code, "reason": sentence, "seen_at": now, "since": now},
    )


def count_clear_reading(hold: EntryHold) -> None:
    """Count one more successive cycle that did not see the reason."""
    EntryHold.objects.filter(pk=hold.pk).update(clear_readings=hold.clear_readings + 1)
