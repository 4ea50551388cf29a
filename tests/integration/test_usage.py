"""What of the limits is used, counted by the one statement: every figure exact, long and short, beside other trades.

Rows are written directly, so that each condition has one row on either side of it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from execution.domain import policy as keys
from execution.domain.limits import LimitUsage
from execution.domain.policy import Policy
from execution.domain.states import ORDER_FINAL, OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, PositionSide
from execution.models import ExecutionRequest, PositionSlot, Trade
from execution.risk.limit_usage import usage_for
from execution.store.slots import conditional_orders, lock_usage, take_slot
from tests.support import builders
from tests.support.builders import NOW
from tests.support.risk_rules import IDLE

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
BOTH = PositionSide.BOTH
pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
POLICY = Policy(values={keys.LOOK_ALIKE_WINDOW: D(30), keys.STOP_OUT_PAUSE: D(600)}, version=1)


def asking(**columns: Any) -> ExecutionRequest:
    """The entry that asks: BTCUSDT, long, 100 USD; it is at the guard."""
    return builders.request(**({"state": RequestState.CLEARED, "received_at": NOW - timedelta(days=2)} | columns))


def used(owner: ExecutionRequest | None = None, side: PositionSide = BOTH, now: datetime = NOW) -> LimitUsage:
    return usage_for(owner or asking(), side, POLICY, now=now)


def claimed(**columns: Any) -> ExecutionRequest:
    """Another entry that was approved long ago and has its claim."""
    defaults = {"symbol": "ETHUSDT", "approved_at": NOW - timedelta(days=1), "received_at": NOW - timedelta(days=1)}
    owner = builders.approved(**(defaults | columns))
    PositionSlot.objects.create(
        symbol=owner.symbol, position_side=owner.position_side, request=owner, claimed_at=owner.received_at
    )
    return owner


def held(owner: ExecutionRequest, **columns: Any) -> Trade:
    """The open trade of a claim, with its entry filled."""
    builders.order(owner)
    return builders.trade(owner, **columns)


def closed(result: str, *, ago: timedelta, **columns: Any) -> Trade:
    """A trade that was closed some time ago with this net result, in dollars."""
    owner = builders.approved(symbol=columns.pop("symbol", "ETHUSDT"), received_at=NOW - timedelta(days=3))
    figures: dict[str, Any] = {
        "exit_at": NOW - ago,
        "net_pnl": D(result),
        "exited_quantity": D("0.002"),
        "quantity": D("0.002"),
    }
    return builders.closed_trade(owner, **(figures | columns))


def test_nothing_is_used_when_nothing_is_there() -> None:
    assert used() == IDLE


@pytest.mark.parametrize(("direction", "stop"), [(LONG, "1900"), (SHORT, "2100")], ids=["long below", "short above"])
def test_an_approved_entry_uses_what_it_was_approved_with(direction: Direction, stop: str) -> None:
    claimed(direction=direction, quantity=D("0.5"), reference_price=D(2000), stop_price=D(stop))

    # It should count 0.5 at 2000, and 0.5 times the distance to the stop on either side
    found = used()
    assert (found.positions, found.exposure, found.open_risk) == (1, D(1000), D(50))
    # It should be nothing in another symbol
    assert (found.symbol_exposure, found.held_by, found.unsettled, found.unpriced) == (D(0), "", "", "")


@pytest.mark.parametrize("stop", [None, D(0)])
def test_without_a_stop_all_of_the_notional_is_at_risk(stop: Decimal | None) -> None:
    claimed(direction=SHORT, quantity=D("0.5"), reference_price=D(2000), stop_price=stop)

    assert (used().exposure, used().open_risk) == (D(1000), D(1000))


@pytest.mark.parametrize(
    "columns",
    [{"quantity": None}, {"reference_price": None, "stop_price": None}, {"quantity": None, "stop_price": None}],
)
def test_an_entry_without_numbers_uses_a_place_and_no_amount(columns: dict[str, Any]) -> None:
    claimed(**({"quantity": D("0.5"), "reference_price": D(2000), "stop_price": D(1900)} | columns))

    assert (used().positions, used().exposure, used().open_risk) == (1, D(0), D(0))
    # It should not be taken for one that no index prices
    assert used().unpriced == ""


@pytest.mark.parametrize(
    ("direction", "stop", "risk"), [(LONG, "1900", "33"), (SHORT, "2150", "42")], ids=["long", "short"]
)
def test_a_trade_uses_what_it_has_open_at_its_entry_price(direction: Direction, stop: str, risk: str) -> None:
    owner = claimed(
        direction=direction, quantity=D("0.5"), reference_price=D(1900), stop_price=D(stop), quote_index=D(1)
    )
    price = D(2010)
    held(owner, quantity=D("0.4"), exited_quantity=D("0.1"), entry_price=price, stop_price=D(1), state="REDUCED")

    # It should count the 0.3 that are open, at 2010, and to the stop that was approved
    assert (used().exposure, used().open_risk) == (D(603), D(risk))


@pytest.mark.parametrize("state", sorted(OrderState))
def test_an_entry_that_may_fill_further_uses_all_that_was_approved(state: OrderState) -> None:
    owner = claimed(quantity=D("0.5"), reference_price=D(1900), stop_price=D(1900))
    builders.order(owner, state=state, executed_quantity=D("0.2"))
    builders.trade(owner, quantity=D("0.2"), exited_quantity=D("0.05"), entry_price=D(2000))

    # It should count the whole approval less what was closed, until the entry is over
    open_quantity = D("0.15") if state in ORDER_FINAL else D("0.45")
    assert (used().exposure, used().open_risk) == (open_quantity * 2000, open_quantity * 100)


def test_a_live_exit_does_not_make_an_entry_unfinished() -> None:
    owner = claimed(quantity=D("0.5"), stop_price=D(1900))
    held(owner, quantity=D("0.2"), entry_price=D(2000))
    builders.order(owner, purpose=OrderPurpose.STOP, state=OrderState.ACCEPTED)

    assert used().exposure == D(400)


def test_an_entry_of_another_claim_does_not_make_this_one_unfinished() -> None:
    first = claimed(quantity=D("0.5"), stop_price=D(1900))
    held(first, quantity=D("0.2"), entry_price=D(2000))
    second = claimed(symbol="SOLUSDT", quantity=D(1), reference_price=D(100), stop_price=D(90))
    builders.order(second, state=OrderState.ACCEPTED)

    found = used()
    assert (found.positions, found.exposure, found.open_risk) == (2, D(500), D(30))


def test_amounts_are_in_dollars_at_the_index_of_the_approval() -> None:
    claimed(quantity=D("0.5"), reference_price=D(2000), stop_price=D(1900), quote_index=D("0.9"))
    claimed(
        symbol="BTCUSDT",
        direction=SHORT,
        quantity=D("0.01"),
        reference_price=D(50000),
        stop_price=D(52000),
        position_side=PositionSide.SHORT,
    )

    found = used()
    assert (found.positions, found.exposure, found.symbol_exposure, found.open_risk) == (2, D(1400), D(500), D(65))


def test_two_sides_of_a_symbol_add_up_and_hold_only_their_own() -> None:
    long = claimed(symbol="BTCUSDT", position_side=PositionSide.LONG, quantity=D("0.01"), stop_price=D(49000))
    short = claimed(
        symbol="BTCUSDT", position_side=PositionSide.SHORT, direction=SHORT, quantity=D("0.02"), stop_price=D(51000)
    )
    owner = asking()

    assert used(owner).symbol_exposure == D(1500)
    assert used(owner, PositionSide.LONG).held_by == str(long.pk)
    assert used(owner, PositionSide.SHORT).held_by == str(short.pk)
    assert used(owner, BOTH).held_by == ""
    # It should not be held by another symbol's position of the same side
    other = asking(symbol="ETHUSDT")
    assert (used(other, PositionSide.LONG).held_by, used(other).symbol_exposure) == ("", D(0))


@pytest.mark.parametrize("state", [RequestState.UNKNOWN, RequestState.SUBMITTING, RequestState.RECORDED])
def test_an_unknown_outcome_in_the_symbol_is_named(state: RequestState) -> None:
    unknown = claimed(symbol="BTCUSDT", state=state, position_side=PositionSide.SHORT, direction=SHORT)

    # It should name an unknown one, whatever its side, and no other
    assert used().unsettled == (str(unknown.pk) if state is RequestState.UNKNOWN else "")
    assert used(asking(symbol="ETHUSDT")).unsettled == ""


def test_who_has_a_claim_counts_those_before_it_only() -> None:
    claimed(symbol="ETHUSDT", quantity=D(1), reference_price=D(100), stop_price=D(90))
    own = claimed(symbol="SOLUSDT", quantity=D(1), reference_price=D(1000), stop_price=D(900))
    claimed(symbol="BNBUSDT", quantity=D(1), reference_price=D(10000), stop_price=D(9000))

    found = used(own)
    assert (found.positions, found.exposure, found.open_risk, found.held_by) == (1, D(100), D(10), "")
    # It should count all three for one without a claim
    assert (used().positions, used().exposure) == (3, D(11100))


@pytest.mark.parametrize(
    ("ago", "counted"),
    [(timedelta(0), 1), (timedelta(seconds=59.999), 1), (MINUTE, 0), (timedelta(seconds=61), 0), (timedelta(1), 0)],
)
def test_entries_of_the_last_minute_are_counted(ago: timedelta, counted: int) -> None:
    builders.approved(symbol="ETHUSDT", direction=SHORT, approved_at=NOW - ago)
    builders.approved(symbol="SOLUSDT", approved_at=NOW - timedelta(hours=1))

    assert used().entries_last_minute == counted


@pytest.mark.parametrize("state", sorted(RequestState))
def test_what_was_stopped_before_sending_is_no_entry_of_the_minute(state: RequestState) -> None:
    builders.approved(state=state, approved_at=NOW - timedelta(seconds=5), notional_usd=D(100))

    stopped = state in {RequestState.DENIED, RequestState.EXPIRED}
    assert used().entries_last_minute == (0 if stopped else 1)
    # It should not be a look-alike either
    assert used().look_alike_age == (None if stopped else D(5))


def test_who_is_approved_counts_the_approvals_before_its_own() -> None:
    own = builders.approved(approved_at=NOW - timedelta(seconds=20))
    for seconds in (30, 40, 50, 20, 10, 5):
        builders.approved(symbol="ETHUSDT", approved_at=NOW - timedelta(seconds=seconds))

    assert used(own).entries_last_minute == 3
    # It should be counted itself by one that is not approved
    assert used().entries_last_minute == 7


LOOK_ALIKES: tuple[tuple[dict[str, Any], Decimal | None], ...] = (
    ({}, D(10)),
    ({"approved_at": NOW - timedelta(seconds=29.5)}, D("29.5")),
    ({"approved_at": NOW - timedelta(seconds=30)}, None),
    ({"approved_at": NOW - timedelta(seconds=400)}, None),
    ({"symbol": "ETHUSDT"}, None),
    ({"direction": SHORT}, None),
    ({"notional_usd": D("100.01")}, None),
    ({"notional_usd": None, "base_quantity_asked": D(100)}, None),
    ({"base_quantity_asked": D("0.002")}, None),
    ({"size_measure": "RISK_USD", "size_amount": D(100)}, None),
)


@pytest.mark.parametrize(("columns", "age"), LOOK_ALIKES)
def test_a_look_alike_is_of_the_same_symbol_side_and_size(columns: dict[str, Any], age: Decimal | None) -> None:
    builders.approved(**({"approved_at": NOW - timedelta(seconds=10)} | columns))

    assert used().look_alike_age == age


def test_a_look_alike_of_a_base_quantity_has_the_same_quantity() -> None:
    size = {"notional_usd": None, "base_quantity_asked": D("0.002"), "direction": SHORT}
    builders.approved(**size, approved_at=NOW - timedelta(seconds=20))
    builders.approved(**size, approved_at=NOW - timedelta(seconds=8))

    # One that moved since, and was approved ahead of our clock, is none.
    builders.approved(**size, approved_at=NOW + timedelta(hours=1), moved_at=NOW)
    # It should give the age of the last
    assert used(asking(**size)).look_alike_age == D(8)
    assert used(asking(**size | {"base_quantity_asked": D("0.003")})).look_alike_age is None
    assert used(asking(**size | {"direction": LONG})).look_alike_age is None


def test_an_entry_does_not_look_like_itself() -> None:
    own = builders.approved(approved_at=NOW - timedelta(seconds=10))

    assert (used(own).look_alike_age, used(own).entries_last_minute) == (None, 0)


@pytest.mark.parametrize(
    ("columns", "age"),
    [
        ({"close_reason": "SL"}, D(60)),
        ({"close_reason": "LIQUIDATION"}, D(60)),
        ({"close_reason": "LIQUIDATION", "direction": SHORT}, D(60)),
        ({"close_reason": "SL", "direction": SHORT}, D(60)),
        ({"close_reason": "TP"}, None),
        ({"close_reason": "MANUAL"}, None),
        ({"close_reason": "SL", "symbol": "ETHUSDT"}, None),
        ({"close_reason": "SL", "ago": timedelta(seconds=599)}, D(599)),
        ({"close_reason": "SL", "ago": timedelta(seconds=600)}, None),
        ({"close_reason": "SL", "ago": timedelta(seconds=601)}, None),
        # Only a closed trade was stopped out.
        ({"close_reason": "SL", "state": TradeState.REDUCED}, None),
    ],
)
def test_a_symbol_pauses_after_its_stop_or_liquidation(columns: dict[str, Any], age: Decimal | None) -> None:
    figures: dict[str, Any] = {"ago": MINUTE, "symbol": "BTCUSDT"}
    closed("-5", **(figures | columns))

    assert used().stopped_out_age == age


@pytest.mark.parametrize(("ahead", "age"), [(60, D(0)), (61, None)])
def test_a_stop_a_little_ahead_of_our_clock_has_no_age_yet(ahead: int, age: Decimal | None) -> None:
    closed("-5", ago=timedelta(seconds=-ahead), symbol="BTCUSDT", close_reason="SL")

    assert used().stopped_out_age == age


def test_the_last_stop_counts() -> None:
    for seconds in (300, 90, 200):
        closed("-5", ago=timedelta(seconds=seconds), symbol="BTCUSDT", close_reason="SL")

    assert used().stopped_out_age == D(90)


def test_the_days_result_is_the_sum_of_its_closed_trades() -> None:
    # 09:30: nine and a half hours of the day, midnight itself included.
    closed("-100", ago=timedelta(hours=9, minutes=30, microseconds=1))
    closed("-7", ago=timedelta(hours=9, minutes=30))
    closed("3", ago=timedelta(hours=3), direction=SHORT)
    closed("-2", ago=timedelta(0))
    # An open trade has no result yet, whatever its row says.
    builders.trade(builders.approved(symbol="SOLUSDT"), exit_at=NOW, net_pnl=D(50), net_pnl_usd=D(50))

    assert (used().day_result, used().day_peak) == (D(-6), D(0))
    # It should begin anew at midnight
    assert used(now=NOW + timedelta(hours=14, minutes=30)).day_result == D(0)


def test_the_days_peak_is_the_best_that_the_running_sum_has_been() -> None:
    # Written in another order than they were closed in: the sum runs 10, 4, 12, 5.
    for result, hours in (("-7", 1), ("10", 4), ("8", 2), ("-6", 3)):
        closed(result, ago=timedelta(hours=hours))

    assert (used().day_result, used().day_peak) == (D(5), D(12))


def test_trades_closed_at_once_are_counted_one_after_the_other() -> None:
    for result in ("10", "-4", "-1"):
        closed(result, ago=MINUTE)

    found = used()
    rows = Trade.objects.order_by("id").values_list("net_pnl_usd", flat=True)
    running = [sum(rows[: number + 1], D(0)) for number in range(3)]
    assert (found.day_result, found.day_peak) == (D(5), max([*running, D(0)]))


def test_results_are_in_dollars_less_what_is_assumed_of_the_unvalued() -> None:
    closed("10", ago=MINUTE, quote_index=D("0.5"), assumed_cost=D(3))
    closed("4", ago=2 * MINUTE, assumed_cost=D("0.25"))

    # It should take 10 at 0.5 less 3 at 0.5, and 4 less 0.25
    assert (used().day_result, used().day_peak) == (D("7.25"), D("7.25"))


def test_open_losses_count_and_open_gains_do_not() -> None:
    builders.position(symbol="BTCUSDT", unrealized_pnl=D(-8), quote_index=D("0.5"))
    builders.position(symbol="ETHUSDT", unrealized_pnl=D(30), direction=SHORT)
    builders.position(symbol="SOLUSDT", unrealized_pnl=D(-3), direction=SHORT)

    assert used().open_loss == D(-7)


def test_what_no_index_prices_is_named_once_each_and_counted_nowhere() -> None:
    claimed(symbol="DOTBTX", quote_index=None, quantity=D(1), reference_price=D(10), stop_price=D(9))
    claimed(symbol="ETHBTX", quote_index=None, quantity=D(1), reference_price=D(10), stop_price=D(9))
    claimed(symbol="SOLUSDT", quantity=D(1), reference_price=D(10), stop_price=D(9))
    builders.position(symbol="ETHBTX", quote_index=None, unrealized_pnl=D(-5))
    builders.position(symbol="ADABTX", quote_index=None, unrealized_pnl=D(-5))
    closed("-5", ago=MINUTE, symbol="XRPBTX", quote_index=None)
    closed("-5", ago=timedelta(days=1), symbol="TRXBTX", quote_index=None)

    found = used()
    assert found.unpriced == "ADABTX,DOTBTX,ETHBTX,XRPBTX"
    assert (found.positions, found.exposure, found.open_risk) == (3, D(10), D(1))
    assert (found.day_result, found.day_peak, found.open_loss) == (D(0), D(0), D(0))
    # It should go on counting what has a price, and not name that
    closed("-4", ago=MINUTE, symbol="BNBUSDT")
    builders.position(symbol="LTCUSDT", unrealized_pnl=D(-3))
    found = used()
    assert (found.unpriced, found.day_result, found.open_loss) == ("ADABTX,DOTBTX,ETHBTX,XRPBTX", D(-4), D(-3))


def test_a_claim_is_taken_once_for_a_symbol_and_side() -> None:
    first, second, other = asking(), asking(), asking(symbol="ETHUSDT")

    assert take_slot(first, BOTH, now=NOW)
    # It should refuse its repetition, and another in the same symbol and side
    assert not take_slot(first, BOTH, now=NOW)
    assert not take_slot(second, BOTH, now=NOW)
    # It should give the other side and the other symbol
    assert take_slot(second, PositionSide.SHORT, now=NOW)
    assert take_slot(other, BOTH, now=NOW)
    rows = PositionSlot.objects.order_by("id").values_list("symbol", "position_side", "request_id", "claimed_at")
    assert list(rows) == [
        ("BTCUSDT", "BOTH", first.pk, NOW),
        ("BTCUSDT", "SHORT", second.pk, NOW),
        ("ETHUSDT", "BOTH", other.pk, NOW),
    ]


@pytest.fixture
def planned() -> Callable[..., ExecutionRequest]:
    """An approved entry with its claim and its plan of a stop and a target."""

    def make(symbol: str) -> ExecutionRequest:
        owner = claimed(symbol=symbol, stop_price=D(49000))
        builders.bracket(owner)
        return owner

    return make


def test_conditional_orders_are_those_that_rest_and_those_that_will(planned: Callable[..., ExecutionRequest]) -> None:
    assert conditional_orders() == 0
    planned("BTCUSDT")
    # It should count the two legs of an entry that has none yet
    assert conditional_orders() == 2
    second = planned("ETHUSDT")
    builders.order(second)
    assert conditional_orders() == 4
    # It should count the orders themselves from the first on
    builders.order(second, purpose=OrderPurpose.STOP)
    assert conditional_orders() == 3
    builders.order(second, purpose=OrderPurpose.TARGET)
    builders.order(second, purpose=OrderPurpose.STOP, sequence=2)
    assert conditional_orders() == 5


def test_ended_orders_and_plans_without_a_claim_take_no_room(planned: Callable[..., ExecutionRequest]) -> None:
    owner = planned("BTCUSDT")
    for number, state in enumerate(sorted(OrderState), start=1):
        builders.order(owner, purpose=OrderPurpose.STOP, sequence=number, state=state)

    assert conditional_orders() == len(OrderState) - len(ORDER_FINAL)
    ended = planned("ETHUSDT")
    assert conditional_orders() == len(OrderState) - len(ORDER_FINAL) + 2
    PositionSlot.objects.filter(request=ended).delete()
    assert conditional_orders() == len(OrderState) - len(ORDER_FINAL)


def test_counting_holds_one_lock_for_all_until_the_transaction_ends() -> None:
    held = """
        SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted
          AND mode = 'ExclusiveLock' AND pid = pg_backend_pid()
    """

    def locks() -> int:
        with connection.cursor() as cursor:
            # "exec": every version of the service that runs beside another has to wait for the same one.
            cursor.execute(held, [0x65786563])
            return int(cursor.fetchone()[0])

    assert locks() == 0
    lock_usage()
    assert locks() == 1


# A trade of 0.5 at an entry of 2,000, planned to lose 100 a piece, in a quote asset of 0.5 USD: 25 USD as planned.
@pytest.mark.parametrize(
    ("direction", "planned", "now", "risk"),
    [
        (LONG, 1900, 1700, "75"),
        (SHORT, 2100, 2300, "75"),
        (LONG, 1900, 1950, "12.5"),
        (SHORT, 2100, 2050, "12.5"),
        # At the entry or beyond it: nothing is lost, and nothing won before it is there.
        (LONG, 1900, 2000, "0"),
        (LONG, 1900, 2300, "0"),
        (SHORT, 2100, 1700, "0"),
    ],
)
def test_a_stop_that_has_moved_counts_at_its_new_place(direction: Direction, planned: int, now: int, risk: str) -> None:
    owner = claimed(direction=direction, quantity=D("0.5"), stop_price=D(planned), quote_index=D("0.5"))
    held(owner, quantity=D("0.5"), entry_price=D(2000), direction=direction)
    builders.bracket(owner).legs.filter(purpose=OrderPurpose.STOP).update(price=D(now))
    # Beside it: another trade, whose stop and target are far away and not this one's.
    other = claimed(symbol="SOLUSDT", quantity=D(1), stop_price=D(99), direction=LONG)
    held(other, quantity=D(1), entry_price=D(100), direction=LONG)
    builders.bracket(other)

    assert used().open_risk == D(risk) + 1


RESTING = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED, OrderState.TRIGGERED)


@pytest.mark.parametrize("state", sorted(OrderState))
@pytest.mark.parametrize(
    ("direction", "planned", "order", "loses"),
    [
        (LONG, 1990, 1900, 50),
        (SHORT, 2010, 2100, 50),
        # The plan is looser than what waits.
        (LONG, 1900, 1990, 50),
        (SHORT, 2100, 2010, 50),
        (LONG, 2100, 1990, 5),
        (SHORT, 1900, 2010, 5),
    ],
)
def test_a_stop_that_moves_counts_where_it_loses_more(
    direction: Direction, planned: int, order: int, loses: int, state: OrderState
) -> None:
    owner = claimed(direction=direction, quantity=D("0.5"), stop_price=D(planned))
    held(owner, quantity=D("0.5"), entry_price=D(2000), direction=direction)
    builders.bracket(owner)
    builders.order(owner, purpose=OrderPurpose.STOP, state=state, trigger_price=D(order))

    alone = max((2000 - planned) * direction.sign, 0) / 2
    assert used().open_risk == (D(loses) if state in RESTING else D(alone))


def test_only_a_stop_of_its_own_counts_for_a_trade() -> None:
    owner = claimed(quantity=D("0.5"), stop_price=D(1990), direction=LONG)
    held(owner, quantity=D("0.5"), entry_price=D(2000), direction=LONG)
    builders.bracket(owner)
    for purpose in (OrderPurpose.TARGET, OrderPurpose.TRAILING):
        builders.order(owner, purpose=purpose, state=OrderState.ACCEPTED, trigger_price=D(1000))
    other = claimed(symbol="SOLUSDT", quantity=D(1), stop_price=D(99), direction=LONG)
    held(other, quantity=D(1), entry_price=D(100), direction=LONG)
    builders.bracket(other)
    builders.order(other, purpose=OrderPurpose.STOP, state=OrderState.ACCEPTED, trigger_price=D(98))

    assert used().open_risk == 5 + 2


@pytest.mark.parametrize("stop", [None, D(0)])
@pytest.mark.parametrize("direction", [LONG, SHORT])
def test_a_trade_without_any_stop_may_lose_all_of_its_price(direction: Direction, stop: Decimal | None) -> None:
    owner = claimed(direction=direction, quantity=D("0.5"), stop_price=stop)
    held(owner, quantity=D("0.5"), entry_price=D(2000), direction=direction)

    assert used().open_risk == 1000


def test_a_target_is_no_stop() -> None:
    owner = claimed(quantity=D("0.5"), stop_price=D(1900), direction=LONG)
    held(owner, quantity=D("0.5"), entry_price=D(2000), direction=LONG)
    builders.bracket(owner).legs.filter(purpose=OrderPurpose.TARGET).update(price=D(1000))

    assert used().open_risk == 50


def test_a_move_counts_what_was_approved_after_it_and_not_itself() -> None:
    own = claimed(quantity=D("0.5"), stop_price=D(1900), direction=LONG)
    held(own, quantity=D("0.5"), entry_price=D(2000), direction=LONG)
    later = claimed(symbol="SOLUSDT", quantity=D(1), stop_price=D(93), direction=LONG)
    held(later, quantity=D(1), entry_price=D(100), direction=LONG)

    assert usage_for(own, BOTH, POLICY, now=NOW).open_risk == 0
    assert usage_for(own, BOTH, POLICY, now=NOW, later_too=True).open_risk == 7


def test_a_request_that_was_approved_meanwhile_is_not_counted_against_itself() -> None:
    own = builders.approved(approved_at=NOW - timedelta(seconds=5))
    own.approved_at = None

    assert (used(own).entries_last_minute, used(own).look_alike_age) == (0, None)
