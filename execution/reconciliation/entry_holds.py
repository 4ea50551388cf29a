"""Holds entries while the exchange shows what our books cannot explain, and lets them go when it is gone."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from django.db import transaction

from execution.domain.reasons import Reason
from execution.models import EntryHold, Order
from execution.models.hold import ACCOUNT
from execution.reconciliation.actions import Action, CheckOrphan, ReportExternal
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
# Successive full cycles without it, before entries are let go: one reading that misses something is not proof.
CLEAR_READINGS = 3
NAMED = 5


def hold_entries(actions: Sequence[Action], *, now: datetime) -> None:
    """Place, keep and release holds by what one full comparison has found.

    Orders under our prefix that our books have never known were written by a stack on another database, or by ours
    before an old backup was restored: nobody knows what it will do next, so all entries stop. A position that is not
    ours stops its symbol.
    """
    found = {**_strange_orders(actions), **_strange_positions(actions)}
    known = {hold.scope: hold for hold in EntryHold.objects.all()}
    for scope, (code, reason) in found.items():
        _hold(known.get(scope), scope, code, reason, now)
    for scope in known.keys() - found.keys():
        _clear(known[scope], now)


def _strange_orders(actions: Sequence[Action]) -> Mapping[str, tuple[Reason, str]]:
    strays = {action.client_order_id for action in actions if isinstance(action, CheckOrphan)}
    ours = Order.objects.filter(client_order_id__in=strays).values_list("client_order_id", flat=True) if strays else ()
    strange = sorted(strays - set(ours))
    if not strange:
        return {}
    named = ", ".join(strange[:NAMED])
    return {ACCOUNT: (Reason.FOREIGN_ORDERS, f"FOREIGN_ORDERS: open={len(strange)} under our prefix: {named}")}


def _strange_positions(actions: Sequence[Action]) -> Mapping[str, tuple[Reason, str]]:
    strangers = [action for action in actions if isinstance(action, ReportExternal)]
    return {action.symbol: (Reason.POSITION_NOT_OURS, action.sentence) for action in strangers}


def _hold(known: EntryHold | None, scope: str, code: Reason, reason: str, now: datetime) -> None:
    with transaction.atomic():
        EntryHold.objects.update_or_create(
            scope=scope,
            defaults={"reason_code": code, "reason": reason, "seen_at": now, "clear_readings": 0},
            create_defaults={"reason_code": code, "reason": reason, "seen_at": now, "since": now},
        )
        if known is None:
            log.error("entries_held", scope=scope, reason=reason)
            log_step("hold", scope, to_state="HELD", trigger="monitor", now=now, reason=(code, reason))


def _clear(hold: EntryHold, now: datetime) -> None:
    """Count a cycle that does not see it any more; the last one of them releases it."""
    if hold.clear_readings + 1 < CLEAR_READINGS:
        EntryHold.objects.filter(pk=hold.pk).update(clear_readings=hold.clear_readings + 1)
        return
    with transaction.atomic():
        release_entry_hold(hold, trigger="monitor", reason=f"not seen in {CLEAR_READINGS} successive cycles", now=now)


def release_entry_hold(hold: EntryHold, *, trigger: str, reason: str, now: datetime) -> None:
    """Let the entries go; call it in a transaction."""
    hold.delete()
    log.warning("entries_released", scope=hold.scope, reason=reason)
    log_step("hold", hold.scope, from_state="HELD", to_state="RELEASED", trigger=trigger, now=now, reason=("", reason))
