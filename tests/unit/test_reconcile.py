from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.brackets import Exposure, Leg, Plan, Resting
from execution.domain.external import ExternalPositions, position_part
from execution.domain.outcomes import ExchangeStatus, OrderReport, PositionReport
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL, OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose
from execution.reconciliation.actions import (
    Action,
    Adopt,
    Apply,
    BookExits,
    CancelLeftover,
    CloseInTime,
    Cover,
    ExcessQuantity,
    Expire,
    Guard,
    Leave,
    LookOver,
    LookUpOrder,
    ReportExternal,
    Resume,
)
from execution.reconciliation.diff import Patience, reconcile
from execution.reconciliation.state import Deadline, LocalState, OurExternal, OurOrder, OurRequest, OurTrade, VenueState

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LONG_AGO, JUST_NOW = NOW - timedelta(seconds=60), NOW - timedelta(seconds=1)
# When the monitor began to read the exchange.
BEGUN_AT = NOW - timedelta(milliseconds=200)
PATIENCE = Patience(stalled_after=timedelta(seconds=5))
ID = UUID(int=1)
LOT = Decimal("0.002")
NONE = Decimal(0)
GRID = {"tick": Decimal("0.1"), "step": Decimal("0.001"), "minimum": Decimal("0.001")}
PLAN = Plan(
    legs=(
        Leg(id=1, purpose=OrderPurpose.STOP, price=Decimal(49000)),
        Leg(id=2, purpose=OrderPurpose.TARGET, price=Decimal(52000)),
    ),
    **GRID,
)
RESTING_STOP = Resting(order_id=11, leg_id=1, quantity=LOT, price=Decimal(49000))
RESTING_TARGET = Resting(order_id=12, leg_id=2, quantity=LOT, price=Decimal(52000))
TRADE = OurTrade(
    id=ID,
    symbol="BTCUSDT",
    direction=Direction.LONG,
    position_side="BOTH",
    open_quantity=LOT,
    plan=PLAN,
    exposure=Exposure(filled=LOT, open=LOT),
    resting=(RESTING_STOP, RESTING_TARGET),
    changed_at=LONG_AGO,
)
POSITION = PositionReport(
    symbol="BTCUSDT",
    position_side="BOTH",
    quantity=LOT,
    entry_price=Decimal(50000),
    mark_price=Decimal(50100),
    unrealized_pnl=Decimal("0.2"),
    liquidation_price=Decimal(45200),
    initial_margin=Decimal(10),
    notional=Decimal("100.2"),
)
STOP = OurOrder(
    id=11,
    request_id=ID,
    client_order_id="es1-s-1",
    symbol="BTCUSDT",
    purpose=OrderPurpose.STOP,
    state=OrderState.ACCEPTED,
    quantity=LOT,
    executed_quantity=Decimal(0),
    sent_at=LONG_AGO,
    closed=False,
)
TARGET = replace(STOP, id=12, client_order_id="es1-t-1", purpose=OrderPurpose.TARGET)
ENTRY = replace(STOP, id=10, client_order_id="es1-e-1", purpose=OrderPurpose.ENTRY)
REQUEST = OurRequest(id=ID, state=RequestState.CLEARED, moved_at=LONG_AGO, expires_at=NOW + timedelta(seconds=30))


def report_of(order: OurOrder, executed: str = "0", status: ExchangeStatus = ExchangeStatus.NEW) -> OrderReport:
    return OrderReport(
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        status=status,
        quantity=order.quantity,
        executed_quantity=Decimal(executed),
    )


def compared(
    *,
    orders: tuple[OurOrder, ...] = (),
    trades: tuple[OurTrade, ...] = (),
    requests: tuple[OurRequest, ...] = (),
    open_orders: tuple[OrderReport, ...] = (),
    positions: tuple[PositionReport, ...] = (),
    **known: Any,
) -> list[Action]:
    return reconcile(
        replace(LocalState(requests=requests, orders=orders, trades=trades), **known),
        VenueState(
            open_orders={row.client_order_id: row for row in open_orders}, positions=positions, begun_at=BEGUN_AT
        ),
        patience=PATIENCE,
        now=NOW,
    )


# All as it should be


def test_nothing_on_both_sides() -> None:
    assert compared() == []


def test_a_protected_position_is_left_alone() -> None:
    actions = compared(
        orders=(STOP, TARGET),
        trades=(TRADE,),
        open_orders=(report_of(STOP), report_of(TARGET)),
        positions=(POSITION,),
    )

    assert actions == []


# Orders


@pytest.mark.parametrize("state", [state for state in OrderState if state not in ORDER_FINAL])
@pytest.mark.parametrize("order", [ENTRY, STOP, TARGET])
def test_an_order_that_is_not_open_is_looked_up_once_it_is_no_longer_fresh(order: OurOrder, state: OrderState) -> None:
    fresh, old = replace(order, state=state, sent_at=JUST_NOW), replace(order, state=state)

    # It may still be on its way
    assert compared(orders=(fresh,)) == []
    # It has ended, or was never there
    assert compared(orders=(old,)) == [LookUpOrder(order_id=order.id)]


def test_an_order_is_fresh_for_less_than_the_patience() -> None:
    at_the_limit = replace(STOP, sent_at=NOW - timedelta(seconds=5))

    assert compared(orders=(at_the_limit,)) == [LookUpOrder(order_id=11)]
    assert compared(orders=(replace(at_the_limit, sent_at=NOW - timedelta(seconds=4.999)),)) == []


@pytest.mark.parametrize("state", sorted(ORDER_FINAL))
def test_an_order_that_has_ended_is_not_looked_up_again(state: OrderState) -> None:
    assert compared(orders=(replace(ENTRY, state=state),)) == []


@pytest.mark.parametrize("state", [OrderState.SUBMITTING, OrderState.UNKNOWN])
@pytest.mark.parametrize("sent_at", [JUST_NOW, LONG_AGO])
def test_an_open_order_of_unknown_outcome_is_evidence(state: OrderState, sent_at: datetime) -> None:
    order = replace(ENTRY, state=state, sent_at=sent_at)
    seen = report_of(order)

    assert compared(orders=(order,), open_orders=(seen,)) == [Apply(order_id=10, report=seen)]


def test_a_fill_that_we_do_not_know_is_applied() -> None:
    part = Decimal("0.001")
    order = replace(ENTRY, state=OrderState.PARTIALLY_FILLED, executed_quantity=part, booked_quantity=part)
    more, same = report_of(order, "0.0015", ExchangeStatus.PARTIALLY_FILLED), report_of(order, "0.001")

    assert compared(orders=(order,), open_orders=(more,)) == [Apply(order_id=10, report=more)]
    # It should not apply what is known, nor go backwards
    assert compared(orders=(order,), open_orders=(same,)) == []
    assert compared(orders=(order,), open_orders=(report_of(order, "0.0005"),)) == []


def test_a_fill_that_was_seen_and_not_booked_is_applied_again() -> None:
    order = replace(ENTRY, state=OrderState.PARTIALLY_FILLED, executed_quantity=Decimal("0.001"))
    same = report_of(order, "0.001", ExchangeStatus.PARTIALLY_FILLED)

    assert compared(orders=(order,), open_orders=(same,)) == [Apply(order_id=10, report=same)]


def test_the_rest_of_an_entry_whose_part_was_closed_is_cancelled() -> None:
    rest = replace(ENTRY, state=OrderState.PARTIALLY_FILLED, closed=True)

    assert compared(orders=(rest,), open_orders=(report_of(rest),)) == [CancelLeftover(order_id=10)]


@pytest.mark.parametrize("leg", [STOP, TARGET])
def test_a_leg_is_cancelled_only_when_its_trade_is_closed(leg: OurOrder) -> None:
    closed = replace(leg, closed=True)

    assert compared(orders=(closed,), open_orders=(report_of(leg),)) == [CancelLeftover(order_id=leg.id)]
    # It should never be cancelled while its trade is open, not even without a position in sight
    assert compared(orders=(leg,), open_orders=(report_of(leg),)) == []


def test_a_closed_trades_leg_that_is_not_open_is_looked_up() -> None:
    assert compared(orders=(replace(STOP, closed=True),)) == [LookUpOrder(order_id=11)]


def test_an_entry_whose_request_has_ended_is_not_cancelled_but_applied() -> None:
    entry = replace(ENTRY, closed=True, state=OrderState.UNKNOWN)
    seen = report_of(entry)

    assert compared(orders=(entry,), open_orders=(seen,)) == [Apply(order_id=10, report=seen)]


@pytest.mark.parametrize(
    ("older", "newer", "cancelled"),
    [
        ("0.001", "0.002", [CancelLeftover(order_id=11)]),
        ("0.002", "0.002", [CancelLeftover(order_id=11)]),
        # the newer one covers less: the older one goes on covering the rest
        ("0.003", "0.001", []),
    ],
)
@pytest.mark.parametrize("rests", [RESTING_STOP, RESTING_TARGET])
def test_an_order_that_a_right_one_replaces_is_cancelled(
    rests: Resting, older: str, newer: str, cancelled: list[Action]
) -> None:
    purpose = PLAN.legs[(rests.leg_id or 0) - 1].purpose
    first = replace(STOP, purpose=purpose)
    second = replace(first, id=21, client_order_id="es1-s-2")
    resting = (
        replace(rests, order_id=first.id, quantity=Decimal(older)),
        replace(rests, order_id=second.id, quantity=Decimal(newer)),
        RESTING_TARGET if rests is RESTING_STOP else replace(RESTING_STOP, order_id=31),
    )
    trade = replace(TRADE, resting=resting)

    def leftovers(*seen: OurOrder) -> list[Action]:
        rows = tuple(report_of(order) for order in seen)
        actions = compared(orders=(second, first), trades=(trade,), open_orders=rows, positions=(POSITION,))
        return [action for action in actions if isinstance(action, CancelLeftover)]

    assert leftovers(first, second) == cancelled
    # It should go on covering until the newer one is seen at the exchange
    assert leftovers(first) == []


def test_targets_of_one_size_are_legs_of_their_own_and_stay() -> None:
    legs = tuple(
        Leg(id=number, purpose=OrderPurpose.TARGET, price=Decimal(51000 + number), share=Decimal("0.5"))
        for number in (2, 3)
    )
    half = LOT / 2
    resting = tuple(
        Resting(order_id=10 + leg.id, leg_id=leg.id, quantity=half, price=leg.price, seen=True) for leg in legs
    )
    plan = replace(PLAN, legs=(PLAN.legs[0], *legs))
    trade = replace(TRADE, plan=plan, resting=(RESTING_STOP, *resting))
    orders = (STOP, TARGET, replace(TARGET, id=13, client_order_id="es1-t-2", quantity=half))
    rows = tuple(report_of(order) for order in orders)

    assert compared(orders=orders, trades=(trade,), open_orders=rows, positions=(POSITION,)) == []


def test_targets_of_a_position_without_anything_left_for_them_are_cancelled() -> None:
    legs = (PLAN.legs[0], replace(PLAN.legs[1], done=True, executed=LOT / 2))
    trade = replace(
        TRADE,
        open_quantity=LOT / 2,
        plan=replace(PLAN, legs=legs),
        exposure=Exposure(filled=LOT, open=LOT / 2),
        resting=(replace(RESTING_STOP, quantity=LOT / 2), replace(RESTING_TARGET, quantity=LOT / 2)),
    )
    position = replace(POSITION, quantity=LOT / 2)
    rows = (report_of(STOP), report_of(TARGET))

    assert compared(orders=(STOP, TARGET), trades=(trade,), open_orders=rows, positions=(position,)) == [
        CancelLeftover(order_id=12)
    ]


def test_stop_and_target_do_not_replace_each_other_nor_legs_of_another_trade() -> None:
    other = replace(STOP, id=21, client_order_id="es1-s-9", request_id=UUID(int=2))
    rows = (report_of(STOP), report_of(TARGET), report_of(other))

    assert compared(orders=(STOP, TARGET, other), open_orders=rows) == []


def test_orders_of_others_are_never_touched() -> None:
    foreign = replace(report_of(STOP), client_order_id="web_abc")

    assert compared(open_orders=(foreign,)) == []


# Trades and positions


def test_an_empty_list_of_positions_cancels_nothing() -> None:
    actions = compared(orders=(STOP, TARGET), trades=(TRADE,), open_orders=(report_of(STOP), report_of(TARGET)))

    # It should only look for fills: an empty answer is not proof that the position is gone
    assert actions == [BookExits(trade_id=ID)]


@pytest.mark.parametrize(
    ("direction", "side", "quantity"),
    [
        (Direction.LONG, "BOTH", "0.001"),
        (Direction.LONG, "BOTH", "-0.002"),
        (Direction.LONG, "LONG", "0.001"),
        (Direction.SHORT, "BOTH", "-0.001"),
        (Direction.SHORT, "BOTH", "0.002"),
        (Direction.SHORT, "SHORT", "-0.001"),
    ],
)
def test_a_smaller_or_turned_position_has_exits_to_book(direction: Direction, side: str, quantity: str) -> None:
    trade = replace(TRADE, direction=direction, position_side=side, resting=())
    position = replace(POSITION, position_side=side, quantity=Decimal(quantity))

    # It should book the exits first: the cover depends on what is left
    assert compared(trades=(trade,), positions=(position,)) == [BookExits(trade_id=ID)]


@pytest.mark.parametrize(
    ("direction", "side", "quantity"),
    [
        (Direction.LONG, "BOTH", "0.002"),
        (Direction.SHORT, "BOTH", "-0.002"),
        (Direction.LONG, "LONG", "0.002"),
        (Direction.SHORT, "SHORT", "-0.002"),
        (Direction.SHORT, "SHORT", "0.002"),
    ],
)
def test_a_position_of_the_right_size_in_both_modes(direction: Direction, side: str, quantity: str) -> None:
    trade = replace(TRADE, direction=direction, position_side=side)
    position = replace(POSITION, position_side=side, quantity=Decimal(quantity))

    assert compared(trades=(trade,), positions=(position,)) == []


def test_a_larger_position_is_reported_and_left_alone() -> None:
    larger = replace(POSITION, quantity=Decimal("0.005"))

    assert compared(trades=(TRADE,), positions=(larger,)) == [
        ExcessQuantity(
            position=position_part(larger, Decimal("0.003")),
            sentence="POSITION_LARGER_THAN_TRADE: expected=0.002 actual=0.005",
        )
    ]


@pytest.mark.parametrize(
    ("stop", "target", "missing"),
    [
        (NONE, LOT, OrderPurpose.STOP),
        (LOT / 2, LOT, OrderPurpose.STOP),
        (NONE, NONE, OrderPurpose.STOP),
        (LOT * 2, LOT, OrderPurpose.STOP),
        (LOT, NONE, OrderPurpose.TARGET),
        (LOT, LOT / 2, OrderPurpose.TARGET),
        (LOT, LOT * 2, OrderPurpose.TARGET),
    ],
)
def test_missing_or_wrong_cover_is_repaired_the_stop_first(
    stop: Decimal, target: Decimal, missing: OrderPurpose
) -> None:
    rests = (replace(RESTING_STOP, quantity=stop), replace(RESTING_TARGET, quantity=target))
    trade = replace(TRADE, resting=tuple(order for order in rests if order.quantity))

    assert compared(trades=(trade,), positions=(POSITION,)) == [Cover(request_id=ID, missing=missing)]


@pytest.mark.parametrize(("price", "touched"), [("49000.1", False), ("48999.9", False), ("49000.2", True)])
def test_a_stop_that_is_right_within_a_tick_is_not_touched(price: str, touched: bool) -> None:  # noqa: FBT001
    trade = replace(TRADE, resting=(replace(RESTING_STOP, price=Decimal(price)), RESTING_TARGET))

    assert bool(compared(trades=(trade,), positions=(POSITION,))) is touched


def test_a_larger_position_without_a_stop_is_covered_and_reported() -> None:
    trade = replace(TRADE, resting=(RESTING_TARGET,))
    larger = replace(POSITION, quantity=Decimal(1))

    actions = compared(trades=(trade,), positions=(larger,))

    assert [type(action) for action in actions] == [Cover, ExcessQuantity]


def test_a_trade_that_changed_while_the_exchange_was_read_is_not_compared() -> None:
    changing = replace(TRADE, changed_at=BEGUN_AT, resting=(RESTING_TARGET,))

    # It should not mistake the exchange's past for a closed or naked position
    assert compared(trades=(changing,)) == []
    before = replace(changing, changed_at=BEGUN_AT - timedelta(milliseconds=1))
    assert compared(trades=(before,)) == [BookExits(trade_id=ID)]


def test_a_position_whose_time_is_up_is_closed_instead_of_covered() -> None:
    deadline = Deadline(at=NOW, reason=CloseReason.TIME)
    due = replace(TRADE, deadline=deadline, resting=())

    assert compared(trades=(due,), positions=(POSITION,)) == [CloseInTime(trade_id=ID, reason=CloseReason.TIME)]
    # It should be covered until then, and have its exits booked before it is closed
    early = replace(due, deadline=replace(deadline, at=NOW + timedelta(milliseconds=1)))
    assert compared(trades=(early,), positions=(POSITION,)) == [Cover(request_id=ID, missing=OrderPurpose.STOP)]
    assert compared(trades=(due,)) == [BookExits(trade_id=ID)]


def test_an_order_that_ended_while_the_exchange_was_read_is_no_stray() -> None:
    books = LocalState(requests=(), orders=(), trades=(), just_ended=frozenset({"es1-s-1"}))
    seen = VenueState(open_orders={"es1-s-1": report_of(STOP)}, positions=(), begun_at=BEGUN_AT)

    assert reconcile(books, seen, patience=PATIENCE, now=NOW) == []


def test_a_foreign_position_is_reported_and_never_touched() -> None:
    foreign = replace(POSITION, symbol="ETHUSDT", quantity=Decimal(-3))

    assert compared(trades=(TRADE,), positions=(POSITION, foreign)) == [
        ReportExternal(symbol="ETHUSDT", sentence="POSITION_NOT_OURS: quantity=-3 side=BOTH")
    ]


@pytest.mark.parametrize("known", ["just_closed", "set_aside"])
def test_a_position_whose_rows_cannot_be_used_or_have_just_closed_is_not_foreign(known: str) -> None:
    sides: dict[str, Any] = {known: frozenset({(POSITION.symbol, POSITION.position_side)})}

    assert compared(positions=(POSITION,), **sides) == []


@pytest.mark.parametrize("known", ["just_closed", "set_aside"])
def test_of_such_a_position_nobody_says_that_it_is_larger(known: str) -> None:
    larger = replace(POSITION, quantity=POSITION.quantity * 2)
    sides: dict[str, Any] = {known: frozenset({(POSITION.symbol, POSITION.position_side)})}
    found = compared(trades=(TRADE,), positions=(larger,), orders=(STOP, TARGET), **sides)

    assert [action for action in found if isinstance(action, ExcessQuantity)] == []


@pytest.mark.parametrize("state", [OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED])
def test_an_order_that_has_ended_is_not_applied_again_because_it_was_doubted(state: OrderState) -> None:
    ended = replace(STOP, state=state, doubted=True)

    assert compared(orders=(ended,), open_orders=(report_of(ended),)) == []


def test_the_other_side_in_hedge_mode_is_foreign() -> None:
    trade = replace(TRADE, position_side="LONG")
    long, short = (replace(POSITION, position_side=side) for side in ("LONG", "SHORT"))

    assert compared(trades=(trade,), positions=(long, short)) == [
        ReportExternal(symbol="BTCUSDT", sentence="POSITION_NOT_OURS: quantity=0.002 side=SHORT", position_side="SHORT")
    ]


def test_a_position_of_a_running_entry_is_not_foreign() -> None:
    entry = replace(ENTRY, sent_at=JUST_NOW)

    assert compared(orders=(entry,), positions=(POSITION,)) == []
    # It should be foreign when the entry's request ended without a trade
    ended = replace(entry, closed=True)
    assert [type(action) for action in compared(orders=(ended,), positions=(POSITION,))] == [ReportExternal]


# Positions of others

EXTERNAL = OurExternal(id=5, symbol="BTCUSDT", position_side="BOTH", direction=Direction.LONG)


def cared_for(
    *positions: PositionReport, external: OurExternal | None = EXTERNAL, wish: ExternalPositions, **books: object
) -> list[Action]:
    """Compare, and return what is done about positions of others besides saying that they are there."""
    known = (external,) if external else ()
    rows = LocalState(**{"requests": (), "orders": (), "trades": (), "external": known, **books})  # type: ignore[arg-type]
    seen = VenueState(open_orders={}, positions=positions, begun_at=BEGUN_AT)
    actions = reconcile(rows, seen, patience=PATIENCE, now=NOW, wish=wish)
    return [action for action in actions if isinstance(action, Guard | Adopt | Leave)]


def test_a_position_of_others_is_guarded_when_a_second_cycle_sees_it() -> None:
    wish = ExternalPositions.PROTECT

    assert cared_for(POSITION, external=None, wish=wish) == []
    assert cared_for(POSITION, wish=wish) == [Guard(external_id=5)]
    # It should not be the same one that lies on the other side, or is turned
    assert cared_for(replace(POSITION, quantity=-LOT), wish=wish) == []
    assert cared_for(replace(POSITION, position_side="LONG"), wish=wish) == []


@pytest.mark.parametrize("guarded", [False, True])
def test_a_position_of_others_is_adopted_when_a_second_cycle_sees_it(guarded: bool) -> None:  # noqa: FBT001
    wish, external = ExternalPositions.ADOPT, replace(EXTERNAL, guarded=guarded)

    assert cared_for(POSITION, external=None, wish=wish) == []
    assert cared_for(POSITION, external=external, wish=wish) == [Adopt(external_id=5)]
    assert cared_for(replace(POSITION, quantity=-LOT), external=external, wish=wish) == []


def test_a_position_of_others_is_not_touched_by_default() -> None:
    assert cared_for(POSITION, wish=ExternalPositions.IGNORE) == []
    # It should be followed as before when it has exits of ours already
    guarded = replace(EXTERNAL, guarded=True)
    assert cared_for(POSITION, external=guarded, wish=ExternalPositions.IGNORE) == [Guard(external_id=5)]


def test_a_position_of_an_entry_on_its_way_or_of_a_trade_is_never_guarded() -> None:
    entering = replace(ENTRY, sent_at=JUST_NOW)

    for wish in ExternalPositions:
        assert cared_for(POSITION, wish=wish, orders=(entering,)) == []
        assert cared_for(POSITION, wish=wish, trades=(TRADE,)) == []


@pytest.mark.parametrize("wish", list(ExternalPositions))
@pytest.mark.parametrize("positions", [(), (replace(POSITION, quantity=-LOT),)])
def test_our_exits_leave_after_two_readings_without_the_position(
    wish: ExternalPositions, positions: tuple[PositionReport, ...]
) -> None:
    first = replace(EXTERNAL, guarded=True)

    assert cared_for(*positions, external=first, wish=wish) == []
    assert cared_for(*positions, external=replace(first, flat_readings=1), wish=wish) == [Leave(external_id=5)]
    # It should stay when the position is seen again
    again = replace(first, flat_readings=1)
    assert cared_for(POSITION, external=again, wish=ExternalPositions.PROTECT) == [Guard(external_id=5)]


# Books that may have to be corrected


def test_closed_books_that_are_due_are_looked_over_each_once_in_their_order() -> None:
    first, second = UUID(int=7), UUID(int=3)
    books = LocalState(requests=(), orders=(), trades=(), to_look_over=(first, second))
    seen = VenueState(open_orders={}, positions=(), begun_at=BEGUN_AT)

    actions = reconcile(books, seen, patience=PATIENCE, now=NOW)

    assert actions == [LookOver(trade_id=first), LookOver(trade_id=second)]


def test_looking_over_comes_behind_cover_and_before_what_is_only_said() -> None:
    naked, foreign = replace(TRADE, resting=()), replace(POSITION, symbol="ETHUSDT")
    books = LocalState(requests=(REQUEST,), orders=(), trades=(naked,), to_look_over=(UUID(int=7),))
    seen = VenueState(open_orders={}, positions=(POSITION, foreign), begun_at=BEGUN_AT)

    actions = reconcile(books, seen, patience=PATIENCE, now=NOW)

    # It should not let old books delay a stop
    assert [type(action) for action in actions] == [Cover, Resume, LookOver, ReportExternal]


# Requests

BEFORE_WIRE = [RequestState.RECEIVED, RequestState.CLEARED, RequestState.APPROVED]
AFTER_FILL = [RequestState.FILLED, RequestState.PROTECTED, RequestState.FLATTENED]
WAITING = [RequestState.SUBMITTING, RequestState.UNKNOWN, RequestState.ACCEPTED]


@pytest.mark.parametrize("state", BEFORE_WIRE + AFTER_FILL)
def test_a_stalled_request_is_resumed_from_its_state(state: RequestState) -> None:
    stalled = replace(REQUEST, state=state)

    assert compared(requests=(stalled,)) == [Resume(request_id=ID, state=state)]
    # It should be left to the chain while it moves
    assert compared(requests=(replace(stalled, moved_at=JUST_NOW),)) == []


@pytest.mark.parametrize("state", BEFORE_WIRE)
def test_a_request_too_old_to_trade_expires_instead(state: RequestState) -> None:
    late = replace(REQUEST, state=state, expires_at=NOW - timedelta(milliseconds=1))

    assert compared(requests=(late,)) == [Expire(request_id=ID)]
    # It should still be in time at the very moment
    assert compared(requests=(replace(late, expires_at=NOW),)) == [Resume(request_id=ID, state=state)]


@pytest.mark.parametrize("state", AFTER_FILL)
def test_a_filled_request_never_expires(state: RequestState) -> None:
    late = replace(REQUEST, state=state, expires_at=NOW - timedelta(days=1))

    assert compared(requests=(late,)) == [Resume(request_id=ID, state=state)]


@pytest.mark.parametrize("state", WAITING)
def test_a_request_that_waits_for_evidence_is_neither_resumed_nor_expired(state: RequestState) -> None:
    late = replace(REQUEST, state=state, expires_at=NOW - timedelta(days=1))

    # Its order is looked up instead
    assert compared(requests=(late,)) == []


def test_orders_come_before_trades_and_these_before_requests_and_foreigners() -> None:
    entry = replace(ENTRY, state=OrderState.UNKNOWN)
    actions = compared(
        orders=(entry,),
        trades=(TRADE,),
        requests=(REQUEST,),
        positions=(replace(POSITION, symbol="ETHUSDT"),),
    )

    assert [type(action) for action in actions] == [LookUpOrder, BookExits, Resume, ReportExternal]


def test_comparing_again_asks_for_the_same() -> None:
    def once() -> list[Action]:
        return compared(orders=(STOP,), trades=(TRADE,), requests=(REQUEST,))

    assert once() == once()
