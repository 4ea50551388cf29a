"""The protector: it covers what the books miss, leaves the rest alone, and stands in for a silent monitor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from execution.domain.outcomes import OrderReport
from execution.domain.ports import Lane
from execution.domain.states import OrderState, TradeState
from execution.domain.trading import Direction, OrderPurpose, OrderService
from execution.models import Heartbeat, Order, PositionSlot
from execution.orders.apply_report import apply_report
from execution.protection.reached_levels import note_reached_levels
from execution.reconciliation.stop_watchdog import Guarded, ensure_cover, lacking_stops
from execution.reconciliation.unfinished_entries import GRACE
from execution.store.heartbeats import beat
from execution.store.missing_stops import BOOKED_WITHIN
from tests.support import builders
from tests.support.builders import NOW
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
SILENT_AFTER = timedelta(seconds=22)
POSITIONS = "/fapi/v3/positionRisk"
FOUR_DAYS = 4 * 86400
D = Decimal
BOTH_SIDES = pytest.mark.parametrize("side", ["buy", "sell"])


def guard(desk: Desk) -> Guarded:
    return ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=SILENT_AFTER)


@BOTH_SIDES
def test_a_filled_entry_that_nobody_goes_on_with_gets_its_stop(desk: Desk, side: str) -> None:
    desk.cycle()
    desk.trade_opened("ETHUSDT", side)
    request_id = desk.decide(side=side)
    desk.run(request_id, until="place_order")
    desk.paper.clear_ledger()

    # It should leave the chain its second,
    assert guard(desk).went_to == 0
    desk.clock.let_pass(1.5)
    found = guard(desk)

    # then place it from the books alone.
    assert (found.went_to, found.failed, found.read_exchange) == (1, 0, False)
    # 2.5 % of 50000.1 below it, or of 49999.9 above, on the tick away from the entry.
    [stop] = desk.ledger.live("STOP_MARKET", "BTCUSDT")
    expected = ("SELL", "48750.00", "0.009") if side == "buy" else ("BUY", "51249.90", "0.010")
    assert (stop["side"], stop["triggerPrice"], stop["quantity"]) == expected
    assert desk.request(request_id).state == "PROTECTED"
    # Beside its own look at the positions.
    assert {row["path"] for row in desk.ledger.requests} == {ALGO_ORDER, POSITIONS}
    assert Heartbeat.objects.get(part="protector").healthy


def tell(desk: Desk) -> None:
    """Let both streams say that they tell of fills and mark prices."""
    for part in ("user_stream", "mark_stream"):
        beat(part, now=desk.clock(), healthy=True, details={})


@BOTH_SIDES
def test_covered_positions_cost_one_reading_of_positions(desk: Desk, side: str) -> None:
    desk.trade_opened(side=side)
    desk.trade_opened("ETHUSDT", side)
    desk.cycle()
    desk.clock.let_pass(5)
    desk.paper.clear_ledger()

    assert guard(desk) == Guarded(went_to=0, failed=0, read_exchange=False)
    assert [row["path"] for row in desk.ledger.requests] == [POSITIONS]
    desk.check()


# While both streams report, positions are read: not at all beside a monitor that works, every four seconds while it is
# silent, and in every run while the mark price is where a stop or target of ours executes. With how many of six runs.
SITUATIONS: Mapping[str, tuple[int, str, int]] = MappingProxyType(
    {
        "the monitor works": (0, "50000", 0),
        "the monitor is silent": (60, "50000", 3),
        "just before the stop": (0, "49000.1", 0),
        "at the stop": (0, "49000", 6),
        "beyond the stop": (0, "48900", 6),
        "just before the target": (0, "50999.9", 0),
        "at the target": (0, "51000", 6),
    }
)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("silent_for", "mark", "readings"), SITUATIONS.values(), ids=SITUATIONS.keys())
def test_how_often_positions_are_read_while_both_streams_report(
    desk: Desk, silent_for: float, mark: str, readings: int, side: str
) -> None:
    levels: dict[str, Any] = {"stop_loss": 49000, "take_profit": 51000}
    if side == "sell":
        levels, mark = {"stop_loss": 51000, "take_profit": 49000}, str(100_000 - Decimal(mark))
    desk.trade_opened(side=side, **levels)
    desk.cycle()
    desk.clock.stop()
    desk.clock.let_pass(silent_for)
    desk.paper.clear_ledger()

    for _ in range(6):
        desk.clock.let_pass(2)
        tell(desk)
        note_reached_levels({"BTCUSDT": Decimal(mark)}, now=desk.clock())
        guard(desk)

    paths = [row["path"] for row in desk.ledger.requests]
    assert paths.count(POSITIONS) - paths.count("/fapi/v1/openOrders") == readings


@pytest.mark.parametrize("silent", ["user_stream", "mark_stream"])
@pytest.mark.parametrize("how", ["old", "unhealthy"])
def test_while_one_stream_is_silent_they_are_read_in_every_run(desk: Desk, silent: str, how: str) -> None:
    desk.trade_opened()
    desk.cycle()
    desk.clock.stop()
    desk.paper.clear_ledger()

    for _ in range(3):
        desk.clock.let_pass(2)
        tell(desk)
        ago = timedelta(seconds=6 if how == "old" else 0)
        beat(silent, now=desk.clock() - ago, healthy=how != "unhealthy", details={})
        guard(desk)

    assert [row["path"] for row in desk.ledger.requests] == [POSITIONS] * 3


def test_without_positions_nothing_is_read(desk: Desk) -> None:
    desk.cycle()
    desk.paper.clear_ledger()
    guard(desk)
    assert desk.ledger.requests == []


@BOTH_SIDES
@pytest.mark.parametrize("by", ["TP", "SL", "MANUAL"])
def test_legs_are_gone_with_the_position_although_nobody_tells_of_its_end(desk: Desk, side: str, by: str) -> None:
    """No stream and no monitor cycle: the protector's own reading shows that the position is gone."""
    request_id = desk.trade_opened(side=side, stop_loss=49000.0 if side == "buy" else 51000.0)
    desk.cycle()
    sign = 1 if side == "buy" else -1
    if by == "MANUAL":
        desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0"})
    else:
        desk.paper.set_price("BTCUSDT", str(50000 + sign * (4000 if by == "TP" else -1500)))
    assert desk.ledger.positions == {}
    desk.clock.let_pass(2)
    guard(desk)

    assert desk.ledger.live() == []
    assert (desk.trade(request_id).state, desk.trade(request_id).close_reason) == ("CLOSED", by)
    assert not PositionSlot.objects.exists()
    desk.check()


@BOTH_SIDES
def test_it_finds_a_vanished_stop_itself_when_the_monitor_is_silent(desk: Desk, side: str) -> None:
    request_id, other = desk.trade_opened(side=side), desk.trade_opened("ETHUSDT", side)
    desk.cycle()
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    desk.clock.let_pass(10)

    # The monitor would find it in its next cycle: not the protector's work.
    assert (guard(desk).went_to, desk.ledger.live("STOP_MARKET", "BTCUSDT")) == (0, [])

    desk.clock.let_pass(15)
    assert guard(desk).read_exchange
    assert desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"]
    # The other position should have kept its only stop.
    assert desk.order_states(other, "STOP") == ["ACCEPTED"]
    desk.check()


@BOTH_SIDES
def test_a_stop_that_vanished_after_the_retention_is_replaced_two_seconds_after_it_was_missed(
    desk: Desk, side: str
) -> None:
    request_id, other = desk.trade_opened(side=side), desk.trade_opened("ETHUSDT", side)
    desk.paper.control("POST", "clock", {"advance_ms": FOUR_DAYS * 1000})
    desk.clock.let_pass(FOUR_DAYS)
    desk.cycle()
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})

    # An order of four days that was cancelled is shown nowhere: one reading proves nothing.
    desk.cycle()
    assert desk.order_states(request_id, "STOP") == ["ACCEPTED"]
    desk.clock.let_pass(1.5)
    assert (guard(desk).went_to, desk.ledger.live("STOP_MARKET", "BTCUSDT")) == (0, [])

    # It should ask again before the next cycle, and replace the stop at once.
    desk.clock.let_pass(1)
    assert guard(desk).went_to == 1
    [again] = desk.ledger.live("STOP_MARKET", "BTCUSDT")
    assert (again["triggerPrice"], again["quantity"]) == (f"{stop.trigger_price:.2f}", f"{stop.quantity:.3f}")
    assert desk.order_states(other, "STOP") == ["ACCEPTED"]
    assert guard(desk).went_to == 0
    desk.check()


def test_a_stop_that_one_reading_missed_and_the_next_shows_stays(desk: Desk) -> None:
    request_id = desk.trade_opened()
    Order.objects.filter(request=request_id, purpose="STOP").update(
        missing_readings=1, missing_since=NOW, last_evidence_at=NOW
    )
    desk.clock.let_pass(2.5)

    assert guard(desk).went_to == 0
    stop = desk.order(request_id, "STOP")
    assert (stop.state, stop.missing_readings, desk.order_states(request_id, "STOP")) == ("ACCEPTED", 0, ["ACCEPTED"])
    desk.check()


# Who lacks a stop, by our books


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A trade of 0.004 of which 0.001 is out, and its stops; `naked`: the protector has to go there."""

    name: str
    naked: bool
    stops: tuple[dict[str, Any], ...] = ()
    trade: dict[str, Any] = field(default_factory=dict)
    updated_ago: float = 5.0


def stop_of(quantity: str = "0.003", **columns: Any) -> dict[str, Any]:
    return {"quantity": D(quantity), "state": OrderState.ACCEPTED} | columns


LACKS = [
    Lack(name="no stop", naked=True),
    Lack(name="covered", naked=False, stops=(stop_of(),)),
    Lack(name="covered by two", naked=False, stops=(stop_of("0.001"), stop_of("0.002"))),
    Lack(name="a step too small", naked=True, stops=(stop_of("0.002"),)),
    # What a stop has executed it covers no more.
    Lack(name="partly executed", naked=True, stops=(stop_of("0.003", executed_quantity=D("0.001")),)),
    Lack(name="executed and still enough", naked=False, stops=(stop_of("0.004", executed_quantity=D("0.001")),)),
    Lack(name="triggered", naked=False, stops=(stop_of(state=OrderState.TRIGGERED),)),
    Lack(name="cancelled", naked=True, stops=(stop_of(state=OrderState.CANCELED),)),
    Lack(name="on its way", naked=True, stops=(stop_of(state=OrderState.SUBMITTING),)),
    Lack(name="forgotten twice", naked=True, stops=(stop_of(missing_readings=2),)),
    Lack(name="forgotten once", naked=False, stops=(stop_of(missing_readings=1),)),
    # A target closes as much, and protects nothing.
    Lack(name="target only", naked=True, stops=(stop_of(purpose=OrderPurpose.TARGET),)),
    Lack(
        name="closed",
        naked=False,
        trade={"state": TradeState.CLOSED, "exit_price": D(1), "exit_at": NOW} | {"net_pnl": 0},
    ),
    Lack(name="reduced", naked=True, trade={"state": TradeState.REDUCED}),
    Lack(name="within its grace", naked=False, updated_ago=0.9),
    Lack(name="at the end of its grace", naked=True, updated_ago=1.0),
]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("lack", LACKS, ids=lambda each: each.name)
def test_the_books_say_which_positions_lack_a_stop(lack: Lack, direction: Direction) -> None:
    stop = D(49000) if direction is Direction.LONG else D(51000)
    owner = builders.approved(direction=direction, quantity=D("0.004"), stop_price=stop, moved_at=NOW)
    builders.bracket(owner)
    updated = {"updated_at": NOW - timedelta(seconds=lack.updated_ago)}
    trade = builders.trade(owner, exited_quantity=D("0.001"), **(updated | lack.trade))
    for number, columns in enumerate(lack.stops, start=1):
        builders.order(owner, **({"purpose": OrderPurpose.STOP, "sequence": number} | columns))
    # Another position in full cover, whose stop is none of the first one's.
    covered = builders.approved(symbol="ETHUSDT", direction=direction, moved_at=NOW)
    builders.bracket(covered)
    builders.trade(covered, updated_at=NOW - timedelta(seconds=60))
    builders.order(covered, purpose=OrderPurpose.STOP, quantity=D("0.010"))

    assert lacking_stops(before=NOW - GRACE) == ([trade.pk] if lack.naked else [])


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(
    ("state", "filled", "evidence_ago", "stop", "naked"),
    [
        ("FILLED", "0.004", 5, False, True),
        ("FILLED", "0.004", 1.0, False, True),
        ("FILLED", "0.004", 0.9, False, False),
        # The chain has got as far as its stop: the rest is the monitor's.
        ("PROTECTED", "0.004", 5, True, False),
        ("ACCEPTED", "0.001", 5, False, True),
        ("ACCEPTED", "0.001", 1.0, False, True),
        ("ACCEPTED", "0.001", 0.9, False, False),
        # What its end makes of the fill is the chain's and the monitor's.
        ("CANCELED", "0.001", 5, False, False),
        ("ACCEPTED", "0.001", 5, True, False),
        ("ACCEPTED", "0", 5, False, False),
    ],
)
def test_the_books_say_which_entries_have_filled_without_a_stop(
    direction: Direction, state: str, filled: str, evidence_ago: float, *, stop: bool, naked: bool
) -> None:
    at = NOW - timedelta(seconds=evidence_ago)
    owner = builders.approved(direction=direction, quantity=D("0.004"), state=state, moved_at=at)
    builders.bracket(owner)
    builders.order(
        owner, state=OrderState.PARTIALLY_FILLED, executed_quantity=D(filled), last_evidence_at=at, quantity=D("0.004")
    )
    if stop:
        builders.order(owner, purpose=OrderPurpose.STOP)
    # Another one's fill is no fill of this entry, and another one's stop no cover of it.
    other = builders.approved(symbol="ETHUSDT", state="PROTECTED", moved_at=NOW)
    builders.order(other, last_evidence_at=at)
    builders.order(other, purpose=OrderPurpose.STOP)

    assert lacking_stops(before=NOW - GRACE) == ([owner.pk] if naked else [])


@BOTH_SIDES
@pytest.mark.parametrize("purpose", ["STOP", "TARGET"])
def test_exit_that_has_executed_and_is_booked_a_moment_later_wants_no_stop(desk: Desk, purpose: str, side: str) -> None:
    up, down = {"buy": ("TARGET", "STOP"), "sell": ("STOP", "TARGET")}[side]
    names = {"STOP": "stop_loss", "TARGET": "take_profit"}
    levels: dict[str, Any] = {names[up]: 51000, names[down]: 49000}
    request_id = desk.trade_opened(side=side, **levels)
    desk.clock.let_pass(60)
    desk.paper.set_price("BTCUSDT", "51100" if purpose == up else "48900")
    leg = desk.order(request_id, purpose)
    found = desk.exchange.look_up("BTCUSDT", leg.client_order_id, OrderService.ALGO)
    assert isinstance(found, OrderReport)
    apply_report(leg, found, now=desk.clock(), source="stream")

    # The exit shows its fill, and the trade does not yet.
    assert (leg.state, desk.trade(request_id).exited_quantity) == ("FILLED", 0)
    assert lacking_stops(before=desk.clock() - GRACE) == []
    # What the books still lack after that is looked at.
    desk.clock.let_pass((BOOKED_WITHIN + GRACE).total_seconds())
    short = [request_id] if purpose == "STOP" else []
    assert lacking_stops(before=desk.clock() - GRACE) == short


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(
    ("executed", "booked", "stop", "short"),
    [
        ("0.004", "0", "0.006", False),
        ("0.004", "0", "0.005", True),
        ("0.004", "0.004", "0.006", False),
        ("0.004", "0.004", "0.005", True),
        ("0.004", "0.001", "0.006", False),
        ("0.004", "0.001", "0.005", True),
    ],
)
def test_what_a_target_has_executed_is_not_left(
    direction: Direction, executed: str, booked: str, stop: str, *, short: bool
) -> None:
    owner = builders.approved(direction=direction, quantity=D("0.010"), state="RECORDED")
    builders.bracket(owner)
    trade = builders.trade(owner, exited_quantity=D(booked), updated_at=NOW - timedelta(seconds=60))
    target = builders.order(
        owner, purpose=OrderPurpose.TARGET, quantity=D("0.005"), executed_quantity=D(executed), last_evidence_at=NOW
    )
    if D(booked):
        builders.fill(
            trade, order=target, quantity=D(booked), price=D(52000), realized_pnl=D(8), filled_at=NOW, entry=False
        )
    builders.order(owner, purpose=OrderPurpose.STOP, quantity=D(stop))

    assert lacking_stops(before=NOW - GRACE) == ([trade.pk] if short else [])


def test_it_finds_a_fill_that_nobody_noted_when_the_monitor_is_silent(desk: Desk) -> None:
    desk.cycle()
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": "0.010"})
    desk.clock.let_pass(25)

    guard(desk)

    assert [stop["quantity"] for stop in desk.ledger.live_stops] == ["0.010"]


def test_it_does_not_use_up_the_limit_with_readings(desk: Desk) -> None:
    desk.trade_opened()
    desk.clock.let_pass(60)

    assert guard(desk).read_exchange
    desk.clock.let_pass(2)
    assert not guard(desk).read_exchange
    desk.clock.let_pass(4)
    assert guard(desk).read_exchange


def test_its_readings_go_before_those_that_can_wait(desk: Desk) -> None:
    desk.trade_opened()
    desk.clock.let_pass(60)
    before = desk.limiter.state().granted

    assert guard(desk).read_exchange

    granted = {lane: count - before[lane] for lane, count in desk.limiter.state().granted.items()}
    # Its own look at the positions, and the monitor's three.
    assert granted == {Lane.PROTECT: 0, Lane.CLOSE: 4, Lane.ENTRY: 0, Lane.READ: 0}


def test_an_exchange_that_does_not_answer_is_said(desk: Desk) -> None:
    desk.trade_opened()
    desk.clock.let_pass(60)
    desk.paper.add_fault(path="/fapi/v3/positionRisk", action="refuse", status=503, code=-1008, count=9)

    assert not guard(desk).read_exchange
    beat = Heartbeat.objects.get(part="protector")
    assert (beat.healthy, "-1008" in beat.details["error"]) == (False, True)


@pytest.mark.django_db(transaction=True)
def test_protector_monitor_and_chain_at_once_place_one_stop(desk: Desk) -> None:
    desk.cycle()
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    desk.clock.let_pass(5)
    second, third = desk.another(), desk.another()
    jobs: list[Callable[[], object]] = [lambda: guard(desk), second.cycle, lambda: third.run(request_id)]

    at_once(jobs)

    assert Order.objects.filter(request_id=request_id, purpose="STOP").count() == 1
    assert len(desk.ledger.sent("POST", ALGO_ORDER)) == 2
    desk.check()
