"""Writes a bracket's rows at approval, and reads them with their orders as the domain's plan."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

from execution.domain.bounds import known
from execution.domain.brackets import UNBOUNDED, Exposure, Leg, Plan, Resting
from execution.domain.distances import Distance
from execution.domain.exits import ExitPlan
from execution.domain.lots import lot_rule
from execution.domain.money import ZERO
from execution.domain.states import ORDER_LIVE, OrderState
from execution.domain.trading import InstrumentFilters, OrderPurpose, OrderType, PositionSide
from execution.models import Bracket, BracketLeg, ExecutionRequest, Order
from execution.models.bracket import LegOrigin
from execution.store.brackets import insert_legs
from execution.store.orders import exits_with_bookings

# Successive readings without a trace after which an order is not relied upon.
FORGOTTEN_AFTER_READINGS = 2
GRID = ("tick_size", "quantity_step", "minimum_quantity", "maximum_quantity")


class _Measured(TypedDict, total=False):
    """The columns of a leg that was asked for by its distance."""

    measure: str
    distance: Decimal


def grid_of(rules: InstrumentFilters) -> dict[str, Decimal]:
    """Return what a plan has to know of a symbol's filters: those of market orders, which all exits are."""
    lot = lot_rule(rules, OrderType.MARKET)
    values = (rules.tick_size, lot.step, lot.minimum, lot.maximum)
    return dict(zip(GRID, values, strict=True))


def write_bracket(request: ExecutionRequest, exits: ExitPlan, rules: InstrumentFilters) -> Bracket:
    """Write the plan of a request that is being approved. Call it in the approval's transaction."""
    bracket, legs = bracket_rows(request, exits, rules)
    bracket.save(force_insert=True)
    insert_legs(legs)
    return bracket


def bracket_rows(
    request: ExecutionRequest, exits: ExitPlan, rules: InstrumentFilters
) -> tuple[Bracket, list[BracketLeg]]:
    """Return the plan of a request and its legs, unsaved."""
    bracket = Bracket(
        request=request,
        **grid_of(rules),
        minimum_notional=rules.min_notional,
        break_even=exits.break_even,
        break_even_buffer=exits.break_even_buffer,
        time_exit_seconds=exits.time_exit_seconds,
    )
    return bracket, _legs(bracket, exits)


def _legs(bracket: Bracket, exits: ExitPlan) -> list[BracketLeg]:
    legs = []
    if exits.stop_price is not None:
        origin = LegOrigin.DEFAULT if exits.stop_defaulted else LegOrigin.ASKED
        legs.append(
            BracketLeg(
                bracket=bracket,
                purpose=OrderPurpose.STOP,
                origin=origin,
                price=exits.stop_price,
                **_measured(exits.stop_distance),
            )
        )
    origin = LegOrigin.DEFAULT if exits.target_defaulted else LegOrigin.ASKED
    for number, target in enumerate(exits.targets, start=1):
        legs.append(
            BracketLeg(
                bracket=bracket,
                purpose=OrderPurpose.TARGET,
                number=number,
                origin=origin,
                price=target.price,
                share=target.share,
                **_measured(target.distance),
            )
        )
    if exits.callback_percent is not None:
        legs.append(
            BracketLeg(
                bracket=bracket,
                purpose=OrderPurpose.TRAILING,
                price=exits.activation_price,
                callback_percent=exits.callback_percent,
            )
        )
    return legs


def _measured(distance: Distance | None) -> _Measured:
    """Return the columns of a leg that was asked for by its distance, none for any other."""
    return {"measure": distance.measure, "distance": distance.amount} if distance else {}


def exit_orders(requests: Iterable[UUID]) -> dict[UUID, list[Order]]:
    """Return all exits of these requests, each with its booked fill quantity as `booked`.

    It is one query.
    """
    found: dict[UUID, list[Order]] = {}
    for order, booked in exits_with_bookings(list(requests)):
        order.booked = booked
        found.setdefault(order.request_id, []).append(order)
    return found


def exposure_of(
    request: ExecutionRequest, exits: Iterable[Order], *, filled: Decimal, exited: Decimal, growing: bool
) -> Exposure:
    """Return what there is to protect.

    That is what filled, less what is booked as exited and what our exits have executed unbooked.

    Args:
        request: whose position it is.
        exits: orders of `exit_orders`.
        filled: what the entry has executed.
        exited: what the trade has booked, by whomever it was closed.
        growing: whether the entry may fill further.

    """
    unbooked = sum((executed_of(order) - booked_of(order) for order in exits), ZERO)
    return Exposure(
        filled=filled,
        open=max(ZERO, filled - exited - unbooked),
        growing=growing,
        hedged=request.position_side != PositionSide.BOTH,
    )


def booked_of(order: Order) -> Decimal:
    """Return how much of an exit's fills is booked, as `exit_orders` has read it."""
    return order.booked or ZERO


def executed_of(order: Order) -> Decimal:
    """Return what an exit has executed.

    Its fills may be booked before its own report is read, or after it.
    """
    executed: Decimal = order.executed_quantity
    return max(executed, booked_of(order))


def plan_of(bracket: Bracket, exits: Sequence[Order]) -> Plan:
    """Return the plan with what each leg's orders have done so far."""
    orders: dict[int, list[Order]] = {}
    for order in exits:
        if order.leg_id is not None:
            orders.setdefault(order.leg_id, []).append(order)
    return _plan_with(bracket, ((leg, orders.get(leg.pk, [])) for leg in bracket.legs.all()))


def planned(bracket: Bracket, legs: Sequence[BracketLeg]) -> Plan:
    """Return the plan of unsaved rows, of which no order was sent yet.

    Each leg gets its number as its id.
    """
    for number, leg in enumerate(legs, start=1):
        leg.pk = number
    return _plan_with(bracket, [(leg, []) for leg in legs])


def _plan_with(bracket: Bracket, legs: Iterable[tuple[BracketLeg, Sequence[Order]]]) -> Plan:
    ordered = sorted(legs, key=lambda each: (each[0].purpose, each[0].number))
    return Plan(
        legs=tuple(_leg(leg, orders) for leg, orders in ordered),
        tick=bracket.tick_size,
        step=bracket.quantity_step,
        minimum=bracket.minimum_quantity,
        maximum=bracket.maximum_quantity or UNBOUNDED,
    )


def _leg(leg: BracketLeg, orders: Sequence[Order]) -> Leg:
    return Leg(
        id=leg.pk,
        purpose=OrderPurpose(leg.purpose),
        price=leg.price,
        share=leg.share,
        callback_percent=leg.callback_percent,
        executed=sum((executed_of(order) for order in orders), ZERO),
        done=_is_done(orders),
    )


def _is_done(orders: Sequence[Order]) -> bool:
    """Return whether an order of a leg has filled and no other order of the leg can still execute."""
    filled = any(order.state == OrderState.FILLED or executed_of(order) >= order.quantity for order in orders)
    return filled and not any(order.state in ORDER_LIVE and executed_of(order) < order.quantity for order in orders)


def resting_of(exits: Iterable[Order]) -> list[Resting]:
    """Return the exits that live at the exchange.

    The Algo Service is known to forget orders for a while, and to let a stop hang whose price has passed. A second
    reducing stop does no harm. Trusting a leg that cannot be found, or that does not execute, may.
    """
    return [
        Resting(
            order_id=order.pk,
            leg_id=order.leg_id,
            quantity=order.quantity - executed_of(order),
            price=order.trigger_price,
            callback_percent=order.callback_percent,
            seen=is_relied_on(order),
            begun=executed_of(order) > 0,
        )
        for order in exits
        if order.state in ORDER_LIVE and order.purpose != OrderPurpose.CLOSE and executed_of(order) < order.quantity
    ]


def is_relied_on(order: Order) -> bool:
    """Return whether a live order counts as protection.

    It does when the exchange knows it and it is not overdue.
    """
    return order.missing_readings < FORGOTTEN_AFTER_READINGS and not is_overdue(order)


def is_overdue(order: Order) -> bool:
    """Return whether the mark price passed a stop too long ago.

    A time that cannot be read counts as none.
    """
    return known(order.overdue_at) is not None


def overdue_among(orders: Iterable[Order]) -> list[Order]:
    """Return the orders that live although the mark price has passed them for too long."""
    return [order for order in orders if is_overdue(order) and order.state in ORDER_LIVE]


def stop_cover(exits: Iterable[Order]) -> Decimal:
    """Return what the confirmed stops would close together.

    Each closes a part, and because all are reducing they never close too much.
    """
    stops = [order for order in exits if order.purpose == OrderPurpose.STOP]
    return sum((order.quantity for order in resting_of(stops) if order.seen), ZERO)
