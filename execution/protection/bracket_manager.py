"""Manages one position's legs in one run: it places, replaces and cancels them, and closes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

import structlog

from execution.crash_points import CrashPoint, reached
from execution.domain.backoff import LONGEST_PAUSE_COVERED, LONGEST_PAUSE_OPEN, pause_after, refusals_of
from execution.domain.brackets import Comparison, Exposure, Leg, Plan, Wanted, compare, round_stop, stop_price_at
from execution.domain.clocks import Clock, age_of
from execution.domain.exits import ExitPlan
from execution.domain.money import ZERO
from execution.domain.outcomes import Accepted, PlaceOutcome
from execution.domain.ports import Exchange, ExchangeUnavailableError, SpareExchange
from execution.domain.reasons import CloseReason
from execution.domain.software_stop import ProtectedBy
from execution.domain.states import ORDER_FINAL, ORDER_LIVE, OrderState, RequestState, RequestTrigger
from execution.domain.trading import Direction, InstrumentFilters, OrderPurpose, OrderType, PositionSide
from execution.models import Bracket, ExecutionRequest, Order, Trade
from execution.models.bracket import LegOrigin
from execution.orders.cancel import cancel_order
from execution.orders.send_together import Beside, send_together, settle_beside
from execution.orders.submit import OrderSpec, persist_order, persist_orders, send
from execution.protection import market_close
from execution.protection.bracket_store import (
    bracket_rows,
    executed_of,
    exit_orders,
    exposure_of,
    overdue_among,
    plan_of,
    planned,
    resting_of,
    stop_cover,
)
from execution.protection.follow_filters import follow_filters
from execution.store.atomic_write import Move
from execution.store.brackets import PositionRows, load_bracket_with_legs, load_position
from execution.store.transitions import request_move

log = structlog.get_logger(__name__)
# Stops of unknown outcome after which the next waits for the longest pause: each of them may rest unseen.
MOST_UNKNOWN_STOPS = 10
# What makes way for a stop.
OTHERS = (OrderPurpose.TARGET, OrderPurpose.TRAILING)
TYPES = {
    OrderPurpose.STOP: OrderType.STOP_MARKET,
    OrderPurpose.TARGET: OrderType.TAKE_PROFIT_MARKET,
    OrderPurpose.TRAILING: OrderType.TRAILING_STOP_MARKET,
}


def exit_spec(want: Wanted, *, sequence: int, close_reason: str = "") -> OrderSpec:
    """Return the order of a leg as it is sent."""
    leg = want.leg
    return OrderSpec(
        purpose=leg.purpose,
        sequence=sequence,
        order_type=TYPES[leg.purpose],
        quantity=want.quantity,
        trigger_price=leg.price,
        callback_percent=leg.callback_percent,
        close_reason=close_reason,
        leg_id=leg.id,
    )


def planned_exits(request: ExecutionRequest, exits: ExitPlan, rules: InstrumentFilters) -> list[OrderSpec]:
    """Return the exits of an entry that is not sent yet, for all of its quantity: the stop first.

    `request` has its approved quantity and position side. Nothing of it needs to be stored.
    """
    quantity = request.quantity or ZERO
    exposure = Exposure(filled=quantity, open=quantity, hedged=request.position_side != PositionSide.BOTH)
    missing = compare(planned(*bracket_rows(request, exits, rules)), exposure, resting=()).missing
    return [exit_spec(want, sequence=number) for number, want in enumerate(missing, start=1)]


@dataclass(frozen=True, kw_only=True)
class ProtectionRules:
    """How long a position may be without a confirmed stop, and the receive window of our orders."""

    max_unprotected: timedelta
    recv_window_ms: int


@dataclass(kw_only=True)
class BracketManager:
    """One position with its plan and orders as they stand, kept up to date by what this run does."""

    request: ExecutionRequest
    exchange: Exchange
    rules: ProtectionRules
    clock: Clock
    bracket: Bracket = field(init=False)
    entry: Order = field(init=False)
    exits: list[Order] = field(init=False)
    trade: Trade | None = field(init=False)
    # Whether a software stop stands beside another unfinished position.
    held_beside: bool = field(init=False)
    # Lends clients, so that targets leave beside the stop. Without it one order follows the other.
    spare: SpareExchange | None = None
    # What was sent beside the stop and is not settled yet, then the outcomes by leg that were no acceptance.
    _beside: list[Beside] = field(init=False, default_factory=list)
    _answered: dict[int, PlaceOutcome | None] = field(init=False, default_factory=dict)
    # The rows as the caller has just read them.
    rows: InitVar[PositionRows | None] = None

    def __post_init__(self, rows: PositionRows | None) -> None:
        self._take(rows or load_position(self.request.pk))

    def read(self) -> None:
        """Read the rows anew: another run may have placed or moved a leg."""
        self._take(load_position(self.request.pk))

    def _take(self, rows: PositionRows) -> None:
        pk = self.request.pk
        if rows.bracket is None:
            raise Bracket.DoesNotExist(f"request {pk} has no plan")
        if rows.entry is None:
            raise Order.DoesNotExist(f"request {pk} has no entry")
        self.bracket, self.entry, self.trade, self.held_beside = rows.bracket, rows.entry, rows.trade, rows.held_beside
        self.exits = exit_orders([pk]).get(pk, [])
        for order in self.exits:
            order.request = self.request
        if self.follow_filters():
            self.bracket = load_bracket_with_legs(pk)

    def refresh(self) -> bool:
        """Read the rows anew, True when the plan has taken in other filters since it was read."""
        before = self.bracket.regridded_at
        self.read()
        return bool(self.bracket.regridded_at != before)

    def follow_filters(self) -> bool:
        """Take in filters that have changed, True when the plan is another one now."""
        try:
            rules = self.exchange.known_rules(self.request.symbol)
        except ExchangeUnavailableError as error:
            # A stop does not wait for an answer about filters: the last ones known may well be right.
            log.warning("filters_not_read", symbol=self.request.symbol, error=str(error))
            return False
        return follow_filters(self.bracket, rules, now=self.clock())

    @property
    def plan(self) -> Plan:
        return plan_of(self.bracket, self.exits)

    @property
    def exposure(self) -> Exposure:
        exited = self.trade.exited_quantity if self.trade else ZERO
        filled, growing = self.entry.executed_quantity, self.entry.state not in ORDER_FINAL
        return exposure_of(self.request, self.exits, filled=filled, exited=exited, growing=growing)

    @property
    def comparison(self) -> Comparison:
        return compare(self.plan, self.exposure, resting_of(self.exits))

    @property
    def lacks_stop(self) -> bool:
        """Return whether the plan's stop does not cover all that orders can reach.

        Only confirmed stops count.
        """
        now, plan = self.exposure, self.plan
        reachable = min(now.open, sum(now.closing_parts(plan.lot), ZERO))
        return bool(plan.of(OrderPurpose.STOP)) and stop_cover(self.exits) < reachable

    @property
    def held_by_software(self) -> bool:
        """Return whether a software stop stands in for one that the exchange does not take."""
        return self.bracket.software_since is not None

    @property
    def software_stop_reached(self) -> bool:
        return self.held_by_software and self.bracket.software_passed_at is not None

    @property
    def overdue(self) -> list[Order]:
        """Return the live stops and trailing stops that the mark price passed too long ago."""
        return overdue_among(self.exits)

    @property
    def is_dust(self) -> bool:
        """Return whether exits have left less than the smallest order.

        What an opening order has to be worth is no measure here: the exchange exempts what reduces.
        """
        now, lot = self.exposure, self.plan.lot
        if self.trade is None or now.growing or now.open == now.filled:
            return False
        return now.open < max(lot.step, lot.minimum)

    def of(self, leg: Leg) -> list[Order]:
        return [order for order in self.exits if order.leg_id == leg.id]

    def missing(self, purpose: OrderPurpose) -> Wanted | None:
        return next((want for want in self.comparison.missing if want.leg.purpose is purpose), None)

    def is_sending(self, leg: Leg) -> bool:
        """Return whether another run is sending an order of this leg.

        A run that has been silent for too long is not waited for.
        """
        since = self.clock() - self.rules.max_unprotected
        return any(order.state == OrderState.SUBMITTING and order.sent_at > since for order in self.of(leg))

    def refused_lately(self, leg: Leg) -> bool:
        """Return whether the pause after a leg's refused or unanswered orders is not over.

        Each try doubles the next pause.

        A stop that had to rest a little beyond its level does not count: it is the level that is tried again. Nor does
        what was refused under filters that have changed since.
        """
        at_level = [order for order in self.under_present_filters(self.of(leg)) if order.trigger_price == leg.price]
        covered = ZERO < self.exposure.open <= stop_cover(self.exits)
        longest = LONGEST_PAUSE_COVERED if covered else LONGEST_PAUSE_OPEN
        refused = refusals_of(at_level, longest)
        return (refused is not None and refused.holds_at(self.clock())) or self._unanswered_lately(at_level, longest)

    def _unanswered_lately(self, orders: Sequence[Order], longest: timedelta) -> bool:
        """Return whether the next order has to wait: each one of unknown outcome may rest unseen."""
        unknown = [order for order in orders if order.state == OrderState.UNKNOWN]
        return bool(unknown) and age_of(unknown[-1].created_at, self.clock()) < pause_after(len(unknown), longest)

    def under_present_filters(self, orders: Iterable[Order]) -> list[Order]:
        """Leave out what was sent under filters that have changed since."""
        since = self.bracket.regridded_at
        return [order for order in orders if since is None or order.created_at > since]

    def may_try_stop(self, leg: Leg) -> bool:
        """Return whether a stop may be tried beside which nothing else covers the position.

        That stop and the close that follows it are one try.
        """
        unknown = [order for order in self.of(leg) if order.state == OrderState.UNKNOWN]
        if len(unknown) >= MOST_UNKNOWN_STOPS and age_of(unknown[-1].created_at, self.clock()) < LONGEST_PAUSE_OPEN:
            return False
        return not (market_close.is_paused(self) or market_close.is_out(self))

    def beyond(self, want: Wanted, fraction: Decimal) -> Leg | None:
        """Return the stop moved this fraction of its level beyond it, None when one was sent there.

        The plan stays as it is: the stop moves back to its level as soon as the exchange takes it there.
        """
        direction, level = Direction(self.request.direction), want.leg.price or ZERO
        price = round_stop(direction, stop_price_at(direction, level, fraction), self.bracket.tick_size)
        if any(order.trigger_price == price for order in self.of(want.leg)):
            return None
        return replace(want.leg, price=price)

    def place(self, want: Wanted, *, at_once: bool = False) -> PlaceOutcome | None:
        """Place an order of a leg, None when another run is placing one.

        `at_once`: a trailing leg without its activation price.
        """
        if want.leg.id in self._answered:
            return self._answered.pop(want.leg.id)
        if self.is_sending(want.leg):
            return None
        if self.spare and want.leg.purpose is OrderPurpose.STOP and not self.exits:
            wanted = [want, *(each for each in self.comparison.missing if each != want)]
            if len({each.leg.id for each in wanted}) == len(wanted) > 1:
                return self._place_together(wanted, self.spare)
        spec = exit_spec(want, sequence=self._next_sequence(want.leg.purpose), close_reason=self.meaning(want.leg))
        return self._send(replace(spec, trigger_price=None) if at_once else spec)

    def _place_together(self, wanted: Sequence[Wanted], spare: SpareExchange) -> PlaceOutcome | None:
        """Place all legs of a new position, the stop first, and return the stop's outcome."""
        numbers = Counter[OrderPurpose]()
        specs = []
        for want in wanted:
            numbers[want.leg.purpose] += 1
            specs.append(exit_spec(want, sequence=numbers[want.leg.purpose], close_reason=self.meaning(want.leg)))
        window, now = self.rules.recv_window_ms, self.clock()
        written = persist_orders(self.request, specs, recv_window_ms=window, now=now)
        if not written:
            return None
        self.exits += [order for order, _ in written]
        outcome, self._beside = send_together(
            written,
            exchange=self.exchange,
            spare=spare,
            also=lambda: None if self.lacks_stop else self.confirmation(),
            clock=self.clock,
        )
        if not self._beside and not self.lacks_stop and self.request.state == RequestState.FILLED:
            self.request.state = RequestState.PROTECTED
            reached(CrashPoint.COVER_CONFIRMED)
        return outcome

    def settle_beside(self) -> None:
        """Settle what was sent beside the stop, and keep its outcomes for `place`."""
        beside, self._beside = self._beside, []
        for order, outcome in settle_beside(beside, exchange=self.exchange, clock=self.clock):
            if order.leg_id is not None and not isinstance(outcome, Accepted):
                self._answered[order.leg_id] = outcome
        if any(not any(order is each.order for order in self.exits) for each in beside):
            # The rows were read anew meanwhile.
            self.read()

    def confirmation(self) -> Move | None:
        """Return the request's move to PROTECTED, None when it is there or has never been FILLED."""
        if self.request.state != RequestState.FILLED:
            return None
        legs = [
            {"purpose": leg.purpose, "price": leg.price, "share": leg.share, "callback_percent": leg.callback_percent}
            for leg in self.plan.legs
        ]
        by = ProtectedBy.SOFTWARE if self.held_by_software else ProtectedBy.VENUE
        details = {"legs": legs, "protected_by": by}
        trigger = RequestTrigger.COVER_CONFIRMED
        return request_move(self.request.pk, RequestState.FILLED, trigger, now=self.clock(), details=details)

    def close(self, quantity: Decimal, reason: CloseReason, leg: Leg | None = None) -> PlaceOutcome | None:
        """Close at market, reducing only, None when that may not be tried now."""
        return market_close.Closing(work=self, reason=reason, leg=leg).run(quantity) if quantity > 0 else None

    def closed_by(self) -> CloseReason | None:
        """Return why our own closing orders have closed, when they have executed last what was open."""
        executed = [o for o in self.exits if o.purpose == OrderPurpose.CLOSE and executed_of(o) > 0]
        return CloseReason(executed[-1].close_reason) if executed and self.exposure.open <= 0 else None

    def send_close(self, intention: OrderSpec) -> PlaceOutcome | None:
        """Send a closing order under the next number, None when another run has sent it."""
        return self._send(replace(intention, sequence=self._next_sequence(OrderPurpose.CLOSE)))

    def cancel_excess(self, *purposes: OrderPurpose) -> None:
        """Cancel what newer orders have replaced, so that cover never drops."""
        excess = self.comparison.excess
        self.cancel(order for order in self.exits if order.pk in excess and order.purpose in purposes)

    def make_room(self) -> bool:
        """Let targets and trailing stop make way for the stop when the exchange takes no more orders."""
        resting = [o for o in self.exits if o.purpose in OTHERS and o.state in ORDER_LIVE]
        self.cancel(resting)
        # An order that rests in spite of its cancel has made no room.
        return any(order.state in ORDER_FINAL for order in resting)

    def cancel_overdue(self) -> None:
        """Try to cancel the overdue stops and what rests of the entry, then read the rows anew."""
        entries = [] if self.entry.state in ORDER_FINAL else [self.entry]
        self.cancel([*entries, *self.overdue])
        self.read()

    def cancel(self, orders: Iterable[Order]) -> None:
        """Cancel these orders, each unless its last cancel had no effect a moment ago."""
        for order in orders:
            cancel_order(order, exchange=self.exchange, clock=self.clock)

    def _send(self, intention: OrderSpec) -> PlaceOutcome | None:
        written = persist_order(self.request, intention, recv_window_ms=self.rules.recv_window_ms, now=self.clock())
        if written is None:
            return None
        order, ticket = written
        self.exits.append(order)
        return send(order, ticket, exchange=self.exchange, clock=self.clock)

    def _next_sequence(self, purpose: OrderPurpose) -> int:
        return max((order.sequence for order in self.exits if order.purpose == purpose), default=0) + 1

    def meaning(self, leg: Leg) -> str:
        """Return the close reason of a leg's orders where its purpose alone does not give it."""
        moved = any(row.pk == leg.id and row.origin == LegOrigin.BREAK_EVEN for row in self.bracket.legs.all())
        return CloseReason.BREAK_EVEN if moved else ""
