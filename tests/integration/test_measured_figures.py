"""Figures of protection move with real fills, stops and repairs, once each, whoever measures and however often."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from execution.domain.metrics import FILL_TO_STOP, REPAIRS, STREAM_LAG, UNCOVERED, Histogram
from execution.domain.stream import News
from execution.models import AuditEvent, Metric, Order
from execution.protection.coverage import uncovered_since, unprotected_positions
from execution.protection.unprotected_time import measure_unprotected_of
from execution.queries import kept as kept_counts
from execution.queries.figures import measured_figures
from execution.queries.kept import DEAR_SECONDS, kept
from execution.store.metrics import count, observe
from execution.trades.book_entry import book_entry
from execution.user_stream.stats import Phase, StreamStats
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db


def measured(histogram: Histogram) -> tuple[int, float]:
    """Return how many and how long together, to the microsecond."""
    buckets, seconds = measured_figures().cumulative(histogram)
    return int(buckets[-1][1]), round(seconds, 6)


def repairs(kind: str) -> int:
    return measured_figures().kinds(REPAIRS).get(kind, 0)


def accepted_at(order: Order) -> Any:
    return AuditEvent.objects.get(entity="order", entity_id=order.client_order_id, to_state="ACCEPTED").at


def ended_at(order: Order) -> Any:
    return AuditEvent.objects.get(entity="order", entity_id=order.client_order_id, to_state="CANCELED").at


def seconds(length: timedelta) -> float:
    return max(0.0, length.total_seconds())


def stops_of(desk: Desk, trade_id: UUID) -> list[Order]:
    return list(desk.request(trade_id).orders.filter(purpose="STOP").order_by("id"))


def lose_stop(desk: Desk, trade_id: UUID) -> None:
    desk.paper.control("POST", "orders/end", {"order": stops_of(desk, trade_id)[-1].client_order_id})


def test_a_real_fill_moves_both_figures_once(desk: Desk) -> None:
    assert (measured(FILL_TO_STOP), measured(UNCOVERED)) == ((0, 0), (0, 0))

    trade_id = desk.trade_opened()

    # It should measure from the exchange's own time of the fill.
    [fill] = desk.trade(trade_id).fills.all()
    [stop] = stops_of(desk, trade_id)
    naked = seconds(accepted_at(stop) - fill.filled_at)
    assert naked > 0
    assert measured(FILL_TO_STOP) == measured(UNCOVERED) == (1, round(naked, 6))
    # It should be measured once, whoever comes again.
    book_entry(trade_id, exchange=desk.exchange, clock=desk.clock)
    measure_unprotected_of(trade_id)
    desk.cycle()
    assert measured(FILL_TO_STOP)[0] == measured(UNCOVERED)[0] == 1


def test_every_position_is_measured(desk: Desk) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        desk.trade_opened(symbol)

    assert measured(FILL_TO_STOP)[0] == measured(UNCOVERED)[0] == 2


def test_a_lost_stop_is_a_gap_of_its_own(desk: Desk) -> None:
    trade_id = desk.trade_opened()
    first = measured(UNCOVERED)[1]
    lose_stop(desk, trade_id)

    desk.clock.let_pass(3)
    desk.cycle()

    lost, placed = stops_of(desk, trade_id)
    naked = seconds(accepted_at(placed) - ended_at(lost))
    assert measured(UNCOVERED) == (2, round(first + naked, 6))
    # It should not call that a time from fill to stop.
    assert measured(FILL_TO_STOP)[0] == 1
    assert repairs("Cover") == 1


def test_a_position_closed_without_a_stop_was_naked_to_its_end(desk: Desk) -> None:
    desk.close_what_has_no_stop()
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", count=None, action="refuse", code=-4120)
    trade_id = desk.decide()
    desk.run(trade_id)
    assert measured(UNCOVERED) == (0, 0)

    desk.cycle()

    entry, exit_ = desk.trade(trade_id).fills.order_by("filled_at")
    naked = seconds(exit_.filled_at - entry.filled_at)
    assert desk.trade(trade_id).state == "CLOSED"
    assert measured(UNCOVERED) == (1, round(naked, 6))
    assert measured(FILL_TO_STOP) == (0, 0)


def test_each_part_of_an_entry_is_naked_until_the_stop_has_grown(desk: Desk) -> None:
    trade_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(trade_id)
    for _ in range(3):
        entry = desk.order(trade_id, "ENTRY").client_order_id
        desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": "0.002"})
        desk.cycle()

    fills = desk.trade(trade_id).fills.order_by("filled_at")
    naked = [
        seconds(accepted_at(stop) - fill.filled_at) for fill, stop in zip(fills, stops_of(desk, trade_id), strict=True)
    ]
    assert measured(UNCOVERED) == (3, round(sum(naked), 6))
    assert measured(FILL_TO_STOP) == (1, round(naked[0], 6))


def test_a_position_that_closes_by_its_stop_was_covered_to_the_end(desk: Desk) -> None:
    trade_id = desk.trade_opened()
    desk.paper.set_price("BTCUSDT", "48000")

    desk.clock.let_pass(3)
    desk.cycle()

    assert desk.trade(trade_id).close_reason == "SL"
    assert measured(UNCOVERED)[0] == 1


def test_prometheus_shows_them_in_cumulative_buckets(desk: Desk, client: Client) -> None:
    desk.trade_opened()
    desk.cycle()
    observe((UNCOVERED, 0.3), (UNCOVERED, 100.0))

    families = {
        family.name: {(sample.name, sample.labels.get("le", "")): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(client.get("/metrics").content.decode())
    }

    name = "execution_uncovered_duration_seconds"
    shown = families[name]
    assert shown[f"{name}_bucket", "+Inf"] == shown[f"{name}_count", ""] == 3
    assert shown[f"{name}_bucket", "60.0"] == 2
    assert shown[f"{name}_sum", ""] == pytest.approx(measured(UNCOVERED)[1])
    assert families["execution_fill_to_stop_seconds"]["execution_fill_to_stop_seconds_count", ""] == 1
    cycles = families["execution_monitor_cycle_duration_seconds"]
    assert cycles["execution_monitor_cycle_duration_seconds_count", ""] == 1
    # It should show all buckets of what was never measured.
    lags = families["execution_user_stream_lag_seconds"]
    assert lags["execution_user_stream_lag_seconds_bucket", "+Inf"] == 0
    assert len([key for key in lags if key[0].endswith("_bucket")]) == 11


def test_the_gauge_tells_of_a_position_before_its_trade_is_booked(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    entry = desk.order(request_id, "ENTRY")

    assert uncovered_since() == {"BTCUSDT": entry.last_evidence_at}
    desk.step("protect_position", request_id)
    assert uncovered_since() == {}


def test_the_gauge_tells_of_a_stop_that_is_too_small(desk: Desk) -> None:
    trade_id = desk.trade_opened()
    assert (uncovered_since(), unprotected_positions()) == ({}, 0)

    Order.objects.filter(request_id=trade_id, purpose="STOP").update(quantity=Decimal("0.001"))

    assert uncovered_since() == {"BTCUSDT": desk.order(trade_id, "ENTRY").last_evidence_at}
    assert unprotected_positions() == 1


def test_counts_of_whole_tables_are_kept_as_long_as_they_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    found, seconds = iter([1, 2, 3]), [0.0]

    def slow() -> int:
        # By the clock that is asked: no test waits for it.
        seconds[0] += DEAR_SECONDS * dear
        return next(found)

    def asked() -> int:
        return kept("slow", slow, monotonic=lambda: seconds[0])

    # Long enough that no pause of the machine lets it go.
    monkeypatch.setattr(kept_counts, "KEPT_TIMES", 10_000)
    dear = 1.01
    assert [asked(), asked()] == [1, 1]
    # It should count anew what costs little.
    cache.delete("slow")
    dear = 0.99
    assert [asked(), asked()] == [2, 3]


def test_the_streams_lag_is_measured_from_the_exchanges_sending(desk: Desk) -> None:
    tally = StreamStats(clock=desk.clock)
    for lag_seconds in (0.5, 3):
        tally.count(News(kind="ORDER_TRADE_UPDATE", sent_at=desk.clock() - timedelta(seconds=lag_seconds)))
    tally.count(News(kind="ORDER_TRADE_UPDATE", sent_at=desk.clock() + timedelta(seconds=60)))
    assert measured(STREAM_LAG) == (0, 0)

    tally.beat(Phase.LIVE)
    tally.beat(Phase.CATCHING_UP)

    number, lags = measured(STREAM_LAG)
    # It should be written once with the heartbeat, and a clock of ours that is behind counts as no lag.
    assert number == 3
    assert lags >= 3.5


@pytest.mark.django_db(transaction=True)
def test_processes_that_add_at_the_same_moment_lose_nothing() -> None:
    def add() -> None:
        for _ in range(25):
            observe((FILL_TO_STOP, 0.5), (UNCOVERED, 0.25))
            count(REPAIRS, {"Cover": 1, "Apply": 2})

    at_once([add] * 4)

    assert measured(FILL_TO_STOP) == (100, 50.0)
    assert measured(UNCOVERED) == (100, 25.0)
    assert measured_figures().kinds(REPAIRS) == {"Apply": 200, "Cover": 100}
    assert Metric.objects.count() == 4
