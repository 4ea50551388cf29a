"""Reconciliation with two of everything, each rule long and short: what holds for one hides nothing of the other."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from execution.domain.brackets import Exposure, Leg, Plan, Resting
from execution.domain.external import ExternalPositions, position_part
from execution.domain.outcomes import ExchangeStatus, OrderReport, PositionReport
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_LIVE, ORDER_UNSETTLED, OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose
from execution.reconciliation.actions import (
    Action,
    Adopt,
    Apply,
    BookExits,
    CancelLeftover,
    CheckOrphan,
    CloseInTime,
    Cover,
    ExcessQuantity,
    Expire,
    ExpireEntry,
    Guard,
    Leave,
    LookUpOrder,
    ReportExternal,
    Resume,
)
from execution.reconciliation.diff import reconcile
from execution.reconciliation.diff_external import unjudged
from execution.reconciliation.state import Deadline, LocalState, OurExternal, OurOrder, OurTrade, VenueState
from tests.unit.test_reconcile import (
    BEGUN_AT,
    ENTRY,
    GRID,
    JUST_NOW,
    LONG_AGO,
    NOW,
    PATIENCE,
    POSITION,
    REQUEST,
    STOP,
    TARGET,
    report_of,
)

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
FIRST, SECOND = UUID(int=1), UUID(int=2)
MILLISECOND = timedelta(milliseconds=1)
SIDES = pytest.mark.parametrize(
    ("direction", "side"),
    [(LONG, "BOTH"), (SHORT, "BOTH"), (LONG, "LONG"), (SHORT, "SHORT")],
    ids=["long", "short", "hedged long", "hedged short"],
)


def trade(
    direction: Direction = LONG, side: str = "BOTH", *, number: int = 1, symbol: str = "BTCUSDT", covered: bool = True
) -> OurTrade:
    """An open trade of 0.002 from 50000: a stop 2 % on the losing side, a target 4 % on the other."""
    stop, target = (D(49000), D(52000)) if direction is LONG else (D(51000), D(48000))
    plan = Plan(
        legs=(
            Leg(id=10 * number + 1, purpose=OrderPurpose.STOP, price=stop),
            Leg(id=10 * number + 2, purpose=OrderPurpose.TARGET, price=target),
        ),
        **GRID,
    )
    resting = tuple(
        Resting(order_id=100 * number + place, leg_id=leg.id, quantity=D("0.002"), price=leg.price)
        for place, leg in enumerate(plan.legs)
    )
    return OurTrade(
        id=UUID(int=number),
        symbol=symbol,
        direction=direction,
        position_side=side,
        open_quantity=D("0.002"),
        plan=plan,
        exposure=Exposure(filled=D("0.002"), open=D("0.002"), hedged=side != "BOTH"),
        resting=resting if covered else (),
        changed_at=LONG_AGO,
    )


def position(
    direction: Direction = LONG, side: str = "BOTH", *, size: str = "0.002", symbol: str = "BTCUSDT"
) -> PositionReport:
    """The exchange's row: a short is negative, also in hedge mode."""
    return replace(POSITION, symbol=symbol, position_side=side, quantity=D(size) * direction.sign)


def compared(
    *positions: PositionReport,
    trades: tuple[OurTrade, ...] = (),
    orders: tuple[OurOrder, ...] = (),
    open_orders: tuple[OrderReport, ...] = (),
    wish: ExternalPositions = ExternalPositions.IGNORE,
    **books: object,
) -> list[Action]:
    rows = LocalState(**{"requests": (), "orders": orders, "trades": trades, **books})  # type: ignore[arg-type]
    seen = VenueState(
        open_orders={row.client_order_id: row for row in open_orders}, positions=positions, begun_at=BEGUN_AT
    )
    return reconcile(rows, seen, patience=PATIENCE, now=NOW, wish=wish)


# Trades


@SIDES
def test_a_trade_that_has_just_changed_hides_no_later_one(direction: Direction, side: str) -> None:
    changed = replace(trade(direction, side), changed_at=BEGUN_AT)
    uncovered = trade(direction, side, number=2, symbol="ETHUSDT", covered=False)
    gone = trade(direction, side, number=3, symbol="SOLUSDT")
    shown = position(direction, side, symbol="ETHUSDT")

    # It should cover the second and book the third, and say nothing of the first
    assert compared(shown, trades=(changed, uncovered, gone)) == [
        Cover(request_id=SECOND, missing=OrderPurpose.STOP),
        BookExits(trade_id=UUID(int=3)),
    ]


@SIDES
def test_a_trade_is_held_against_its_own_side_and_symbol(direction: Direction, side: str) -> None:
    ours, other = trade(direction, side), trade(direction, side, number=2, symbol="ETHUSDT")

    # It should not take the other symbol's position for its own
    assert compared(position(direction, side), trades=(ours, other)) == [BookExits(trade_id=SECOND)]
    assert compared(position(direction, side, symbol="ETHUSDT"), trades=(ours, other)) == [BookExits(trade_id=FIRST)]


def test_both_sides_of_a_symbol_are_two_positions() -> None:
    long, short = trade(LONG, "LONG"), trade(SHORT, "SHORT", number=2)

    assert compared(position(LONG, "LONG"), position(SHORT, "SHORT"), trades=(long, short)) == []
    assert compared(position(SHORT, "SHORT"), trades=(long, short)) == [BookExits(trade_id=FIRST)]
    smaller = position(SHORT, "SHORT", size="0.001")
    assert compared(position(LONG, "LONG"), smaller, trades=(long, short)) == [BookExits(trade_id=SECOND)]


@SIDES
def test_each_position_whose_time_is_up_is_closed(direction: Direction, side: str) -> None:
    due = replace(trade(direction, side), deadline=Deadline(at=NOW - MILLISECOND, reason=CloseReason.TIME))
    early = replace(
        trade(direction, side, number=2, symbol="ETHUSDT"),
        deadline=Deadline(at=NOW + MILLISECOND, reason=CloseReason.TIME),
    )
    ending = replace(
        trade(direction, side, number=3, symbol="SOLUSDT"), deadline=Deadline(at=NOW, reason=CloseReason.SETTLEMENT)
    )
    shown = [position(direction, side, symbol=symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]

    assert compared(*shown, trades=(due, early, ending)) == [
        CloseInTime(trade_id=FIRST, reason=CloseReason.TIME),
        CloseInTime(trade_id=UUID(int=3), reason=CloseReason.SETTLEMENT),
    ]


@SIDES
def test_one_cover_is_asked_for_each_trade_the_stop_first(direction: Direction, side: str) -> None:
    first = trade(direction, side, covered=False)
    second = trade(direction, side, number=2, symbol="ETHUSDT")
    second = replace(second, resting=second.resting[:1])
    shown = position(direction, side), position(direction, side, symbol="ETHUSDT")

    assert compared(*shown, trades=(first, second)) == [
        Cover(request_id=FIRST, missing=OrderPurpose.STOP),
        Cover(request_id=SECOND, missing=OrderPurpose.TARGET),
    ]


# Orders


def placed(ours: OurTrade, *, number: int, sequence: int = 1, **columns: object) -> OurOrder:
    name = f"es1-s{ours.id.int}-{sequence}"
    return replace(STOP, id=number, request_id=ours.id, client_order_id=name, **columns)  # type: ignore[arg-type]


@SIDES
def test_older_orders_of_every_trade_are_cancelled_once_the_right_ones_are_seen(
    direction: Direction, side: str
) -> None:
    trades, orders = [], []
    for number, symbol in ((1, "BTCUSDT"), (2, "ETHUSDT")):
        ours = trade(direction, side, number=number, symbol=symbol)
        older = replace(ours.resting[0], order_id=100 * number - 1, quantity=D("0.001"))
        trades.append(replace(ours, resting=(older, *ours.resting)))
        orders += [placed(ours, number=100 * number - 1), placed(ours, number=100 * number, sequence=2)]
    shown = [position(direction, side, symbol=symbol) for symbol in ("BTCUSDT", "ETHUSDT")]
    rows = [report_of(order) for order in orders]

    def leftovers(*seen: OrderReport) -> list[Action]:
        return compared(*shown, trades=tuple(trades), orders=tuple(orders), open_orders=seen)

    assert leftovers(*rows) == [CancelLeftover(order_id=99), CancelLeftover(order_id=199)]
    # It should leave what the exchange does not show, and cancel nothing whose replacement is not seen
    assert leftovers(rows[1], rows[2], rows[3]) == [LookUpOrder(order_id=99), CancelLeftover(order_id=199)]
    assert leftovers(rows[0], rows[2], rows[3]) == [LookUpOrder(order_id=100), CancelLeftover(order_id=199)]


@pytest.mark.parametrize("purpose", [OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING])
def test_every_leg_of_a_closed_trade_is_cancelled_whatever_its_state(purpose: OrderPurpose) -> None:
    for state in sorted(ORDER_LIVE | ORDER_UNSETTLED):
        leg = replace(STOP, purpose=purpose, closed=True, state=state)
        assert compared(orders=(leg,), open_orders=(report_of(leg),)) == [CancelLeftover(order_id=11)]


@pytest.mark.parametrize("state", sorted(ORDER_LIVE))
def test_a_close_order_is_never_a_leftover(state: OrderState) -> None:
    close = replace(STOP, purpose=OrderPurpose.CLOSE, closed=True, state=state)

    assert compared(orders=(close,), open_orders=(report_of(close),)) == []


@pytest.mark.parametrize("state", sorted(OrderState))
def test_an_entry_that_rests_for_too_long_expires_at_its_time(state: OrderState) -> None:
    entry = replace(ENTRY, state=state, expires_at=NOW)
    seen = report_of(entry)
    live = state in ORDER_LIVE

    expected: list[Action] = [ExpireEntry(order_id=10)] if live else []
    unsettled: list[Action] = [Apply(order_id=10, report=seen)] if state in ORDER_UNSETTLED else []
    assert compared(orders=(entry,), open_orders=(seen,)) == expected + unsettled
    # It should rest until then, and without an end for ever
    for later in (NOW + MILLISECOND, None):
        assert compared(orders=(replace(entry, expires_at=later),), open_orders=(seen,)) == unsettled


def test_an_entry_that_expires_does_so_before_its_fill_is_applied() -> None:
    entry = replace(ENTRY, state=OrderState.PARTIALLY_FILLED, expires_at=NOW - MILLISECOND)

    assert compared(orders=(entry,), open_orders=(report_of(entry, "0.001"),)) == [ExpireEntry(order_id=10)]


@pytest.mark.parametrize(
    ("order", "executed", "booked", "shown", "applied"),
    [
        # What an exit has executed is known; only an entry's has to be booked too.
        (STOP, "0.001", "0", "0.001", False),
        (STOP, "0.001", "0", "0.0011", True),
        (ENTRY, "0.001", "0.001", "0.001", False),
        (ENTRY, "0.001", "0.0009", "0.001", True),
        (ENTRY, "0.0009", "0.001", "0.001", True),
        (ENTRY, "0.001", "0.002", "0.001", False),
    ],
)
def test_a_fill_is_applied_when_it_is_more_than_is_known(
    order: OurOrder, executed: str, booked: str, shown: str, *, applied: bool
) -> None:
    known = replace(order, state=OrderState.PARTIALLY_FILLED, executed_quantity=D(executed), booked_quantity=D(booked))
    seen = report_of(known, shown, ExchangeStatus.PARTIALLY_FILLED)

    assert compared(orders=(known,), open_orders=(seen,)) == (
        [Apply(order_id=order.id, report=seen)] if applied else []
    )


def test_an_order_without_news_hides_no_later_one() -> None:
    quiet, lost = replace(ENTRY, sent_at=JUST_NOW), replace(TARGET, state=OrderState.UNKNOWN)
    orders = (quiet, replace(STOP, sent_at=LONG_AGO), lost)

    assert compared(orders=orders, open_orders=(report_of(lost),)) == [
        LookUpOrder(order_id=11),
        Apply(order_id=12, report=report_of(lost)),
    ]


# Requests


def test_a_request_that_moves_hides_no_later_one() -> None:
    moving = replace(REQUEST, moved_at=JUST_NOW)
    waiting = replace(REQUEST, id=SECOND, state=RequestState.UNKNOWN)
    late = replace(REQUEST, id=UUID(int=3), expires_at=NOW - MILLISECOND)
    stalled = replace(REQUEST, id=UUID(int=4), state=RequestState.FILLED)

    assert compared(requests=(moving, waiting, late, stalled)) == [
        Expire(request_id=UUID(int=3)),
        Resume(request_id=UUID(int=4), state=RequestState.FILLED),
    ]


def test_a_request_has_stalled_when_the_patience_is_over() -> None:
    at_the_limit = replace(REQUEST, moved_at=NOW - timedelta(seconds=5))

    assert compared(requests=(at_the_limit,)) == [Resume(request_id=FIRST, state=RequestState.CLEARED)]
    assert compared(requests=(replace(at_the_limit, moved_at=NOW - timedelta(seconds=4.999)),)) == []


# What our books do not explain


@SIDES
def test_a_surplus_is_what_the_exchange_holds_beyond_the_trade(direction: Direction, side: str) -> None:
    larger = position(direction, side, size="0.005")
    own = trade(direction, side)
    surplus = ExcessQuantity(
        position=position_part(larger, D("0.003")), sentence="POSITION_LARGER_THAN_TRADE: expected=0.002 actual=0.005"
    )

    assert compared(larger, trades=(own,)) == [surplus]
    assert surplus.position.quantity == D("0.003") * direction.sign
    # It should say that it has exits of ours, when it has
    guarded = OurExternal(id=5, symbol="BTCUSDT", position_side=side, direction=direction, guarded=True)
    assert compared(larger, trades=(own,), external=(guarded,)) == [
        replace(surplus, guarded=True),
        Guard(external_id=5),
    ]
    assert compared(larger, trades=(own,), external=(replace(guarded, guarded=False),)) == [surplus]
    # It should leave nothing that is here again
    back = replace(guarded, flat_readings=1)
    assert compared(larger, trades=(own,), external=(back,)) == [replace(surplus, guarded=True), Guard(external_id=5)]


@SIDES
def test_a_surplus_of_a_trade_in_motion_is_not_judged(direction: Direction, side: str) -> None:
    larger = position(direction, side, size="0.005")
    own = trade(direction, side)
    growing = replace(own, exposure=replace(own.exposure, growing=True))
    changed = replace(own, changed_at=BEGUN_AT)
    second = trade(direction, side, number=2, symbol="ETHUSDT")
    other = position(direction, side, size="0.004", symbol="ETHUSDT")

    assert compared(larger, trades=(growing,)) == []
    assert compared(larger, trades=(changed,)) == []
    # It should hide no other trade's surplus
    assert compared(larger, other, trades=(growing, second)) == [
        ExcessQuantity(
            position=position_part(other, D("0.002")),
            sentence="POSITION_LARGER_THAN_TRADE: expected=0.002 actual=0.004",
        )
    ]


@SIDES
def test_what_lies_beside_a_trade_is_guarded_and_never_adopted(direction: Direction, side: str) -> None:
    larger = position(direction, side, size="0.005")
    known = OurExternal(id=5, symbol="BTCUSDT", position_side=side, direction=direction)

    def cared_for(wish: ExternalPositions) -> list[Action]:
        found = compared(larger, trades=(trade(direction, side),), external=(known,), wish=wish)
        return [action for action in found if not isinstance(action, ExcessQuantity)]

    assert cared_for(ExternalPositions.IGNORE) == []
    assert cared_for(ExternalPositions.PROTECT) == [Guard(external_id=5)]
    assert cared_for(ExternalPositions.ADOPT) == [Guard(external_id=5)]


@SIDES
def test_exits_beside_a_trade_leave_when_two_readings_miss_the_surplus(direction: Direction, side: str) -> None:
    known = OurExternal(id=5, symbol="BTCUSDT", position_side=side, direction=direction, guarded=True, flat_readings=1)
    own, shown = trade(direction, side), position(direction, side)

    # It should not take the trade's own part for the surplus
    assert compared(shown, trades=(own,), external=(known,)) == [Leave(external_id=5)]
    assert compared(shown, trades=(own,), external=(replace(known, flat_readings=0),)) == []
    assert compared(shown, trades=(own,), external=(replace(known, guarded=False),)) == []
    # It should wait while nobody can tell how much is ours
    growing = replace(own, exposure=replace(own.exposure, growing=True))
    assert compared(shown, trades=(growing,), external=(known,)) == []
    assert compared(external=(known,), just_closed=frozenset({("BTCUSDT", side)})) == []


@SIDES
def test_two_positions_of_others_are_both_told_and_guarded(direction: Direction, side: str) -> None:
    shown = position(direction, side), position(direction, side, symbol="ETHUSDT", size="3")
    known = tuple(
        OurExternal(id=number, symbol=symbol, position_side=side, direction=direction)
        for number, symbol in ((5, "BTCUSDT"), (6, "ETHUSDT"))
    )
    sizes = (shown[0].quantity, shown[1].quantity)

    told: list[Action] = [
        ReportExternal(symbol=symbol, sentence=f"POSITION_NOT_OURS: quantity={size} side={side}", position_side=side)
        for symbol, size in zip(("BTCUSDT", "ETHUSDT"), sizes, strict=True)
    ]
    assert compared(*shown, external=known) == told
    guards = [Guard(external_id=5), Guard(external_id=6)]
    assert compared(*shown, external=known, wish=ExternalPositions.PROTECT) == told + guards
    adopted = [Adopt(external_id=5), Adopt(external_id=6)]
    assert compared(*shown, external=known, wish=ExternalPositions.ADOPT) == told + adopted
    # It should guard the one that has been seen before, not the other
    assert compared(*shown, external=known[1:], wish=ExternalPositions.PROTECT) == [*told, Guard(external_id=6)]


@pytest.mark.parametrize("state", sorted(RequestState))
def test_a_position_of_a_filled_request_is_not_foreign(state: RequestState) -> None:
    request = replace(REQUEST, state=state, moved_at=JUST_NOW, symbol="BTCUSDT")
    ours = state in {RequestState.FILLED, RequestState.PROTECTED, RequestState.FLATTENED}

    found = compared(position(SHORT), requests=(request,))
    assert [type(action) for action in found] == ([] if ours else [ReportExternal])
    # It should explain no other symbol
    other = compared(position(SHORT, symbol="ETHUSDT"), requests=(request,))
    assert [type(action) for action in other] == [ReportExternal]


def test_an_exit_order_explains_no_position() -> None:
    assert [type(action) for action in compared(position(), orders=(replace(STOP, sent_at=JUST_NOW),))] == [
        ReportExternal
    ]


def test_a_position_of_a_trade_that_was_closed_meanwhile_is_not_foreign() -> None:
    closed = frozenset({("BTCUSDT", "LONG")})

    assert compared(position(LONG, "LONG"), just_closed=closed) == []
    # It should say what lies on the other side
    assert compared(position(SHORT, "SHORT"), just_closed=closed) == [
        ReportExternal(
            symbol="BTCUSDT", sentence="POSITION_NOT_OURS: quantity=-0.002 side=SHORT", position_side="SHORT"
        )
    ]


def test_what_nobody_can_judge_now_are_growing_changed_and_closed_trades() -> None:
    still = trade()
    growing = replace(trade(SHORT, number=2, symbol="ETHUSDT"), exposure=replace(still.exposure, growing=True))
    changed = replace(trade(SHORT, "SHORT", number=3, symbol="SOLUSDT"), changed_at=BEGUN_AT + MILLISECOND)
    books = LocalState(
        requests=(), orders=(), trades=(still, growing, changed), just_closed=frozenset({("XRPUSDT", "LONG")})
    )
    seen = VenueState(open_orders={}, positions=(), begun_at=BEGUN_AT)

    assert unjudged(books, seen) == {("ETHUSDT", "BOTH"), ("SOLUSDT", "SHORT"), ("XRPUSDT", "LONG")}


def test_orders_under_our_prefix_that_the_books_do_not_know_are_checked_in_order() -> None:
    unknown = [replace(report_of(STOP), client_order_id=name) for name in ("es1-sz-1", "es1-sa-1", "web_1")]

    found = compared(orders=(STOP,), open_orders=(report_of(STOP), *unknown), just_ended=frozenset({"es1-sq-1"}))
    assert found == [CheckOrphan(client_order_id="es1-sa-1"), CheckOrphan(client_order_id="es1-sz-1")]


def test_positions_of_others_are_left_alone_unless_the_operator_says_else() -> None:
    known = OurExternal(id=5, symbol="BTCUSDT", position_side="BOTH", direction=SHORT)
    books = LocalState(requests=(), orders=(), trades=(), external=(known,))
    seen = VenueState(open_orders={}, positions=(position(SHORT),), begun_at=BEGUN_AT)

    assert [type(action) for action in reconcile(books, seen, patience=PATIENCE, now=NOW)] == [ReportExternal]


@SIDES
def test_an_order_that_the_lists_had_forgotten_replaces_none_before_it_is_settled(
    direction: Direction, side: str
) -> None:
    ours = trade(direction, side)
    older = replace(ours.resting[0], order_id=99, quantity=D("0.001"))
    forgotten = replace(ours.resting[0], seen=False)
    uncovered = replace(ours, resting=(older, forgotten, ours.resting[1]))
    orders = placed(ours, number=99), placed(ours, number=100, sequence=2)

    found = compared(
        position(direction, side),
        trades=(uncovered,),
        orders=orders,
        open_orders=tuple(report_of(order) for order in orders),
    )
    assert found == [Cover(request_id=FIRST, missing=OrderPurpose.STOP)]
