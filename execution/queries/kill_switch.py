"""Shows the kill switch's level, and what each level would do, to REST, commands, health and admin."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from django.db.models import QuerySet

from execution.domain.json_values import JsonObject
from execution.domain.kill_switch import KillLevel
from execution.domain.states import ORDER_FINAL, ORDER_UNSETTLED, OrderState
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest, KillSwitch, Order, Position

RELEASED = "released"


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a level would cancel and close by our books, and what it would leave to others.

    `unread`: positions that our fills have opened and no reading of the exchange has shown yet.
    """

    entries_resting: Sequence[Order] = ()
    entries_unsettled: Sequence[Order] = ()
    positions: Sequence[Position] = ()
    unread: Sequence[ExecutionRequest] = ()
    positions_not_ours: Sequence[Position] = ()

    @property
    def position_count(self) -> int:
        return len(self.positions) + len(self.unread)

    @property
    def symbols(self) -> list[str]:
        return sorted({row.symbol for row in self.positions} | {row.symbol for row in self.unread})


class SwitchState(TypedDict):
    """The level in force with its story, or `released` alone when none is."""

    level: str
    reason: str | None
    by: str | None
    engaged_at: datetime | None
    completed_at: datetime | None
    report: JsonObject


def closable_requests() -> QuerySet[ExecutionRequest, ExecutionRequest]:
    """Return the requests whose positions the service may close, without those that protect external ones."""
    ours = ExecutionRequest.objects.filter(slot__isnull=False, external_position=None)
    return ours.filter(orders__purpose=OrderPurpose.ENTRY)


def open_entries() -> QuerySet[Order, Order]:
    """Return the entries that are not over: they rest, or their outcome is unknown."""
    return Order.objects.filter(purpose=OrderPurpose.ENTRY).exclude(state__in=ORDER_FINAL)


def entry_is_being_sent() -> bool:
    """Whether an entry is being sent: its row was written before the switch moved.

    Whatever leaves later asks the switch first.
    """
    return Order.objects.filter(purpose=OrderPurpose.ENTRY, state=OrderState.SUBMITTING).exists()


def preview(level: KillLevel) -> Preview:
    """Return what the level would do now, in four statements.

    The work itself selects by the same conditions.
    """
    entries = list(open_entries().select_related("request__bracket").order_by("id")) if level.cancels_entries else []
    unsettled = [order for order in entries if order.state in ORDER_UNSETTLED]
    resting = [order for order in entries if order.state not in ORDER_UNSETTLED]
    if not level.closes_positions:
        return Preview(entries_resting=resting, entries_unsettled=unsettled)
    ours = {
        (each.symbol, each.position_side): each
        for each in closable_requests().select_related("bracket").order_by("received_at")
    }
    shown = list(Position.objects.select_related("trade__request__bracket").order_by("symbol", "position_side"))
    sides = {(row.symbol, row.position_side) for row in shown}
    filled = set(_filled(ours.values()))
    return Preview(
        entries_resting=resting,
        entries_unsettled=unsettled,
        positions=[row for row in shown if (row.symbol, row.position_side) in ours],
        unread=[each for side, each in ours.items() if side not in sides and each.pk in filled],
        positions_not_ours=[row for row in shown if (row.symbol, row.position_side) not in ours],
    )


def _filled(requests: Iterable[ExecutionRequest]) -> list[UUID]:
    """Return the ids of those whose entries have filled in part at least."""
    entries = Order.objects.filter(request__in=[each.pk for each in requests], purpose=OrderPurpose.ENTRY)
    return list(entries.filter(executed_quantity__gt=0).values_list("request_id", flat=True))


def describe() -> SwitchState:
    """Return the level in force with its story so far, or that nothing is in force."""
    switch = KillSwitch.objects.filter(released_at=None).first()
    if switch is None:
        return {
            "level": RELEASED,
            "reason": None,
            "by": None,
            "engaged_at": None,
            "completed_at": None,
            "report": {},
        }
    return {
        "level": switch.level,
        "reason": switch.reason,
        "by": switch.engaged_by,
        "engaged_at": switch.engaged_at,
        "completed_at": switch.completed_at,
        "report": switch.report,
    }
