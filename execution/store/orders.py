"""Statements on orders: what submitting, protecting and booking read of them, and what they write."""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import BooleanField, Exists, F, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from execution.domain.states import ORDER_FINAL, ORDER_LIVE, TRADE_OPEN, TRADE_OVER, OrderState, RequestState
from execution.domain.trading import OrderPurpose, Source
from execution.models import ExecutionRequest, Order
from execution.store.entry_gates import STANDING, standing_with
from execution.store.named_sql import NamedSql

LEG_OFF_PLAN = NamedSql("leg_off_plan")
EXITS = NamedSql("exits", exit=Order)
ENTRY_TO_BOOK = NamedSql("entry_to_book", entry=Order, request=ExecutionRequest)
LEGS = (OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING)
WATCHED = (OrderPurpose.STOP, OrderPurpose.TRAILING)
FIXED_LEVELS = (OrderPurpose.STOP, OrderPurpose.TARGET)
# Sent, and not over: such a request has a position, or may have one.
MAY_HOLD = sorted(
    {
        RequestState.SUBMITTING,
        RequestState.UNKNOWN,
        RequestState.ACCEPTED,
        RequestState.FILLED,
        RequestState.PROTECTED,
        RequestState.FLATTENED,
    }
)

# Entries


def load_entry(request_id: UUID) -> Order:
    """Return the entry of a request.

    Raises:
        Order.DoesNotExist: it has none yet.

    """
    return Order.objects.get(request_id=request_id, purpose=OrderPurpose.ENTRY)


def load_order_with_request(order_id: int) -> Order:
    """Return an order with its request.

    Raises:
        Order.DoesNotExist: there is none with this key.

    """
    return Order.objects.select_related("request").get(pk=order_id)


def find_entry_to_book(request_id: UUID) -> tuple[Order, bool] | None:
    """Return the entry of a request with the request, None while it has none.

    The second value: whether its trade is closed and has every fill that the entry could have.
    """
    found = ENTRY_TO_BOOK.row(request=request_id)
    if found is None:
        return None
    entry, entry.request, is_booked_whole = found
    return entry, is_booked_whole


def find_ended_entry(request_id: UUID) -> Order | None:
    """Return the entry of a request, None while it is not over."""
    ended = Order.objects.filter(request_id=request_id, purpose=OrderPurpose.ENTRY, state__in=sorted(ORDER_FINAL))
    return ended.first()


def lock_entry(request: ExecutionRequest) -> Order:
    """Return the entry of a request and lock its row until the transaction ends.

    Raises:
        Order.DoesNotExist: it has none.

    """
    return Order.objects.select_for_update().get(request=request, purpose=OrderPurpose.ENTRY)


def entries_by_request(requests: Collection[UUID]) -> dict[UUID, Order]:
    """Return the entries of these requests by request."""
    entries = Order.objects.filter(request_id__in=requests, purpose=OrderPurpose.ENTRY)
    return {order.request_id: order for order in entries}


def has_entry_sent_since(symbol: str, since: datetime) -> bool:
    """Return whether an entry of this service was sent in the symbol since then."""
    entries = Order.objects.filter(symbol=symbol, purpose=OrderPurpose.ENTRY, sent_at__gte=since)
    return entries.exclude(request__source=Source.EXTERNAL).exists()


def set_filled_entry(order_id: int, size: Decimal) -> None:
    """Write the size of an external position's entry, all of it executed."""
    Order.objects.filter(pk=order_id).update(quantity=size, executed_quantity=size)


def set_entry_executed(order_id: int, executed: Decimal, *, now: datetime) -> None:
    """Write what an external position's entry counts as executed."""
    Order.objects.filter(pk=order_id).update(executed_quantity=executed, last_evidence_at=now)


# Exits


def exits_with_bookings(requests: Collection[UUID]) -> list[tuple[Order, Decimal]]:
    """Return the exits of these requests, oldest first, each with what is booked of its fills."""
    found = EXITS.rows(requests=list(requests)) if requests else []
    return [(order, booked) for order, booked in found]


def live_legs_of_positions() -> QuerySet[Order, Order]:
    """Return the live stops, targets and trailing stops of the positions that we answer for, oldest first."""
    orders = Order.objects.filter(purpose__in=LEGS, state__in=sorted(ORDER_LIVE))
    ours = Q(request__trade__state__in=sorted(TRADE_OPEN)) | Q(request__external_position__isnull=False)
    ours |= Q(request__trade=None, request__state__in=MAY_HOLD)
    return orders.filter(ours).order_by("id")


def watched_stops() -> QuerySet[Order, Order]:
    """Return the live stops and trailing stops, but for those that have only outlived their trade."""
    live = Order.objects.filter(purpose__in=WATCHED, state__in=sorted(ORDER_LIVE), request__bracket__isnull=False)
    return live.filter(Q(request__trade=None) | ~Q(request__trade__state__in=sorted(TRADE_OVER))).order_by("id")


def live_levels() -> list[tuple[str, str, str, Decimal]]:
    """Return symbol, side, purpose and trigger price of the live stops and targets."""
    legs = Order.objects.filter(purpose__in=FIXED_LEVELS, state__in=sorted(ORDER_LIVE), trigger_price__isnull=False)
    return list(legs.values_list("symbol", "side", "purpose", "trigger_price"))


def stops_beside(request_id: UUID) -> QuerySet[Order, Order]:
    """Return the stops of all other requests."""
    return Order.objects.filter(purpose=OrderPurpose.STOP).exclude(request_id=request_id)


def orders_left_of(request_id: UUID | None) -> QuerySet[Order, Order]:
    """Return the orders of a request that are not over."""
    return Order.objects.filter(request_id=request_id).exclude(state__in=sorted(ORDER_FINAL))


def legs_left_of(request_id: UUID) -> QuerySet[Order, Order]:
    """Return the entry and legs of a request that are not over, with the request, without its closing orders."""
    left = Order.objects.filter(request_id=request_id).exclude(state__in=sorted(ORDER_FINAL))
    return left.exclude(purpose=OrderPurpose.CLOSE).select_related("request")


def has_executed_leg(request: ExecutionRequest) -> bool:
    """Return whether a stop, target or trailing stop of the request has executed a part."""
    return Order.objects.filter(request=request, purpose__in=LEGS, executed_quantity__gt=0).exists()


def has_leg_off_plan(request_id: UUID) -> bool:
    """Return whether a stop or target rests at another price than its leg's."""
    found = LEG_OFF_PLAN.row(request=request_id, live=sorted(ORDER_LIVE))
    return bool(found and found[0])


# Writes on the condition that no other process has moved the order


def update_in_state(order: Order, columns: Mapping[str, object]) -> bool:
    """Write columns of an order that is still in the state that `order` shows, False when it is not."""
    return bool(Order.objects.filter(pk=order.pk, state=order.state).update(**columns))


def update_watch(order: Order, columns: Mapping[str, object]) -> bool:
    """Write what a mark price has shown of a stop, False when another process has moved or judged it."""
    same = Order.objects.filter(pk=order.pk, state=order.state, overdue_at=order.overdue_at)
    return bool(same.update(**columns))


def count_missing_reading(order: Order, sentence: str, *, now: datetime) -> None:
    """Count a reading that shows no trace of an order that is still in the state that `order` shows."""
    Order.objects.filter(pk=order.pk, state=order.state).update(
        missing_readings=F("missing_readings") + 1,
        missing_since=Coalesce("missing_since", Value(now)),
        last_evidence=sentence,
        last_evidence_at=now,
    )


def save_alarm(order: Order, sentence: str, *, now: datetime) -> bool:
    """Write the evidence of an order that is still in its state, True when it raises the alarm for the first time."""
    fresh = {"last_evidence": sentence, "last_evidence_at": now}
    unfinished = Order.objects.filter(pk=order.pk, state=order.state)
    if unfinished.filter(alarmed_at=None).update(alarmed_at=now, **fresh):
        return True
    unfinished.update(**fresh)
    return False


def count_cancel_try(order_id: int, *, now: datetime) -> None:
    """Count a cancel that had no effect."""
    Order.objects.filter(pk=order_id).update(cancel_tries=F("cancel_tries") + 1, cancel_tried_at=now)


def claim_next_attempt(order: Order, *, now: datetime) -> bool:
    """Write the next attempt of an order, False when another process has moved it or sent it again.

    Of an entry it is also False when its decision is too old or entries are stopped.
    """
    mine = Order.objects.filter(pk=order.pk, state=OrderState.SUBMITTING, attempts=order.attempts)
    if order.purpose == OrderPurpose.ENTRY:
        # A filter across the relation would make Django update the rows of a subquery. PostgreSQL answers a subquery
        # from before the wait for the row's lock: of two who wait, both would win.
        young = ExecutionRequest.objects.filter(pk=order.request_id, expires_at__gte=now)
        stopped = RawSQL(STANDING, standing_with(order.symbol), output_field=BooleanField())  # noqa: S611 -- a constant # nosec B611
        mine = mine.filter(Exists(young)).exclude(stopped)
    return bool(mine.update(attempts=order.attempts + 1, sent_at=now, quantity=order.quantity, price=order.price))
