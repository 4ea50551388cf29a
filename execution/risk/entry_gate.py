"""Whether a position may be opened now, whatever the decision says: no kill switch, reconciled since the start, alone.

Only entries come here. Exits and protection are never held.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q

from execution.domain.clocks import CLOCKS_DIFFER
from execution.domain.ports import EntryBlock, Memory
from execution.domain.reasons import Reason
from execution.models import AccountLease, AuditEvent, EntryHold, KillSwitch, VenueBlock
from execution.models.hold import ACCOUNT
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
CORRECTED, CORRECTIONS_APART = "CORRECTED", timedelta(minutes=5)
# What stops every entry, or every entry in a symbol, by what we know; with the parameters of `standing_with`.
STANDING = """(
    EXISTS (SELECT FROM execution_essstatus WHERE NOT permitted)
    OR EXISTS (SELECT FROM execution_killswitch WHERE released_at IS NULL)
    OR EXISTS (SELECT FROM execution_entryhold WHERE scope IN (%s, %s))
    OR EXISTS (SELECT FROM execution_venueblock WHERE scope IN (%s, %s))
)"""
# What the statement that starts a submission asks once more: an answer may have changed since it was read.
CLOSED = f"""(
    {STANDING}
    OR NOT EXISTS (
        SELECT FROM execution_accountlease
        WHERE account = %s AND settings = %s AND reconciled_at >= %s AND renewed_at > %s
            AND GREATEST(reconciled_at, renewed_at) <= %s
    )
)"""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One installation of the service, as its account knows it. The fingerprints are of the key and of the settings."""

    account: str
    settings: str
    holder: str
    started_at: datetime
    lease_length: timedelta


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """What stands in the way of an entry: with a code it is refused, without one it waits, and expires by age."""

    sentence: str
    code: Reason | None = None


def obstacle_to_entry(stack: Stack, symbol: str, *, now: datetime) -> Obstacle | None:
    """Return what stands in the way of an entry in this symbol."""
    veto = standing_veto(symbol, now=now)
    if veto:
        return Obstacle(code=veto.code, sentence=veto.sentence)
    return obstacle_of(AccountLease.objects.filter(account=stack.account).first(), stack, now=now)


def standing_veto(symbol: str, *, now: datetime) -> EntryBlock | None:
    """Return the kill switch in force, what the monitor has held entries for, or what the exchange says."""
    switch = engaged_switch()
    if switch:
        sentence = f"level={switch.level} by={switch.engaged_by}: {switch.reason}"
        return EntryBlock(code=Reason.KILL_SWITCH_ENGAGED, sentence=sentence)
    hold = EntryHold.objects.filter(scope__in=[ACCOUNT, symbol]).order_by("since").first()
    if hold:
        since = (now - hold.since).total_seconds()
        return EntryBlock(
            code=Reason(hold.reason_code), sentence=f"{hold.reason} (scope={hold.scope} for {since:.0f}s)"
        )
    block = VenueBlock.objects.filter(scope__in=[ACCOUNT, symbol]).order_by("since", "pk").first()
    if block:
        return EntryBlock(code=Reason(block.reason_code), sentence=block.sentence)
    return None


def engaged_switch() -> KillSwitch | None:
    return KillSwitch.objects.filter(released_at=None).first()


def obstacle_of(lease: AccountLease | None, stack: Stack, *, now: datetime) -> Obstacle | None:
    """Return what the account's lease says against entries of this stack."""
    if lease is None:
        return Obstacle(sentence="no monitor cycle has compared the books with the exchange yet")
    age = (now - lease.renewed_at).total_seconds()
    most = stack.lease_length.total_seconds()
    if lease.settings != stack.settings:
        numbers = f"theirs={lease.settings[:8]} ours={stack.settings[:8]} holder={lease.holder} fence={lease.fence}"
        # Renewed while we run: the other one runs too. Else it may be ourselves, before a change of settings.
        rival = age <= most and lease.renewed_at > stack.started_at
        return Obstacle(
            code=Reason.ACCOUNT_LEASED_BY_OTHERS if rival else None, sentence=f"{numbers} renewed {age:.0f}s ago"
        )
    if ahead := _ahead(lease, now):
        return Obstacle(
            sentence=f"the account's lease is stamped {ahead:.0f}s ahead; the next monitor cycle corrects it"
        )
    if lease.reconciled_at < stack.started_at:
        return Obstacle(sentence="no monitor cycle has compared the books with the exchange since the start")
    if age >= most:
        return Obstacle(sentence=f"the last monitor cycle ended {age:.0f}s ago, expected<={most:.0f}s")
    return None


def obstacle_of_loss(memory: Memory) -> Obstacle | None:
    """Return what a Redis that has lost its data says: limits, bans and tasks were in it, and the monitor rebuilds."""
    if memory.is_whole():
        return None
    return Obstacle(sentence="Redis has lost its data or is silent, and no monitor cycle has run since")


def is_reconciled(lease: AccountLease | None, stack: Stack, *, now: datetime) -> bool:
    """Whether a full cycle of this stack has compared the books with the exchange since it started."""
    if lease is None or lease.settings != stack.settings or _ahead(lease, now):
        return False
    return lease.reconciled_at >= stack.started_at


def _ahead(lease: AccountLease, now: datetime) -> float:
    """Return how many seconds a lease is stamped ahead of any clock, or 0: such a stamp proves nothing."""
    latest = max(lease.renewed_at, lease.reconciled_at)
    return (latest - now).total_seconds() if latest > now + CLOCKS_DIFFER else 0.0


def standing_with(symbol: str) -> list[str]:
    """Return the parameters of `STANDING`."""
    return [ACCOUNT, symbol] * 2


def closed_with(stack: Stack, symbol: str, *, now: datetime) -> list[object]:
    """Return the parameters of `CLOSED`."""
    oldest = now - stack.lease_length
    return [*standing_with(symbol), stack.account, stack.settings, stack.started_at, oldest, now + CLOCKS_DIFFER]


def renew_lease(stack: Stack, *, reconciled_at: datetime, now: datetime) -> bool:
    """Renew the account's lease, or take it when nobody has; False while a stack with other settings holds it.

    Call it at the end of a full cycle; `reconciled_at` is when that cycle began to read the exchange.
    """
    _correct_stamp(stack, now)
    renewed = {"holder": stack.holder, "renewed_at": now, "reconciled_at": reconciled_at}
    mine = AccountLease.objects.filter(account=stack.account, settings=stack.settings)
    if mine.update(**renewed):
        return True
    with transaction.atomic():
        first = {"settings": stack.settings, "fence": 1, "taken_at": now, **renewed}
        _, created = AccountLease.objects.get_or_create(account=stack.account, defaults=first)
        free = Q(settings=stack.settings) | Q(renewed_at__lte=now - stack.lease_length)
        lapsed = AccountLease.objects.filter(free, account=stack.account)
        if not created and not lapsed.update(settings=stack.settings, fence=F("fence") + 1, taken_at=now, **renewed):
            return False
        fence = AccountLease.objects.values_list("fence", flat=True).get(account=stack.account)
        details = {"fence": fence, "settings": stack.settings, "holder": stack.holder}
        log_step("lease", stack.account, to_state="TAKEN", trigger="monitor", now=now, details=details)
    return True


def _correct_stamp(stack: Stack, now: datetime) -> None:
    """Set a lease that is stamped ahead of any clock to now, with an alarm: it would hold for as long as it lies ahead.

    It is not free at once: who holds it may be alive, under a clock of its own, and renews it. Who is not loses it as
    any other. The stamp that was found is asked for again, so that a renewal in between is not undone.
    """
    ahead = Q(renewed_at__gt=now + CLOCKS_DIFFER) | Q(reconciled_at__gt=now + CLOCKS_DIFFER)
    found = AccountLease.objects.filter(ahead, account=stack.account).first()
    if found is None:
        return
    same = {"renewed_at": found.renewed_at, "reconciled_at": found.reconciled_at}
    set_back = {"renewed_at": min(found.renewed_at, now), "reconciled_at": min(found.reconciled_at, now)}
    with transaction.atomic():
        # The books were compared then, if at all; a cycle of its holder says when.
        if not AccountLease.objects.filter(**same, account=stack.account).update(**set_back):
            return
        told = {name: moment.isoformat() for name, moment in same.items()}
        log.error("lease_stamp_corrected", holder=found.holder, fence=found.fence, **told)
        # A holder under a wrong clock stamps it so with every cycle: the journal tells of it now and then.
        lines = AuditEvent.objects.filter(entity="lease", entity_id=stack.account, to_state=CORRECTED)
        if not lines.filter(at__gt=now - CORRECTIONS_APART, at__lte=now).exists():
            details = {"holder": found.holder, "fence": found.fence, **told}
            log_step("lease", stack.account, to_state=CORRECTED, trigger="monitor", now=now, details=details)
