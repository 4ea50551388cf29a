"""Repairs side by side: no stop waits for another position's answers, and what fails for one is done for the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from execution.domain.ports import Exchange
from execution.models import Order
from execution.reconciliation.cycle import CycleResult, run_cycle, swept_by_beat
from execution.reconciliation.repair import Tools
from execution.reconciliation.stop_watchdog import ensure_cover
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db(transaction=True)
# Shorter than the receive window, and far longer than the other positions' stops take.
DELAY_MS = 2500
# Limit, stop and quantity of an entry that rests below the price.
ENTRIES = {
    "BTCUSDT": ("49500", "49000", "0.010"),
    "ETHUSDT": ("2475", "2450", "0.200"),
    "SOLUSDT": ("148", "147", "3.00"),
}


def with_spares(desk: Desk) -> Tools:
    """Return tools that work on several positions at a time, as those of the tasks do."""

    @contextmanager
    def spare() -> Iterator[Exchange]:
        yield desk.another().exchange

    return replace(desk.tools(), spare=spare)


def cycle(desk: Desk, *, by_beat: bool = False) -> CycleResult:
    result = run_cycle(with_spares(desk), desk.mirror, patience=PATIENCE, by_beat=by_beat)
    assert result is not None
    return result


def filled_unheard(desk: Desk) -> dict[str, UUID]:
    """Let entries rest in three symbols and fill, with nobody told; the oldest first."""
    desk.cycle()
    requests = {}
    for symbol, (limit, stop, quantity) in ENTRIES.items():
        requests[symbol] = desk.signal(symbol, price=limit, stop_loss=stop, quantity=quantity)
        assert desk.run(requests[symbol]) == "ACCEPTED"
        entry = desk.order(requests[symbol], "ENTRY").client_order_id
        desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": quantity})
    desk.clock.let_pass(3)
    desk.paper.clear_ledger()
    return requests


def test_no_stop_waits_for_the_answer_about_another(desk: Desk) -> None:
    requests = filled_unheard(desk)
    slow, *others = requests
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="delay", ms=DELAY_MS, count=1, match={"symbol": slow})

    assert cycle(desk).failed == 0

    # It should have placed the first one last, though its entry is the oldest.
    placed = [row["symbol"] for row in desk.ledger.algo_orders if row["orderType"] == "STOP_MARKET"]
    assert (sorted(placed[:2]), placed[2:]) == (sorted(others), [slow])
    assert {desk.request(request_id).state for request_id in requests.values()} == {"RECORDED"}
    desk.check()


def test_every_stop_stands_before_the_first_target(desk: Desk) -> None:
    filled_unheard(desk)

    cycle(desk)

    kinds = [order["type"] for order in desk.ledger.sent("POST", ALGO_ORDER)]
    assert kinds == ["STOP_MARKET"] * 3 + ["TAKE_PROFIT_MARKET"] * 3


def test_a_position_that_cannot_be_asked_about_keeps_no_other_from_its_stop(desk: Desk) -> None:
    requests = filled_unheard(desk)
    mute, *others = requests
    for path in (ORDER, "/fapi/v1/allOrders"):
        desk.paper.add_fault(path=path, method="GET", action="refuse", status=503, code=-1008, match={"symbol": mute})

    failed = cycle(desk).failed
    covered = {stop["symbol"] for stop in desk.ledger.live_stops}
    cycle(desk)

    assert (failed, covered) == (1, set(others))
    assert {stop["symbol"] for stop in desk.ledger.live_stops} == set(requests)


def test_the_protector_covers_side_by_side_too(desk: Desk) -> None:
    desk.cycle()
    requests = {symbol: desk.decide(symbol) for symbol in ENTRIES}
    for request_id in requests.values():
        desk.run(request_id, until="place_order")
    desk.clock.let_pass(5)
    slow, *others = requests
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="delay", ms=DELAY_MS, count=1, match={"symbol": slow})

    found = ensure_cover(with_spares(desk), patience=PATIENCE, monitor_silent_after=timedelta(hours=1))

    placed = [row["symbol"] for row in desk.ledger.algo_orders if row["orderType"] == "STOP_MARKET"]
    assert (found.went_to, found.failed) == (3, 0)
    assert (sorted(placed[:2]), placed[2:]) == (sorted(others), [slow])
    assert Order.objects.filter(purpose="STOP").count() == len(requests)


def test_a_cycle_asked_for_in_between_does_not_make_beats_next_one_skip(desk: Desk) -> None:
    period = timedelta(seconds=7.5)
    cycle(desk, by_beat=True)
    assert swept_by_beat(desk.clock(), within=period)

    desk.clock.let_pass(8)
    cycle(desk)

    # Beat's own is due: were it skipped, a fill right after this reading would wait for almost two periods.
    assert not swept_by_beat(desk.clock(), within=period)
