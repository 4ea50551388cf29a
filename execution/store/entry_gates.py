"""Rows that close the entry gate: kill switch, entry holds, venue blocks and the account's lease."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import connection
from django.db.models import F, Q

from execution.domain.clocks import CLOCKS_DIFFER
from execution.models import AccountLease, AuditEvent, EntryHold, KillSwitch, VenueBlock
from execution.models.hold import ACCOUNT

# True while a row stops every entry, or every entry in a symbol; with the parameters of `standing_with`.
STANDING = """(
    EXISTS (SELECT FROM execution_essstatus WHERE NOT permitted)
    OR EXISTS (SELECT FROM execution_killswitch WHERE released_at IS NULL)
    OR EXISTS (SELECT FROM execution_entryhold WHERE scope IN (%s, %s))
    OR EXISTS (SELECT FROM execution_venueblock WHERE scope IN (%s, %s))
)"""
# True while an entry must not leave. The statement that starts a submission checks it again: an answer may have
# changed since it was read.
CLOSED = f"""(
    {STANDING}
    OR NOT EXISTS (
        SELECT FROM execution_accountlease
        WHERE account = %s AND settings = %s AND reconciled_at >= %s AND renewed_at > %s
            AND GREATEST(reconciled_at, renewed_at) <= %s
    )
)"""
# The version of the policy in force; a request carries the one that it was approved with.
POLICY_VERSION = "(SELECT COALESCE(max(version), 0) FROM execution_policyvalue)"


def standing_with(symbol: str) -> list[str]:
    """Return the parameters of `STANDING`."""
    return [ACCOUNT, symbol] * 2


def stopped_and_policy_version(symbol: str) -> tuple[bool, int]:
    """Return whether a row stops entries in this symbol, and the version of the policy: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {STANDING}, {POLICY_VERSION}", standing_with(symbol))
        stopped, version = cursor.fetchone() or (True, 0)
    return bool(stopped), int(version)


def is_closed(parameters: Sequence[str | datetime]) -> bool:
    """Return whether an entry must not leave now, with the parameters of `CLOSED`: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CLOSED}", parameters)
        (closed,) = cursor.fetchone() or (True,)
    return bool(closed)


def oldest_hold_on(symbol: str) -> EntryHold | None:
    """Return the oldest hold on entries in this symbol, or on all entries."""
    return EntryHold.objects.filter(scope__in=[ACCOUNT, symbol]).order_by("since").first()


def oldest_venue_block_on(symbol: str) -> VenueBlock | None:
    """Return the oldest block that the exchange has put on this symbol, or on the account."""
    return VenueBlock.objects.filter(scope__in=[ACCOUNT, symbol]).order_by("since", "pk").first()


def engaged_switch() -> KillSwitch | None:
    """Return the engagement of the kill switch that is in force."""
    return KillSwitch.objects.filter(released_at=None).first()


def lease_of(account: str) -> AccountLease | None:
    """Return the lease of an exchange account, or None before the first full cycle."""
    return AccountLease.objects.filter(account=account).first()


def renew_own_lease(account: str, settings: str, renewed: Mapping[str, object]) -> bool:
    """Write a renewal to the account's lease, or return False when other settings hold it."""
    return bool(AccountLease.objects.filter(account=account, settings=settings).update(**renewed))


def take_free_lease(
    account: str, settings: str, renewed: Mapping[str, object], *, lapsed_before: datetime, now: datetime
) -> int | None:
    """Take the account's lease when it is free, in the caller's transaction.

    It is free when there is none, when these settings hold it, and when it has lapsed.

    Returns the fence, which grows with each taking; None when other settings hold it.
    """
    first = {"settings": settings, "fence": 1, "taken_at": now, **renewed}
    _, created = AccountLease.objects.get_or_create(account=account, defaults=first)
    free = Q(settings=settings) | Q(renewed_at__lte=lapsed_before)
    lapsed = AccountLease.objects.filter(free, account=account)
    if not created and not lapsed.update(settings=settings, fence=F("fence") + 1, taken_at=now, **renewed):
        return None
    return AccountLease.objects.values_list("fence", flat=True).get(account=account)


def lease_stamped_ahead(account: str, *, now: datetime) -> AccountLease | None:
    """Return the account's lease when one of its stamps lies further in the future than clocks may differ."""
    ahead = Q(renewed_at__gt=now + CLOCKS_DIFFER) | Q(reconciled_at__gt=now + CLOCKS_DIFFER)
    return AccountLease.objects.filter(ahead, account=account).first()


def set_lease_back(found: AccountLease, *, now: datetime) -> bool:
    """Set the stamps of a lease to now at most, unless it was renewed since `found` was read."""
    same = {"renewed_at": found.renewed_at, "reconciled_at": found.reconciled_at}
    set_back = {"renewed_at": min(found.renewed_at, now), "reconciled_at": min(found.reconciled_at, now)}
    return bool(AccountLease.objects.filter(**same, account=found.account).update(**set_back))


def lease_was_logged(account: str, to_state: str, *, since: datetime, until: datetime) -> bool:
    """Whether the journal has a line of this lease and state, after `since` and up to `until`."""
    lines = AuditEvent.objects.filter(entity="lease", entity_id=account, to_state=to_state)
    return lines.filter(at__gt=since, at__lte=until).exists()
