"""Reads both sides of the comparison in bulk.

The number of calls and queries does not grow with the number of positions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain

from execution.domain import policy as keys
from execution.domain.money import ZERO
from execution.domain.outcomes import OrderReport
from execution.domain.policy import Policy
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL, REQUEST_FINAL, TRADE_OVER, OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose, OrderService, OrderType
from execution.models import ExecutionRequest, ExternalPosition, Order, Trade
from execution.protection.bracket_store import exit_orders, exposure_of, plan_of, resting_of
from execution.reconciliation.state import (
    WHOLE,
    Deadline,
    LocalState,
    OrderLists,
    OurExternal,
    OurOrder,
    OurRequest,
    OurTrade,
    VenueState,
)
from execution.risk.entry_expiry import expiry_of
from execution.risk.policy_store import policy_in_force
from execution.store.external_positions import all_external_positions
from execution.store.quarantine import for_each, note_flaws, pairs, quarantined_sides, read_each
from execution.store.reconciliation import (
    finished_orders_named,
    open_trades_with_plans,
    sides_of_open_trades,
    trades_due_for_look_over,
    trades_ended_since,
    unfinished_orders_with_trades,
    unfinished_requests,
)
from execution.store.venue_status import announced_ends, symbols_about_to_end
from execution.trades.late_corrections import LOOKED_OVER_AFTER

# Their entry rests, or may have filled further than is booked.
GROWING = frozenset({RequestState.ACCEPTED, RequestState.UNKNOWN})
# Two calls to the exchange each, so that a cycle after many closes stays short.
MOST_LOOKED_OVER = 5
ENDED_WITHOUT_TRADE = REQUEST_FINAL - {RequestState.RECORDED}


def observe_exchange(exchange: Exchange, *, now: datetime, lists: OrderLists = WHOLE) -> VenueState:
    """Read these lists of open orders, by default both with all symbols, and the positions.

    Positions are read last, so that a position seen has its orders in the lists.

    Raises:
        ExchangeUnavailableError: one of them was not answered; then nothing is compared at all.

    """
    reports = _open_orders(exchange, lists)
    return VenueState(
        open_orders={report.client_order_id: report for report in reports},
        positions=exchange.positions(),
        begun_at=now,
        lists=lists,
    )


def observe_further(exchange: Exchange, seen: VenueState, lists: OrderLists) -> VenueState:
    """Read these lists too, and the positions again. What has changed since the first reading began stays newer.

    Raises:
        ExchangeUnavailableError: one of them was not answered.

    """
    found = {report.client_order_id: report for report in _open_orders(exchange, lists)}
    return VenueState(
        open_orders=found if lists.whole else {**seen.open_orders, **found},
        positions=exchange.positions(),
        begun_at=seen.begun_at,
        lists=replace(seen.lists, whole=lists.whole, named=seen.lists.named | lists.named),
    )


def _open_orders(exchange: Exchange, lists: OrderLists) -> list[OrderReport]:
    if lists.whole:
        return [*exchange.open_orders(), *exchange.open_algo_orders()]
    read = {OrderService.STANDARD: exchange.open_orders, OrderService.ALGO: exchange.open_algo_orders}
    return [report for symbol, service in sorted(lists.named) for report in read[service](symbol)]


def read_books(*, since: datetime, open_names: Iterable[str] = ()) -> LocalState:
    """Read everything that is not over, and what has ended since the exchange was read.

    It takes twelve queries at most. `open_names`: the client ids that the exchange shows open. Orders among them may
    have ended meanwhile.

    An entry moves from orders over requests to trades. They are read in that order, so that one which moves on in
    between is seen in two of them, never in none: its position would pass for an external one.
    """
    policy = policy_in_force()
    ending = symbols_about_to_end()
    orders = for_each(read_each(unfinished_orders_with_trades()), lambda order: _our_order(order, policy, ending))
    requests = for_each(read_each(unfinished_requests()), _our_request)
    trades = read_each(open_trades_with_plans())
    for trade in trades:
        note_flaws(trade.request)
    closed = read_each(trades_ended_since(since))
    exits = exit_orders(trade.pk for trade in [*trades, *closed])
    unknown = set(open_names) - {order.client_order_id for order in orders}
    closing = _closing_before_end(policy)
    ours = dict(pairs(trades, lambda trade: _our_trade(trade, exits.get(trade.pk, []), closing)))
    return LocalState(
        requests=requests,
        orders=orders,
        trades=list(ours.values()),
        just_closed=frozenset((trade.symbol, trade.position_side) for trade in closed),
        set_aside=_sides_set_aside(trades, usable=ours),
        just_ended=_ended_since(since, chain(finished_orders_named(unknown), *exits.values())),
        to_look_over=trades_due_for_look_over(unchanged_since=since - LOOKED_OVER_AFTER, most=MOST_LOOKED_OVER),
        external=for_each(read_each(all_external_positions()), _our_external),
    )


def _sides_set_aside(trades: Iterable[Trade], *, usable: Collection[Trade]) -> frozenset[tuple[str, str]]:
    """Return symbol and side of trades that cannot be compared, whose positions are still ours.

    One that could not be read at all is known by its quarantine row.
    """
    unusable = {(trade.symbol, trade.position_side) for trade in trades if trade not in usable}
    noted = quarantined_sides("trade") - {(trade.symbol, trade.position_side) for trade in usable}
    if noted:
        noted &= sides_of_open_trades()
    return frozenset(unusable | noted)


def _our_external(row: ExternalPosition) -> OurExternal:
    return OurExternal(
        id=row.pk,
        symbol=row.symbol,
        position_side=row.position_side,
        direction=Direction(row.direction),
        guarded=row.request_id is not None,
        flat_readings=row.flat_readings,
    )


def _ended_since(since: datetime, orders: Iterable[Order]) -> frozenset[str]:
    ended = [order for order in orders if order.state in ORDER_FINAL]
    return frozenset(o.client_order_id for o in ended if o.last_evidence_at and o.last_evidence_at >= since)


def _our_request(row: ExecutionRequest) -> OurRequest:
    return OurRequest(
        id=row.pk,
        state=RequestState(row.state),
        moved_at=row.moved_at,
        expires_at=row.expires_at,
        symbol=row.symbol,
    )


def _our_order(order: Order, policy: Policy, ending: Collection[str]) -> OurOrder:
    request = order.request
    trade: Trade | None = getattr(request, "trade", None)
    over = trade.state in TRADE_OVER if trade else request.state in ENDED_WITHOUT_TRADE
    return OurOrder(
        id=order.pk,
        request_id=request.pk,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        purpose=OrderPurpose(order.purpose),
        state=OrderState(order.state),
        quantity=order.quantity,
        executed_quantity=order.executed_quantity,
        sent_at=order.sent_at,
        closed=over,
        booked_quantity=trade.quantity if trade else ZERO,
        expires_at=_expires_at(order, policy, ending),
        doubted=bool(order.missing_readings or order.alarmed_at),
        service=OrderService(order.service),
    )


def _expires_at(order: Order, policy: Policy, ending: Collection[str]) -> datetime | None:
    """Return until when an entry may rest, which is over at once when its contract is about to end."""
    if order.purpose != OrderPurpose.ENTRY or order.order_type != OrderType.LIMIT:
        return None
    return order.sent_at if order.symbol in ending else expiry_of(order.request, policy)


def _our_trade(trade: Trade, exits: Sequence[Order], closing: Mapping[str, datetime]) -> OurTrade:
    growing = trade.request.state in GROWING
    return OurTrade(
        id=trade.pk,
        symbol=trade.symbol,
        direction=Direction(trade.direction),
        position_side=trade.position_side,
        open_quantity=trade.quantity - trade.exited_quantity,
        plan=plan_of(trade.request.bracket, exits),
        exposure=exposure_of(
            trade.request, exits, filled=trade.quantity, exited=trade.exited_quantity, growing=growing
        ),
        resting=resting_of(exits),
        changed_at=trade.updated_at,
        deadline=_deadline(trade, closing),
        by_software=trade.request.bracket.software_since is not None,
    )


def _deadline(trade: Trade, closing: Mapping[str, datetime]) -> Deadline | None:
    """Return the earlier of the plan's time exit and what the policy wants before the contract ends."""
    seconds = trade.request.bracket.time_exit_seconds
    found = [Deadline(at=trade.entry_at + timedelta(seconds=seconds), reason=CloseReason.TIME)] if seconds else []
    if trade.symbol in closing:
        found.append(Deadline(at=closing[trade.symbol], reason=CloseReason.CONTRACT_ENDS))
    return min(found, key=lambda deadline: deadline.at, default=None)


def _closing_before_end(policy: Policy) -> dict[str, datetime]:
    """Return from when on positions are closed, by symbol, because their contract's end is announced."""
    hours = policy[keys.CLOSE_BEFORE_END]
    if not hours:
        return {}
    before = timedelta(hours=float(hours))
    return {symbol: ends_at - before for symbol, ends_at in announced_ends().items()}
