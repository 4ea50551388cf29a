"""What the limits count, row by row and by hand: long and short, several trades, prices that differ, time that passes.

The statement of `execution/risk/limit_usage.py` is asked alone, so that each figure is exact and each edge of a window
can be put to the microsecond. That the guard obeys these figures is shown in `test_money_rules.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain import policy as keys
from execution.domain.limits import LimitUsage
from execution.domain.policy import Policy
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL, OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, PositionSide
from execution.models import BracketLeg, ExecutionRequest, PositionSlot, Trade
from execution.risk.limit_usage import usage_for
from execution.store.slots import conditional_orders, take_slot
from tests.support import builders
from tests.support.builders import NOW
from tests.support.risk_rules import IDLE

pytestmark = pytest.mark.django_db
D = Decimal
BTC, ETH, SOL = "BTCUSDT", "ETHUSDT", "SOLUSDT"
BOTH_DIRECTIONS = pytest.mark.parametrize("direction", list(Direction))
TICK = timedelta(microseconds=1)
MIDNIGHT = NOW.replace(hour=0, minute=0)


def usage(
    request: ExecutionRequest | None = None,
    *,
    side: PositionSide = PositionSide.BOTH,
    now: datetime = NOW,
    windows: Mapping[str, int] | None = None,
) -> LimitUsage:
    """Count for a request, or for a fresh one in BTCUSDT."""
    policy = Policy(values={key: D(value) for key, value in (windows or {}).items()}, version=1)
    return usage_for(request or asking(), side, policy, now=now)


def asking(**columns: Any) -> ExecutionRequest:
    """An entry that has not been approved yet."""
    return builders.request(**({"state": RequestState.CLEARED} | columns))


def claim(owner: ExecutionRequest) -> ExecutionRequest:
    assert take_slot(owner, PositionSide(owner.position_side), now=NOW)
    return owner


# Exposure and risk of what is open or opening


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A request with its claim, at 50000 with a stop 1000 away, and what it should count for; long and short."""

    name: str
    notional: str
    risk: Mapping[Direction, str]
    request: Mapping[str, Any] = field(default_factory=dict)
    trade: Mapping[str, Any] | None = None
    entry: OrderState | None = None
    stop_away: str | None = "1000"

    def stored(self, direction: Direction, symbol: str = BTC) -> ExecutionRequest:
        away = self.stop_away
        stop = None if away is None else D(50000) - direction.sign * D(away)
        columns = {"symbol": symbol, "direction": direction, "stop_price": stop, **self.request}
        owner = claim(builders.approved(**columns))
        if self.trade is not None:
            builders.trade(owner, **self.trade)
        if self.entry:
            builders.order(owner, state=self.entry)
        return owner


def risk(long: str, short: str) -> Mapping[Direction, str]:
    return {Direction.LONG: long, Direction.SHORT: short}


# Entries that filled at 50100, 100 above what the guard saw: a long's stop is then 1100 away, and a short's 900.
WORSE = {"entry_price": D(50100)}
HOLDINGS = [
    # 0.002 x 50000, and 0.002 x 1000.
    Holding(name="approved", notional="100", risk=risk("2", "2")),
    # 0.002 x 50100, and 0.002 x 1100 or 900: the entry's real price counts, not what the guard saw.
    Holding(name="open", notional="100.2", risk=risk("2.2", "1.8"), trade=WORSE),
    # 0.004 less 0.001 that is out: 0.003 x 50100, and 0.003 x 1100 or 900.
    Holding(
        name="reduced",
        notional="150.3",
        risk=risk("3.3", "2.7"),
        trade=WORSE | {"quantity": D("0.004"), "exited_quantity": D("0.001"), "state": TradeState.REDUCED},
    ),
    # It may still fill to 0.010: less 0.001 that is out 0.009 x 50100, and 0.009 x 1100 or 900.
    Holding(
        name="still filling",
        notional="450.9",
        risk=risk("9.9", "8.1"),
        request={"quantity": D("0.010")},
        trade=WORSE | {"quantity": D("0.004"), "exited_quantity": D("0.001")},
        entry=OrderState.PARTIALLY_FILLED,
    ),
    # All of it may be lost: 0.002 x 50000.
    Holding(name="without a stop", notional="100", risk=risk("100", "100"), stop_away=None),
    Holding(name="stop at zero", notional="100", risk=risk("100", "100"), request={"stop_price": D(0)}),
    # The price of a stop that has passed the entry is still at a distance from it: 0.002 x 500.
    Holding(name="stop beyond the entry", notional="100", risk=risk("1", "1"), stop_away="-500"),
    # In another quote asset, worth half a dollar.
    Holding(name="other quote asset", notional="50", risk=risk("1", "1"), request={"quote_index": D("0.5")}),
    Holding(
        name="open in another quote asset",
        notional="50.1",
        risk=risk("1.1", "0.9"),
        request={"quote_index": D("0.5")},
        # The trade's own index is of its margin; what was approved was counted at the request's.
        trade=WORSE | {"quote_index": D("0.25")},
    ),
]


@BOTH_DIRECTIONS
@pytest.mark.parametrize("holding", HOLDINGS, ids=lambda each: each.name)
def test_one_holding_counts_for_its_open_part_and_the_distance_of_its_stop(
    holding: Holding, direction: Direction
) -> None:
    owner = holding.stored(direction)

    found = usage()

    assert (found.positions, found.exposure, found.symbol_exposure, found.open_risk, found.unpriced) == (
        1,
        D(holding.notional),
        D(holding.notional),
        D(holding.risk[direction]),
        "",
    )
    assert found.held_by == str(owner.pk)


@BOTH_DIRECTIONS
@pytest.mark.parametrize("state", list(OrderState))
def test_the_whole_of_an_entry_counts_until_its_order_has_ended(state: OrderState, direction: Direction) -> None:
    stop = D(50000 - 1000 * direction.sign)
    owner = claim(builders.approved(direction=direction, quantity=D("0.010"), stop_price=stop))
    trade = builders.trade(owner, quantity=D("0.004"), entry_price=D(50000))
    builders.order(owner, state=state)
    # Neither its resting stop nor another request's resting entry is an entry of this trade.
    builders.order(owner, purpose=OrderPurpose.STOP, state=OrderState.ACCEPTED)
    builders.order(builders.approved(symbol=ETH), state=OrderState.ACCEPTED)

    # 0.004 or 0.010 at 50000, with a stop 1000 away.
    quantity = trade.quantity if state in ORDER_FINAL else D("0.010")
    assert (usage().exposure, usage().open_risk) == (quantity * 50000, quantity * 1000)


def test_holdings_of_both_directions_add_up_and_none_frees_room_for_another() -> None:
    symbols = iter(f"{name}USDT" for name in "ABCDEFGHIJKLMNOPQRSTUVW")
    for holding in HOLDINGS:
        for direction in Direction:
            holding.stored(direction, next(symbols))

    found = usage(asking(symbol="BUSDT"))

    # Twice 100 + 100.2 + 150.3 + 450.9 + 100 + 100 + 100 + 50 + 50.1; longs' and shorts' risks from the table above.
    longs = D("2") + D("2.2") + D("3.3") + D("9.9") + D("100") + D("100") + D("1") + D("1") + D("1.1")
    shorts = D("2") + D("1.8") + D("2.7") + D("8.1") + D("100") + D("100") + D("1") + D("1") + D("0.9")
    assert (found.positions, found.exposure, found.open_risk) == (18, D("2403"), longs + shorts)
    # The short of the table's first row.
    assert found.symbol_exposure == 100


@BOTH_DIRECTIONS
def test_what_no_index_has_priced_is_named_and_in_no_sum(direction: Direction) -> None:
    claim(builders.approved(symbol="ETHBTC", direction=direction, quote_index=None))
    claim(builders.approved(symbol=SOL, direction=direction))
    builders.position(symbol="ADABTC", direction=direction, quote_index=None, unrealized_pnl=D(-7))
    builders.closed_trade(builders.approved(symbol="XRPBTC", quote_index=None), exit_at=MIDNIGHT, net_pnl=D(-9))
    # Of yesterday: the limits have done with it.
    yesterday = builders.approved(symbol="DOTBTC", quote_index=None)
    builders.closed_trade(yesterday, exit_at=MIDNIGHT - TICK, net_pnl=D(-9))

    found = usage()

    assert found.unpriced == "ADABTC,ETHBTC,XRPBTC"
    assert [found.positions, found.exposure, found.open_risk] == [2, 100, 2]
    assert [found.day_result, found.day_peak, found.open_loss] == [0, 0, 0]


def test_a_holding_without_claim_counts_for_nothing() -> None:
    builders.trade(builders.approved())

    assert usage() == IDLE


# Who counts whom


def test_each_entry_counts_those_that_claimed_before_it() -> None:
    first, second, third = (claim(builders.approved(symbol=name)) for name in (BTC, ETH, SOL))

    assert [usage(each).positions for each in (first, second, third)] == [0, 1, 2]
    assert [usage(each).exposure for each in (first, second, third)] == [0, 100, 200]
    # It should count all of them when it has no claim yet.
    assert [usage().positions, usage().exposure] == [3, 300]


@BOTH_DIRECTIONS
def test_a_side_is_claimed_once_and_by_one_request(direction: Direction) -> None:
    first, second = (builders.approved(direction=direction) for _ in range(2))

    assert [take_slot(each, PositionSide.BOTH, now=NOW) for each in (first, first, second)] == [True, False, False]
    # Nor may one request hold two sides.
    assert not take_slot(first, PositionSide.SHORT, now=NOW)
    assert PositionSlot.objects.get().request_id == first.pk


@pytest.mark.parametrize(
    ("symbol", "side", "held"),
    [
        (BTC, PositionSide.LONG, True),
        (BTC, PositionSide.SHORT, False),
        (ETH, PositionSide.LONG, False),
        (ETH, PositionSide.SHORT, True),
        (SOL, PositionSide.LONG, False),
    ],
)
def test_a_side_is_held_by_its_own_trade_alone(symbol: str, side: PositionSide, held: bool) -> None:  # noqa: FBT001
    owners = {
        BTC: claim(builders.approved(position_side=PositionSide.LONG)),
        ETH: claim(builders.approved(symbol=ETH, direction=Direction.SHORT, position_side=PositionSide.SHORT)),
    }

    found = usage(asking(symbol=symbol), side=side)

    assert found.held_by == (str(owners[symbol].pk) if held else "")


@pytest.mark.parametrize("state", sorted(RequestState))
def test_an_entry_of_unknown_outcome_holds_up_both_sides_of_its_symbol(state: RequestState) -> None:
    owner = claim(builders.approved(position_side=PositionSide.LONG, state=state))
    expected = str(owner.pk) if state is RequestState.UNKNOWN else ""

    for side in (PositionSide.LONG, PositionSide.SHORT):
        assert usage(side=side).unsettled == expected
    assert usage(asking(symbol=ETH)).unsettled == ""


# The day


@dataclass(frozen=True, kw_only=True)
class Closed:
    """One closed trade: its net result in USD, what was assumed beside it, and how long after midnight it closed."""

    net: str
    after: timedelta = timedelta(hours=1)
    assumed: str = "0"
    index: str = "1"
    number: int = 0
    state: TradeState = TradeState.CLOSED

    def stored(self, direction: Direction, symbol: str = ETH) -> Trade:
        named: dict[str, Any] = {"id": UUID(int=self.number)} if self.number else {}
        owner = builders.approved(symbol=symbol, direction=direction, quote_index=D(self.index), **named)
        return builders.closed_trade(
            owner,
            state=self.state,
            exit_at=MIDNIGHT + self.after,
            # In the quote asset: only the figures in USD are to be summed.
            net_pnl=D(self.net) / D(self.index),
            net_pnl_usd=D(self.net),
            assumed_cost=D(self.assumed),
        )


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


@BOTH_DIRECTIONS
@pytest.mark.parametrize(
    ("closed", "result", "peak"),
    [
        ([], "0", "0"),
        ([Closed(net="-5")], "-5", "0"),
        ([Closed(net="5")], "5", "5"),
        # Exactly at midnight is today, a microsecond before is not.
        ([Closed(net="-5", after=timedelta(0)), Closed(net="-7", after=-TICK)], "-5", "0"),
        ([Closed(net="-5"), Closed(net="-7", after=hours(-24))], "-5", "0"),
        # 10, then 10 - 4, then 10 - 4 + 3: the best was 10. Stored in another order than closed.
        ([Closed(net="3", after=hours(3)), Closed(net="10"), Closed(net="-4", after=hours(2))], "9", "10"),
        # -4, 6, 9: the best is the last.
        ([Closed(net="10", after=hours(2)), Closed(net="-4"), Closed(net="3", after=hours(3))], "9", "9"),
        # -4, -14: never above midnight.
        ([Closed(net="-10", after=hours(2)), Closed(net="-4")], "-14", "0"),
        # At the same moment, in the order of their ids: 10, then 6.
        ([Closed(net="-4", number=2), Closed(net="10", number=1)], "6", "10"),
        # Two that nobody could value in full, one in an asset worth half a dollar: 5 - 2 x 0.5, then 3 - 1 more.
        ([Closed(net="5", assumed="2", index="0.5"), Closed(net="3", assumed="1", after=hours(2))], "6", "6"),
        # A trade that is open again, because its entry grew after its close, is not over.
        ([Closed(net="-5"), Closed(net="-7", state=TradeState.REDUCED, after=hours(2))], "-5", "0"),
    ],
)
def test_the_day_sums_what_closed_since_midnight_and_remembers_its_best(
    closed: list[Closed], result: str, peak: str, direction: Direction
) -> None:
    for number, each in enumerate(closed):
        each.stored(direction, f"{number}USDT")

    found = usage()

    assert (found.day_result, found.day_peak) == (D(result), D(peak))


def test_the_day_is_of_the_clock_that_is_asked() -> None:
    Closed(net="-5", after=hours(1)).stored(Direction.SHORT)

    assert [usage(now=MIDNIGHT + hours(each)).day_result for each in (1, 23.99)] == [-5, -5]
    assert usage(now=MIDNIGHT + hours(24)).day_result == 0


@pytest.mark.parametrize(
    ("results", "loss"),
    [
        ([], "0"),
        # A gain offsets no loss, and a short's loss is a loss.
        ([("LONG", "5", "1"), ("SHORT", "-7", "0.5"), ("LONG", "-2", "1")], "-5.5"),
        ([("SHORT", "5", "1"), ("LONG", "3", "1")], "0"),
    ],
)
def test_open_losses_are_of_the_losing_positions(results: list[tuple[str, str, str]], loss: str) -> None:
    for number, (direction, result, index) in enumerate(results):
        builders.position(symbol=f"{number}USDT", direction=direction, unrealized_pnl=D(result), quote_index=D(index))

    assert usage().open_loss == D(loss)


# Windows


@BOTH_DIRECTIONS
@pytest.mark.parametrize(
    ("ages", "count"),
    [
        ([], 0),
        ([timedelta(0)], 1),
        ([timedelta(seconds=60) - TICK], 1),
        # It should stop counting when the minute is over.
        ([timedelta(seconds=60)], 0),
        ([timedelta(hours=1)], 0),
        ([timedelta(seconds=1), timedelta(seconds=59), timedelta(seconds=61)], 2),
        # It should not count for an hour what was approved under a clock that has been set back since.
        ([-timedelta(seconds=60)], 1),
        ([-timedelta(seconds=60) - TICK], 0),
        ([-timedelta(hours=1)], 0),
    ],
)
def test_entries_of_the_last_minute_are_those_approved_in_it(
    ages: list[timedelta], count: int, direction: Direction
) -> None:
    for age in ages:
        builders.approved(direction=direction, approved_at=NOW - age)
    builders.approved(approved_at=None)

    assert usage().entries_last_minute == count


@pytest.mark.parametrize("state", sorted(RequestState))
def test_only_what_was_stopped_before_sending_is_no_entry(state: RequestState) -> None:
    builders.approved(state=state, approved_at=NOW - timedelta(seconds=1))

    stopped = state in {RequestState.DENIED, RequestState.EXPIRED}
    assert usage().entries_last_minute == (0 if stopped else 1)
    assert (usage(windows={keys.LOOK_ALIKE_WINDOW: 30}).look_alike_age is None) == stopped


def test_an_approved_entry_counts_the_approvals_before_its_own() -> None:
    moments = [NOW - timedelta(seconds=each) for each in (3, 2, 2, 1)]
    rows = [builders.approved(approved_at=at, symbol=f"{place}USDT") for place, at in enumerate(moments)]

    assert [usage(row).entries_last_minute for row in rows] == [0, 1, 1, 3]


def test_entries_a_minute_fall_as_time_passes() -> None:
    for seconds in (0, 20, 40):
        builders.approved(approved_at=NOW + timedelta(seconds=seconds))

    counts = [usage(now=NOW + timedelta(seconds=at)).entries_last_minute for at in (40, 59, 60, 79, 80, 99, 100)]
    assert counts == [3, 3, 2, 2, 1, 1, 0]


WINDOW = {keys.LOOK_ALIKE_WINDOW: 30}


@pytest.mark.parametrize(
    ("columns", "age"),
    [
        ({}, "5"),
        ({"symbol": ETH}, None),
        ({"direction": Direction.SHORT}, None),
        ({"notional_usd": D("100.01")}, None),
        ({"notional_usd": None, "base_quantity_asked": D("0.002")}, None),
        ({"base_quantity_asked": D("0.002")}, None),
        ({"approved_at": None}, None),
        ({"approved_at": NOW - timedelta(seconds=30) + TICK}, "29.999999"),
        ({"approved_at": NOW - timedelta(seconds=30)}, None),
    ],
)
def test_a_look_alike_is_of_the_same_symbol_side_and_size_within_the_window(
    columns: dict[str, Any], age: str | None
) -> None:
    builders.approved(**({"approved_at": NOW - timedelta(seconds=5)} | columns))

    assert usage(windows=WINDOW).look_alike_age == (None if age is None else D(age))
    # Without a window nothing is a look-alike.
    assert usage().look_alike_age is None


@pytest.mark.parametrize(("quantity", "age"), [("0.002", "5"), ("0.003", None)])
def test_look_alikes_by_base_quantity(quantity: str, age: str | None) -> None:
    size = {"notional_usd": None, "direction": Direction.SHORT}
    builders.approved(approved_at=NOW - timedelta(seconds=5), base_quantity_asked=D("0.002"), **size)

    request = asking(base_quantity_asked=D(quantity), **size)
    assert usage(request, windows=WINDOW).look_alike_age == (None if age is None else D(age))


def test_the_newest_look_alike_counts_and_the_entry_itself_is_none() -> None:
    for seconds in (20, 4, 12):
        builders.approved(approved_at=NOW - timedelta(seconds=seconds))
    own = builders.approved(approved_at=NOW - timedelta(seconds=1))

    assert usage(own, windows=WINDOW).look_alike_age == 4


PAUSE = {keys.STOP_OUT_PAUSE: 300}


def ended(reason: str, ago: timedelta, direction: Direction, symbol: str = BTC) -> None:
    owner = builders.approved(symbol=symbol, direction=direction)
    builders.closed_trade(owner, close_reason=reason, exit_at=NOW - ago)


@BOTH_DIRECTIONS
@pytest.mark.parametrize("reason", sorted(CloseReason))
def test_a_symbol_pauses_after_a_stop_and_after_a_liquidation(reason: CloseReason, direction: Direction) -> None:
    ended(reason, timedelta(seconds=7), direction)

    pauses = reason in {CloseReason.SL, CloseReason.LIQUIDATION}
    assert usage(windows=PAUSE).stopped_out_age == (7 if pauses else None)
    # Neither without a pause, nor in another symbol.
    assert usage().stopped_out_age is None
    assert usage(asking(symbol=ETH), windows=PAUSE).stopped_out_age is None


@BOTH_DIRECTIONS
def test_the_pause_counts_from_the_newest_stop_and_ends(direction: Direction) -> None:
    for seconds in (250, 100, 200):
        ended("SL", timedelta(seconds=seconds), direction)
    # Neither a gain nor another symbol's stop is nearer.
    ended("TP", timedelta(seconds=10), direction)
    ended("SL", timedelta(seconds=20), direction, ETH)

    at = [usage(windows=PAUSE, now=NOW + timedelta(seconds=each)).stopped_out_age for each in (0, 199, 200)]
    assert at == [100, 299, None]


@BOTH_DIRECTIONS
@pytest.mark.parametrize("reason", [CloseReason.SL, CloseReason.LIQUIDATION])
@pytest.mark.parametrize("ahead", [timedelta(seconds=61), timedelta(hours=1), timedelta(days=3650)])
def test_an_exit_that_is_stamped_ahead_pauses_from_its_booking_and_no_longer(
    reason: CloseReason, direction: Direction, ahead: timedelta
) -> None:
    owner = builders.approved(direction=direction)
    builders.closed_trade(owner, close_reason=reason, exit_at=NOW + ahead, updated_at=NOW - timedelta(seconds=7))

    moments = (NOW, NOW + timedelta(seconds=292), NOW + timedelta(seconds=293), NOW + ahead)
    assert [usage(windows=PAUSE, now=now).stopped_out_age for now in moments[:3]] == [7, 299, None]
    # Neither does it pause once more when its stamp has come.
    assert ahead < timedelta(seconds=293) or usage(windows=PAUSE, now=moments[3]).stopped_out_age is None


@BOTH_DIRECTIONS
def test_an_exit_that_all_its_stamps_set_ahead_pauses_nothing(direction: Direction) -> None:
    owner = builders.approved(direction=direction)
    years = NOW + timedelta(days=3650)
    builders.closed_trade(owner, close_reason="SL", exit_at=years, updated_at=years)

    assert usage(windows=PAUSE).stopped_out_age is None


@BOTH_DIRECTIONS
@pytest.mark.parametrize(("ahead", "age"), [(60, 0), (1, 0), (0, 0), (-1, 1)])
def test_an_exit_a_little_ahead_has_no_age_yet(ahead: int, age: int, direction: Direction) -> None:
    """The exchange's clock and ours differ; a pause is never longer than its length for that."""
    owner, exit_at = builders.approved(direction=direction), NOW + timedelta(seconds=ahead)
    builders.closed_trade(owner, close_reason="SL", exit_at=exit_at, updated_at=max(NOW, exit_at))

    assert usage(windows=PAUSE).stopped_out_age == age


def test_an_approval_that_is_stamped_ahead_is_no_look_alike() -> None:
    builders.approved(notional_usd=D(500), approved_at=NOW + timedelta(hours=1), moved_at=NOW)
    alike = asking(notional_usd=D(500))
    assert usage(alike, windows=WINDOW).look_alike_age is None

    builders.approved(notional_usd=D(500), approved_at=NOW + timedelta(seconds=30))
    assert usage(alike, windows=WINDOW).look_alike_age == 0


def test_a_trade_that_is_open_again_pauses_nothing() -> None:
    owner = builders.approved()
    builders.closed_trade(owner, state=TradeState.REDUCED, close_reason="SL", exit_at=NOW - timedelta(seconds=7))

    assert usage(windows=PAUSE).stopped_out_age is None


# Room for conditional orders


@BOTH_DIRECTIONS
@pytest.mark.parametrize("state", list(OrderState))
def test_conditional_orders_count_until_they_have_ended(state: OrderState, direction: Direction) -> None:
    owner = claim(builders.approved(direction=direction))
    builders.bracket(owner)
    builders.order(owner, purpose=OrderPurpose.STOP, state=state)
    # An entry is no conditional order.
    builders.order(owner, state=OrderState.ACCEPTED)

    assert conditional_orders() == (0 if state in ORDER_FINAL else 1)


def test_the_legs_of_claimed_entries_without_orders_take_their_room() -> None:
    first, second = (builders.approved(symbol=symbol) for symbol in (BTC, ETH))
    for owner in (first, second):
        builders.bracket(owner)
    assert (BracketLeg.objects.count(), conditional_orders()) == (4, 0)

    claim(first)
    # Its entry is no conditional order: the legs are still to come.
    builders.order(first)
    assert conditional_orders() == 2
    claim(second)
    assert conditional_orders() == 4

    # Once one of its orders has been written, its orders are counted and not its legs.
    builders.order(first, purpose=OrderPurpose.STOP)
    assert conditional_orders() == 3
    PositionSlot.objects.all().delete()
    assert conditional_orders() == 1
