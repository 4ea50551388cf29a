"""While the exchange takes no stop, one of our own holds the position: named everywhere, closed at the plan's price."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client

from execution.domain import policy as keys
from execution.domain.software_stop import BETWEEN_PROBES, GUARDED_WITHIN, LONGEST_PAUSE_BESIDE, WATCHED_WITHIN
from execution.models import Bracket, Heartbeat, Order, OutboxEvent
from execution.protection.coverage import coverage, uncovered_positions
from execution.protection.overdue_stops import note_marks
from execution.protection.software_stops import GUARD
from execution.queries.metrics import book_counts
from execution.queries.positions import held_positions
from execution.reconciliation.stop_watchdog import Guarded, close_reached, ensure_cover
from execution.risk.policy_store import set_policy_value
from tests.integration.test_refused_exits import SteppedClock
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
D = Decimal
BTC, ETH = "BTCUSDT", "ETHUSDT"
STOPS = {"buy": 49500.0, "sell": 50500.0}
PASSED = {"buy": "49400", "sell": "50600"}
AT = {"buy": "49500", "sell": "50500"}
BEFORE = {"buy": "49501", "sell": "50499"}
EXITS = {"buy": "SELL", "sell": "BUY"}
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
MODES = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A way in which the exchange takes no conditional order: a rule of its faults."""

    fault: dict[str, Any] = field(default_factory=dict)
    path: str = "algo-service"

    def begin(self, desk: Desk) -> None:
        desk.paper.add_fault(path=self.path, count=None, **self.fault)


DOWN = Outage(fault={"action": "reply", "preset": "unavailable_503"})
OUTAGES = {
    "refuses": DOWN,
    "answers that its outcome is unknown": Outage(fault={"action": "reply", "preset": "unknown_503"}),
    "answers of an internal error": Outage(fault={"action": "reply", "preset": "internal_503"}),
    "closes connections": Outage(fault={"action": "drop_before"}),
    "takes no more stops": Outage(path=ALGO_ORDER, fault={"action": "refuse", "code": -4045, "method": "POST"}),
    "takes none for the contract": Outage(path=ALGO_ORDER, fault={"action": "refuse", "code": -4120, "method": "POST"}),
    "knows no such type": Outage(path=ALGO_ORDER, fault={"action": "refuse", "code": -1116, "method": "POST"}),
    "says what nobody knows": Outage(path=ALGO_ORDER, fault={"action": "refuse", "code": -4999, "method": "POST"}),
}
EACH_OUTAGE = pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
# Refusals that are about this order or its position.
OF_THIS_STOP = pytest.mark.parametrize("code", [-2022, -4061, -4183, -2019])


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.clock = SteppedClock()
    return desk


@pytest.fixture
def policy(desk: Desk) -> Callable[[int], None]:
    """Let the operator say what becomes of a position without its stop."""

    def set_to(value: int) -> None:
        set_policy_value(keys.STOP_UNAVAILABLE, D(value), source="test", now=desk.clock())

    return set_to


def opened(desk: Desk, side: str, *, symbol: str = BTC, hedge: bool = False, **fields: Any) -> UUID:
    """Open a trade at market and let its steps run; the stop may be had or not."""
    if hedge:
        desk.person.change_position_mode(dualSidePosition="true")
    fields = {"stop_loss": STOPS[side]} | fields
    return desk.trade_opened(symbol, side=side, take_profit=None, **fields)


def lost(desk: Desk, side: str) -> UUID:
    """Open a trade with its stop, which somebody cancels when the service goes down."""
    request_id = opened(desk, side)
    desk.cycle()
    desk.person.sign_request("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": BTC})
    for stop in Order.objects.filter(request_id=request_id, purpose="STOP"):
        Order.objects.filter(pk=stop.pk).update(state="CANCELED")
    return request_id


def guard(desk: Desk) -> Guarded:
    """Let the protector run while the monitor works: it has seen the exchange a moment ago."""
    return ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(days=1))


def let_pass(desk: Desk, seconds: float, *, every: float = 2) -> None:
    """Let time pass with a run of the protector every two seconds."""
    while seconds > 0:
        desk.clock.let_pass(min(every, seconds))
        seconds -= every
        guard(desk)


def means(desk: Desk) -> list[str]:
    return [each.protected_by.value for each in coverage(desk.clock())]


def live_stops(desk: Desk) -> list[tuple[str, str]]:
    return [(row["symbol"], row["side"]) for row in desk.ledger.live_stops]


@SIDES
@MODES
@EACH_OUTAGE
def test_outage_at_the_entry_is_held_and_closed_at_the_plans_price(
    desk: Desk, side: str, outage: Outage, *, hedge: bool
) -> None:
    outage.begin(desk)
    request_id = opened(desk, side, hedge=hedge)

    # It should hold what it has opened, and say by what.
    assert (desk.ledger.live_stops, len(desk.ledger.held)) == ([], 1)
    assert means(desk) == ["software"]
    desk.paper.set_price(BTC, BEFORE[side])
    let_pass(desk, 4)
    assert (desk.trade(request_id).state, means(desk)) == ("OPEN", ["software"])

    # It should be out within the five seconds, by one close that only reduces.
    desk.paper.set_price(BTC, AT[side])
    let_pass(desk, 4)
    assert desk.ledger.held == {}
    closes = [row for row in desk.ledger.orders if row["clientOrderId"].startswith("es1-c")]
    assert [(row["side"], row["status"], row["reduceOnly"]) for row in closes] == [(EXITS[side], "FILLED", True)]
    desk.paper.clear_faults()
    desk.clock.let_pass(2)
    desk.cycle()
    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason) == ("CLOSED", "SL")
    assert means(desk) == []


@SIDES
@EACH_OUTAGE
def test_outage_while_a_stop_is_lost_is_held_too(desk: Desk, side: str, outage: Outage) -> None:
    request_id = lost(desk, side)
    outage.begin(desk)
    let_pass(desk, 2)
    assert (desk.trade(request_id).state, means(desk)) == ("OPEN", ["software"])

    desk.paper.set_price(BTC, PASSED[side])
    let_pass(desk, 4)
    assert desk.ledger.held == {}


@SIDES
@MODES
def test_the_exchanges_stop_takes_over_as_soon_as_it_is_taken(desk: Desk, side: str, *, hedge: bool) -> None:
    DOWN.begin(desk)
    request_id = opened(desk, side, hedge=hedge)
    let_pass(desk, 30)
    assert means(desk) == ["software"]
    asked = len(desk.ledger.sent("POST", ALGO_ORDER))
    let_pass(desk, 60)
    # It should ask every 15 seconds, each time with what is sent again because it is proven refused.
    assert 3 <= len(desk.ledger.sent("POST", ALGO_ORDER)) - asked <= 5 * 3
    desk.paper.clear_faults()
    let_pass(desk, LONGEST_PAUSE_BESIDE.total_seconds() + 2)

    assert means(desk) == ["venue"]
    assert live_stops(desk) == [(BTC, EXITS[side])]
    assert Bracket.objects.get(pk=request_id).software_since is None
    # It should end by that stop alone, and not pass flat.
    desk.paper.set_price(BTC, PASSED[side])
    let_pass(desk, 6)
    desk.cycle()
    assert desk.ledger.held == {}
    assert desk.order_states(request_id, "CLOSE") == []
    assert desk.trade(request_id).close_reason == "SL"
    desk.check()


def test_one_position_asks_for_all_and_one_that_is_taken_calls_the_others(desk: Desk) -> None:
    # A service that hangs costs each who asks a time-out.
    DOWN.begin(desk)
    first = opened(desk, "buy")
    second = opened(desk, "sell", symbol=ETH, stop_loss=None)
    let_pass(desk, 40)
    begun = desk.clock()
    let_pass(desk, 30)
    tries = Order.objects.filter(purpose="STOP", created_at__gt=begun).order_by("created_at")
    times = [order.created_at for order in tries]
    assert {order.request_id for order in tries} == {first, second}
    assert min(later - earlier for earlier, later in pairwise(times)) >= BETWEEN_PROBES
    desk.paper.clear_faults()
    for _ in range(12):
        let_pass(desk, 2)
        if means(desk) != ["software", "software"]:
            break
    # The other asks in the next run, or as soon as five seconds are over.
    let_pass(desk, 6)
    assert means(desk) == ["venue", "venue"]


@SIDES
def test_it_is_named_everywhere_while_it_lasts(desk: Desk, client: Client, side: str) -> None:
    request_id = opened(desk, side)
    desk.cycle()
    assert [each.cover.protected_by for each in held_positions(desk.clock())] == ["venue"]
    told = OutboxEvent.objects.filter(event_type="position.updated").latest("id").payload
    assert (told["protected"], told["protected_by"]) == (True, "venue")
    desk.person.sign_request("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": BTC})
    Order.objects.filter(request_id=request_id, purpose="STOP").update(state="CANCELED")
    DOWN.begin(desk)
    # Health judges ages by the real clock, of which this is not far ahead.
    let_pass(desk, 2)

    told = OutboxEvent.objects.filter(event_type="position.updated").latest("id").payload
    assert (told["protected"], told["protected_by"], told["has_tp_sl"]) == (False, "software", False)
    assert [each.cover.protected_by for each in held_positions(desk.clock())] == ["software"]
    cache.clear()
    counts = book_counts()
    assert counts.protected_by == {"venue": 0, "software": 1, "none": 0}
    assert (counts.unprotected, dict(counts.uncovered_since)) == (0, {})
    health = client.get("/health").json()
    assert health["status"] != "OK"
    [reason] = [each for each in health["reasons"] if each.startswith("positions:")]
    assert "PROTECTED_BY_SOFTWARE" in reason
    assert BTC in health["components"]["positions"]["details"]["protected_by_software"]
    steps = [step.to_state for step in desk.story(request_id)]
    assert steps.count("PROTECTED_BY_SOFTWARE") == 1


def aged_mark(desk: Desk, request_id: UUID) -> None:
    Bracket.objects.filter(pk=request_id).update(
        software_seen_at=desk.clock() - WATCHED_WITHIN - timedelta(seconds=1),
        software_since=desk.clock() - timedelta(hours=1),
    )


def aged_guard(desk: Desk, request_id: UUID) -> None:
    Bracket.objects.filter(pk=request_id).update(software_since=desk.clock() - timedelta(hours=1))
    Heartbeat.objects.filter(part=GUARD).update(at=desk.clock() - GUARDED_WITHIN - timedelta(seconds=1))


def no_guard(desk: Desk, request_id: UUID) -> None:
    Bracket.objects.filter(pk=request_id).update(software_since=desk.clock() - timedelta(hours=1))
    Heartbeat.objects.filter(part=GUARD).delete()


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (aged_mark, "unwatched: mark_price_age=6s"),
        (aged_guard, "unguarded: protector_age=11s"),
        (no_guard, "unguarded"),
    ],
)
def test_a_stop_that_nobody_watches_is_none(desk: Desk, fail: Callable[[Desk, UUID], None], said: str) -> None:
    DOWN.begin(desk)
    request_id = opened(desk, "buy")
    guard(desk)
    assert means(desk) == ["software"]
    fail(desk, request_id)

    assert means(desk) == ["none"]
    [found] = uncovered_positions(desk.clock())
    assert "POSITION_UNPROTECTED" in found.sentence
    assert said in found.sentence
    guard(desk)
    assert means(desk) == ["software"]


@SIDES
def test_one_that_was_reached_is_closed_although_the_price_comes_back(desk: Desk, side: str) -> None:
    DOWN.begin(desk)
    request_id = opened(desk, side)
    # The reader of mark prices notes it; the protector's own clock closes.
    note_marks({BTC: D(AT[side])}, now=desk.clock())
    assert means(desk) == ["none"]
    desk.paper.set_price(BTC, "50000")

    assert close_reached(desk.tools) == 1
    assert desk.ledger.held == {}
    assert [order.close_reason for order in Order.objects.filter(request_id=request_id, purpose="CLOSE")] == ["SL"]
    assert close_reached(desk.tools) == 1
    assert len(desk.order_states(request_id, "CLOSE")) == 1


@SIDES
@MODES
def test_a_close_without_an_answer_is_followed_and_never_past_flat(desk: Desk, side: str, *, hedge: bool) -> None:
    DOWN.begin(desk)
    opened(desk, side, hedge=hedge)
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after", match={"side": EXITS[side]})
    desk.paper.set_price(BTC, PASSED[side])
    let_pass(desk, 6)
    desk.paper.clear_faults()
    let_pass(desk, 10)

    assert desk.ledger.held == {}
    desk.cycle()
    desk.clock.let_pass(5)
    desk.cycle()
    desk.check()


@SIDES
@OF_THIS_STOP
def test_a_stop_that_is_refused_for_itself_is_closed_unless_policy_holds_it(desk: Desk, side: str, code: int) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=code, count=None)
    desk.run(desk.decide(side=side, stop_loss=STOPS[side]))
    assert desk.ledger.held == {}


@SIDES
@OF_THIS_STOP
def test_policy_two_holds_what_is_refused_for_itself(
    desk: Desk, side: str, code: int, policy: Callable[[int], None]
) -> None:
    policy(2)
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=code, count=None)
    opened(desk, side)
    assert (len(desk.ledger.held), means(desk)) == (1, ["software"])


@SIDES
@EACH_OUTAGE
def test_policy_zero_closes_as_before(desk: Desk, side: str, outage: Outage, policy: Callable[[int], None]) -> None:
    policy(0)
    outage.begin(desk)
    desk.run(desk.decide(side=side, stop_loss=STOPS[side]))
    let_pass(desk, 10)
    assert (desk.ledger.held, means(desk)) == ({}, [])


@SIDES
def test_policy_that_turns_to_closing_ends_what_is_held(desk: Desk, side: str, policy: Callable[[int], None]) -> None:
    DOWN.begin(desk)
    opened(desk, side)
    policy(0)
    let_pass(desk, LONGEST_PAUSE_BESIDE.total_seconds() + 4)
    assert desk.ledger.held == {}


@SIDES
def test_a_level_that_has_passed_is_closed_and_not_held(desk: Desk, side: str, policy: Callable[[int], None]) -> None:
    policy(2)
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, count=None)
    desk.run(desk.decide(side=side, stop_loss=STOPS[side]))
    assert desk.ledger.held == {}


@SIDES
def test_it_is_held_at_the_price_to_which_the_plan_has_moved(desk: Desk, side: str) -> None:
    DOWN.begin(desk)
    request_id = opened(desk, side)
    leg = Bracket.objects.get(pk=request_id).legs.get(purpose="STOP")
    moved = {"buy": D(49900), "sell": D(50100)}[side]
    type(leg).objects.filter(pk=leg.pk).update(price=moved)
    desk.paper.set_price(BTC, str(moved))
    let_pass(desk, 4)
    assert desk.ledger.held == {}


def test_another_process_goes_on_from_the_rows(desk: Desk) -> None:
    DOWN.begin(desk)
    opened(desk, "buy")
    successor = desk.another()
    desk.paper.set_price(BTC, PASSED["buy"])
    successor.clock.let_pass(2)
    guard(successor)
    assert desk.ledger.held == {}


def test_an_account_without_room_is_held_until_there_is_some(desk: Desk) -> None:
    desk.paper.control("POST", "settings", {"algo_limit": 0})
    opened(desk, "buy")
    assert means(desk) == ["software"]
    desk.paper.control("POST", "settings", {"algo_limit": None})
    let_pass(desk, LONGEST_PAUSE_BESIDE.total_seconds() + 2)
    assert (means(desk), len(desk.ledger.live_stops)) == (["venue"], 1)


def test_a_slip_is_no_outage(desk: Desk) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="reply", preset="unavailable_503", count=1)
    request_id = opened(desk, "buy")
    assert (means(desk), len(desk.ledger.live_stops)) == (["venue"], 1)
    assert "PROTECTED_BY_SOFTWARE" not in [step.to_state for step in desk.story(request_id)]


@SIDES
@pytest.mark.parametrize("held_before", [0, 1])
def test_after_calls_that_hung_once_the_exchange_is_asked_again_within_a_second(
    desk: Desk, side: str, held_before: int
) -> None:
    # Ahead of the machine, whose time goes on while calls hang.
    desk.clock = SteppedClock(ahead=timedelta(minutes=5))
    desk.protective_seconds, desk.max_unprotected = 0.6, timedelta(seconds=5)
    symbols = [BTC, "ETHUSDT"][: held_before + 1]
    for symbol in symbols:
        match = {"symbol": symbol, "type": "STOP_MARKET"}
        desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="hang", ms=20_000, match=match)
    for symbol in symbols:
        desk.run(desk.decide(symbol, side))
    assert means(desk) == ["software"] * len(symbols)

    # Not at once: what hung may have been no slip.
    assert guard(desk).look_again_in is not None
    desk.clock.let_pass(1)
    guard(desk)

    assert (means(desk), len(live_stops(desk))) == (["venue"] * len(symbols), len(symbols))
    assert len(desk.ledger.held) == len(symbols)
