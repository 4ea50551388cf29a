"""The entry gate: whether anything blocks a new position in a symbol now.

It is closed by the kill switch, an entry hold, a venue block, another stack on the account, or a monitor cycle that is
missing since the start. Only entries ask here. Exits and protection are never held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction

from execution.domain.clocks import CLOCKS_DIFFER
from execution.domain.ports import EntryBlock, Memory
from execution.domain.reasons import Reason
from execution.models import AccountLease
from execution.store.entry_gates import (
    engaged_switch,
    is_closed,
    lease_of,
    lease_stamped_ahead,
    lease_was_logged,
    oldest_hold_on,
    oldest_venue_block_on,
    renew_own_lease,
    set_lease_back,
    standing_with,
    take_free_lease,
)
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
CORRECTED, CORRECTIONS_APART = "CORRECTED", timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One installation of the service as its exchange account knows it.

    `account` is a fingerprint of the API key, `settings` one of the settings.
    """

    account: str
    settings: str
    holder: str
    started_at: datetime
    lease_length: timedelta


@dataclass(frozen=True, kw_only=True)
class GateBlock:
    """An entry block at the gate: with a code the entry is refused, without one it waits until it expires."""

    sentence: str
    code: Reason | None = None


def gate_block(stack: Stack, symbol: str, *, now: datetime) -> GateBlock | None:
    """Return what blocks an entry in this symbol, or None when the gate is open.

    An open gate is one statement. A known emergency stop is not named here: it is asked of risk-safety, and checked
    again with the submission.
    """
    if not is_closed(closed_with(stack, symbol, now=now)):
        return None
    return next((block for _, block in gate_blocks(stack, symbol, now=now)), None)


def gate_blocks(stack: Stack, symbol: str, *, now: datetime) -> Iterator[tuple[str, GateBlock]]:
    """Yield all that blocks an entry in this symbol with its rule's name, in the order of the gate."""
    for rule, block in standing_blocks(symbol, now=now):
        yield rule, GateBlock(code=block.code, sentence=block.sentence)
    leased = lease_block(lease_of(stack.account), stack, now=now)
    if leased:
        yield "account_lease", leased


def standing_block(symbol: str, *, now: datetime) -> EntryBlock | None:
    """Return the kill switch in force, else the oldest entry hold, else the oldest venue block."""
    return next((block for _, block in standing_blocks(symbol, now=now)), None)


def standing_blocks(symbol: str, *, now: datetime) -> Iterator[tuple[str, EntryBlock]]:
    """Yield the kill switch in force, the oldest hold and the oldest venue block, with their rules' names."""
    switch = engaged_switch()
    if switch:
        sentence = f"level={switch.level} by={switch.engaged_by}: {switch.reason}"
        yield "kill_switch", EntryBlock(code=Reason.KILL_SWITCH_ENGAGED, sentence=sentence)
    hold = oldest_hold_on(symbol)
    if hold:
        since = (now - hold.since).total_seconds()
        sentence = f"{hold.reason} (scope={hold.scope} for {since:.0f}s)"
        yield "entry_hold", EntryBlock(code=Reason(hold.reason_code), sentence=sentence)
    block = oldest_venue_block_on(symbol)
    if block:
        yield "venue_block", EntryBlock(code=Reason(block.reason_code), sentence=block.sentence)


def lease_block(lease: AccountLease | None, stack: Stack, *, now: datetime) -> GateBlock | None:
    """Return why the account's lease does not let this stack open positions."""
    if lease is None:
        return GateBlock(sentence="no monitor cycle has compared the books with the exchange yet")
    age = (now - lease.renewed_at).total_seconds()
    most = stack.lease_length.total_seconds()
    if lease.settings != stack.settings:
        numbers = f"theirs={lease.settings[:8]} ours={stack.settings[:8]} holder={lease.holder} fence={lease.fence}"
        # Renewed while we run: the other one runs too. Else it may be ourselves, before a change of settings.
        rival = age <= most and lease.renewed_at > stack.started_at
        return GateBlock(
            code=Reason.ACCOUNT_LEASED_BY_OTHERS if rival else None, sentence=f"{numbers} renewed {age:.0f}s ago"
        )
    if ahead := _ahead(lease, now):
        return GateBlock(
            sentence=f"the account's lease is stamped {ahead:.0f}s ahead; the next monitor cycle corrects it"
        )
    if lease.reconciled_at < stack.started_at:
        return GateBlock(sentence="no monitor cycle has compared the books with the exchange since the start")
    if age >= most:
        return GateBlock(sentence=f"the last monitor cycle ended {age:.0f}s ago, expected<={most:.0f}s")
    return None


def data_loss_block(memory: Memory) -> GateBlock | None:
    """Return a block while Redis has lost its data or is silent, until a monitor cycle has run since.

    Redis held the limits, bans and tasks; the monitor cycle rebuilds them.
    """
    if memory.is_whole():
        return None
    return GateBlock(sentence="Redis has lost its data or is silent, and no monitor cycle has run since")


def is_reconciled(lease: AccountLease | None, stack: Stack, *, now: datetime) -> bool:
    """Whether this stack holds the lease, and a full monitor cycle has ended since its start."""
    if lease is None or lease.settings != stack.settings or _ahead(lease, now):
        return False
    return lease.reconciled_at >= stack.started_at


def _ahead(lease: AccountLease, now: datetime) -> float:
    """Return how many seconds a lease is stamped ahead of any clock, or 0. Such a stamp proves nothing."""
    latest = max(lease.renewed_at, lease.reconciled_at)
    return (latest - now).total_seconds() if latest > now + CLOCKS_DIFFER else 0.0


def closed_with(stack: Stack, symbol: str, *, now: datetime) -> list[str | datetime]:
    """Return the parameters of `store.entry_gates.CLOSED`."""
    oldest = now - stack.lease_length
    return [*standing_with(symbol), stack.account, stack.settings, stack.started_at, oldest, now + CLOCKS_DIFFER]


def renew_lease(stack: Stack, *, reconciled_at: datetime, now: datetime) -> bool:
    """Renew the account's lease, or take it when it is free.

    Call it at the end of a full cycle, with the time when that cycle began to read the exchange.

    Returns:
        False while a stack with other settings holds the lease.

    """
    _correct_stamp(stack, now)
    renewed = {"holder": stack.holder, "renewed_at": now, "reconciled_at": reconciled_at}
    if renew_own_lease(stack.account, stack.settings, renewed):
        return True
    with transaction.atomic():
        lapsed_before = now - stack.lease_length
        fence = take_free_lease(stack.account, stack.settings, renewed, lapsed_before=lapsed_before, now=now)
        if fence is None:
            return False
        details = {"fence": fence, "settings": stack.settings, "holder": stack.holder}
        log_step("lease", stack.account, to_state="TAKEN", trigger="monitor", now=now, details=details)
    return True


def _correct_stamp(stack: Stack, now: datetime) -> None:
    """Set a lease that is stamped ahead of any clock back to now, with an alarm.

    Else it would be held for as long as its stamp lies ahead. It is not free at once: its holder may be alive, under a
    clock of its own, and renews it. A dead holder loses it as any other. The update demands the stamp that was read,
    so that a renewal in between is not undone.
    """
    found = lease_stamped_ahead(stack.account, now=now)
    if found is None:
        return
    with transaction.atomic():
        # The books were compared then, if at all; a cycle of its holder writes when.
        if not set_lease_back(found, now=now):
            return
        stamps = {"renewed_at": found.renewed_at.isoformat(), "reconciled_at": found.reconciled_at.isoformat()}
        log.error("lease_stamp_corrected", holder=found.holder, fence=found.fence, **stamps)
        # A holder under a wrong clock stamps it so with every cycle: the journal gets one line in five minutes.
        if not lease_was_logged(stack.account, CORRECTED, since=now - CORRECTIONS_APART, until=now):
            details = {"holder": found.holder, "fence": found.fence, **stamps}
            log_step("lease", stack.account, to_state=CORRECTED, trigger="monitor", now=now, details=details)
