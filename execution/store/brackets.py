"""Statements on brackets: a position's plan, its legs and its software stop."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Q, QuerySet

from execution.domain.states import REQUEST_FINAL, TRADE_OPEN
from execution.domain.trading import OrderPurpose
from execution.models import Bracket, BracketLeg, ExecutionRequest, Order, Trade
from execution.models.bracket import LegOrigin
from execution.store.named_sql import NamedSql

POSITION = NamedSql("position", request=ExecutionRequest, bracket=Bracket, entry=Order, trade=Trade, leg=BracketLeg)


@dataclass(frozen=True, kw_only=True)
class PositionRows:
    """A position with its plan and legs, its entry and its trade, all of them None while there are none.

    `held_beside`: whether a software stop stands beside another unfinished position.
    """

    request: ExecutionRequest
    bracket: Bracket | None
    entry: Order | None
    trade: Trade | None
    held_beside: bool


def load_position(request_id: UUID) -> PositionRows:
    """Return a position in one statement.

    Raises:
        ExecutionRequest.DoesNotExist: there is no request with this id.

    """
    rows = POSITION.rows(request=request_id, final=sorted(REQUEST_FINAL), open=sorted(TRADE_OPEN))
    if not rows:
        raise ExecutionRequest.DoesNotExist(f"there is no request {request_id}")
    request, bracket, entry, trade, _, held_beside = rows[0]
    if bracket:
        bracket.request = request
        keep_legs(bracket, [row[4] for row in rows if row[4]])
    return PositionRows(request=request, bracket=bracket, entry=entry, trade=trade, held_beside=held_beside)


def keep_legs(bracket: Bracket, legs: list[BracketLeg]) -> None:
    """Let a plan show these legs without a query, as after `prefetch_related`."""
    rows = bracket.legs.all()
    rows._result_cache = legs  # noqa: SLF001 -- Django fills it by a query only
    bracket.__dict__["_prefetched_objects_cache"] = {"legs": rows}


# Plans


def load_bracket(request_id: UUID) -> Bracket:
    """Return the plan of a request.

    Raises:
        Bracket.DoesNotExist: it has none.

    """
    return Bracket.objects.get(pk=request_id)


def load_bracket_with_legs(request_id: UUID) -> Bracket:
    """Return the plan of a request with its legs: two statements.

    Raises:
        Bracket.DoesNotExist: it has none.

    """
    return Bracket.objects.prefetch_related("legs").get(pk=request_id)


def brackets_by_request(requests: Collection[UUID]) -> dict[UUID, Bracket]:
    """Return the plans of these requests by request."""
    return Bracket.objects.in_bulk(requests)


def brackets_of_positions() -> QuerySet[Bracket, Bracket]:
    """Return the plans of open trades and of protected external positions, with their requests."""
    ours = Q(request__trade__state__in=sorted(TRADE_OPEN)) | Q(request__external_position__isnull=False)
    return Bracket.objects.filter(ours).select_related("request")


def take_filters(
    request_id: UUID, old: Mapping[str, Decimal | None], new: Mapping[str, Decimal], *, now: datetime
) -> bool:
    """Write a symbol's new filters into a plan that still has the old ones, False when it has others by now."""
    same = Bracket.objects.filter(pk=request_id, **{name: value for name, value in old.items() if value})
    return bool(same.update(**new, regridded_at=now))


# Legs


def insert_legs(legs: Collection[BracketLeg]) -> None:
    """Insert the legs of a new plan: one statement."""
    BracketLeg.objects.bulk_create(legs)


def lock_leg(request_id: UUID, purpose: OrderPurpose) -> BracketLeg | None:
    """Return the first leg of this purpose and lock its row until the transaction ends, None without one."""
    return BracketLeg.objects.select_for_update().filter(bracket_id=request_id, purpose=purpose).first()


def lock_legs(request_id: UUID) -> QuerySet[BracketLeg, BracketLeg]:
    """Return the legs of a plan in their order, and lock their rows until the transaction ends."""
    return BracketLeg.objects.select_for_update().filter(bracket_id=request_id).order_by("purpose", "number")


def lock_anchored_legs(request_id: UUID) -> QuerySet[BracketLeg, BracketLeg]:
    """Return the legs whose level follows the entry price, the stop first, and lock their rows.

    These are defaults, and those asked for by a distance, unless an operator has moved them.
    """
    meant = Q(origin=LegOrigin.DEFAULT) | Q(origin=LegOrigin.ASKED) & ~Q(measure="")
    return lock_legs(request_id).filter(meant, purpose__in=[OrderPurpose.STOP, OrderPurpose.TARGET])


def targets_of(request_id: UUID) -> QuerySet[BracketLeg, BracketLeg]:
    """Return the targets of a plan, the nearest first."""
    return BracketLeg.objects.filter(bracket_id=request_id, purpose=OrderPurpose.TARGET).order_by("number")


def set_leg_price(leg_id: int, price: Decimal) -> None:
    """Write the price of a leg."""
    BracketLeg.objects.filter(pk=leg_id).update(price=price)


def set_leg_level(leg_id: int, price: Decimal, origin: LegOrigin) -> None:
    """Write the price of a leg and why it lies there."""
    BracketLeg.objects.filter(pk=leg_id).update(price=price, origin=origin)


def set_leg_callback(leg_id: int, percent: Decimal) -> None:
    """Write the distance at which an operator lets a trailing stop follow, in percent."""
    BracketLeg.objects.filter(pk=leg_id).update(callback_percent=percent, origin=LegOrigin.OPERATOR)


# Software stops


def software_rows() -> QuerySet[Bracket, Bracket]:
    """Return the plans of unfinished positions beside which a software stop stands."""
    trade = Q(request__trade__state__in=sorted(TRADE_OPEN))
    before_its_trade = Q(request__trade=None) & ~Q(request__state__in=sorted(REQUEST_FINAL))
    return Bracket.objects.filter(trade | before_its_trade, software_since__isnull=False).order_by("pk")


def begin_software_stop(request_id: UUID, *, now: datetime) -> bool:
    """Begin the software stop of a plan, False when one stands."""
    mine = Bracket.objects.filter(pk=request_id, software_since=None)
    return bool(mine.update(software_since=now, software_seen_at=now, software_passed_at=None))


def end_software_stop(request_id: UUID) -> bool:
    """End the software stop of a plan, False when none stands."""
    mine = Bracket.objects.filter(pk=request_id, software_since__isnull=False)
    return bool(mine.update(software_since=None, software_seen_at=None, software_passed_at=None))


def see_software_stops(requests: Collection[UUID], *, now: datetime) -> None:
    """Write that the standing software stops of these plans were compared with a mark price."""
    Bracket.objects.filter(pk__in=requests, software_since__isnull=False).update(software_seen_at=now)


def reach_software_stop(row: Bracket, *, now: datetime) -> bool:
    """Write that the mark price has reached a software stop, False when it was reached before or another stands."""
    mine = Bracket.objects.filter(pk=row.pk, software_since=row.software_since, software_passed_at=None)
    return bool(mine.update(software_passed_at=now))
