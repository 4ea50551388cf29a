"""Blocks entries while the exchange shows what our books cannot explain."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from django.db import transaction

from execution.domain.reasons import Reason
from execution.models import EntryHold
from execution.models.hold import ACCOUNT
from execution.reconciliation.actions import Action, CheckOrphan, ReportExternal
from execution.store.holds import count_clear_reading, entry_holds, store_entry_hold
from execution.store.reconciliation import known_order_names
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
# Successive full cycles without it, before entries are released: one reading that misses something is not proof.
CLEAR_READINGS = 3
NAMED = 5


def hold_entries(actions: Sequence[Action], *, now: datetime) -> None:
    """Place, keep and release holds by what one full comparison has found.

    Orders under our prefix that our books have never known were written by a stack on another database, or by ours
    before an old backup was restored. What that stack does next is not known, so all entries stop. An external position
    stops its symbol.
    """
    found = {**_unknown_orders(actions), **_external_positions(actions)}
    known = {hold.scope: hold for hold in entry_holds()}
    for scope, (code, reason) in found.items():
        _hold(known.get(scope), scope, code, reason, now)
    for scope in known.keys() - found.keys():
        _clear(known[scope], now)


def _unknown_orders(actions: Sequence[Action]) -> Mapping[str, tuple[Reason, str]]:
    orphans = {action.client_order_id for action in actions if isinstance(action, CheckOrphan)}
    unknown = sorted(orphans - known_order_names(orphans))
    if not unknown:
        return {}
    named = ", ".join(unknown[:NAMED])
    return {ACCOUNT: (Reason.FOREIGN_ORDERS, f"FOREIGN_ORDERS: open={len(unknown)} under our prefix: {named}")}


def _external_positions(actions: Sequence[Action]) -> Mapping[str, tuple[Reason, str]]:
    external = [action for action in actions if isinstance(action, ReportExternal)]
    return {action.symbol: (Reason.POSITION_NOT_OURS, action.sentence) for action in external}


def _hold(known: EntryHold | None, scope: str, code: Reason, reason: str, now: datetime) -> None:
    with transaction.atomic():
        store_entry_hold(scope, code, reason, now=now)
        if known is None:
            log.error("entries_held", scope=scope, reason=reason)
            log_step("hold", scope, to_state="HELD", trigger="monitor", now=now, reason=(code, reason))


def _clear(hold: EntryHold, now: datetime) -> None:
    """Count a cycle that does not see the reason any more, and release the hold with the last one needed."""
    if hold.clear_readings + 1 < CLEAR_READINGS:
        count_clear_reading(hold)
        return
    with transaction.atomic():
        release_entry_hold(hold, trigger="monitor", reason=f"not seen in {CLEAR_READINGS} successive cycles", now=now)


def release_entry_hold(hold: EntryHold, *, trigger: str, reason: str, now: datetime) -> None:
    """Release the entries that a hold blocks. Call it in a transaction."""
    hold.delete()
    log.warning("entries_released", scope=hold.scope, reason=reason)
    log_step("hold", hold.scope, from_state="HELD", to_state="RELEASED", trigger=trigger, now=now, reason=("", reason))
