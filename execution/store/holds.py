"""The rows that hold entries: emergency stop, entry holds, leases."""

from collections.abc import Sequence
from datetime import datetime

from execution.domain.reasons import Reason
from execution.models import AccountLease, EntryHold, EssStatus


def lock_blocking_ess() -> EssStatus | None:
    """Lock and return the emergency stop's state while it blocks entries, or None when it does not."""
    return EssStatus.objects.select_for_update().filter(pk=1, permitted=False).first()


def blocking_ess() -> list[EssStatus]:
    """Return the emergency stop's state while it blocks entries, else an empty list."""
    return list(EssStatus.objects.filter(permitted=False))


def lock_entry_hold(scope: str) -> EntryHold | None:
    """Lock and return the hold of a symbol or of the account, or None when its entries are not held."""
    return EntryHold.objects.select_for_update().filter(scope=scope).first()


def entry_holds() -> list[EntryHold]:
    """Return all holds by their scopes."""
    return list(EntryHold.objects.order_by("scope"))


def leases_of_others(account: str, *, settings: str) -> list[AccountLease]:
    """Return the account's leases that stacks with other settings hold."""
    return list(AccountLease.objects.filter(account=account).exclude(settings=settings))


def delete_leases(leases: Sequence[AccountLease]) -> None:
    """End these leases. A stack that is alive takes its own again with its next cycle."""
    AccountLease.objects.filter(pk__in=[each.pk for each in leases]).delete()


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
