"""What fills and positions prove, suggest and leave open about an order that no look-up knows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.outcomes import ExchangeStatus, FillReport
from execution.domain.traces import Inference, OrderQuery, Traces, fills_in_question, report_from_fills, weigh

SENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LOT = Decimal("0.010")
ENTRY = OrderQuery(
    client_order_id="es1-e-1",
    order_id="",
    buyer=True,
    position_side="BOTH",
    quantity=LOT,
    sent_at=SENT,
    opens=True,
)


def fill(order_id: str = "7", quantity: str = "0.010", *, buyer: bool = True, **changes: Any) -> FillReport:
    values: dict[str, Any] = {
        "trade_id": 1,
        "order_id": order_id,
        "symbol": "BTCUSDT",
        "buyer": buyer,
        "position_side": "BOTH",
        "price": Decimal(50000),
        "quantity": Decimal(quantity),
        "realized_pnl": Decimal(0),
        "commission": Decimal(0),
        "commission_asset": "USDT",
        "maker": False,
        "at": SENT + timedelta(seconds=1),
    }
    return FillReport(**(values | changes))


def traces(*fills: FillReport, held: str = "0", since: float | None = 1, booked: str = "0", **origins: str) -> Traces:
    """What the exchange shows; `origins` as order id = client id, with a letter in front: `o7="es1-e-1"`."""
    return Traces(
        fills=fills,
        origins={name[1:]: client_id for name, client_id in origins.items()},
        held=Decimal(held),
        held_since=None if since is None else SENT + timedelta(seconds=since),
        booked=Decimal(booked),
    )


def test_nothing_speaks_for_an_order_without_traces() -> None:
    weight = weigh(ENTRY, traces(since=None))

    assert weight == Inference()
    assert not weight.speaks_for_arrival
    assert weight.sentence == "no fill; no position from it"


@pytest.mark.parametrize("suspect", [ENTRY, replace(ENTRY, opens=False, buyer=False)])
def test_a_fill_under_our_client_id_is_ours(suspect: OrderQuery) -> None:
    weight = weigh(suspect, traces(fill("7"), fill("8"), held="0.010", o8="es1-e-1", o7="web_x"))

    assert (weight.order_id, weight.speaks_for_arrival) == ("8", True)


def test_a_fill_under_the_order_id_that_we_know_is_ours() -> None:
    assert weigh(replace(ENTRY, order_id="7"), traces(fill("7"))).order_id == "7"


def test_a_fill_that_nobody_names_is_not_adopted_and_speaks_against_absence() -> None:
    weight = weigh(ENTRY, traces(fill("7"), held="0.010"))

    assert weight == Inference(unattributed=LOT, at_stake=LOT)
    assert weight.sentence == "unattributed fills=0.010; position unexplained=0.010"


def test_a_fill_that_nobody_names_speaks_against_absence_even_when_the_position_is_out() -> None:
    weight = weigh(ENTRY, traces(fill("7"), since=None))

    assert weight == Inference(unattributed=LOT)
    assert weight.speaks_for_arrival


@pytest.mark.parametrize(
    "other",
    [
        fill("7", buyer=False),
        fill("7", position_side="LONG"),
        fill("7", at=SENT - timedelta(hours=3)),
    ],
    ids=["other-side", "other-position", "long-before"],
)
def test_a_fill_unlike_ours_says_nothing(other: FillReport) -> None:
    assert weigh(ENTRY, traces(other, since=None)) == Inference()


def test_a_fill_that_others_made_explains_their_position() -> None:
    assert weigh(ENTRY, traces(fill("7"), held="0.010", o7="web_x")) == Inference()
    # Also when it lies on top of an older position of theirs.
    assert weigh(ENTRY, traces(fill("7"), held="0.500", o7="web_x")) == Inference()


def test_a_position_that_changed_without_a_listed_fill_is_at_stake() -> None:
    # The list of fills may lag: the position is evidence of its own.
    assert weigh(ENTRY, traces(held="0.010")) == Inference(at_stake=LOT)
    assert weigh(ENTRY, traces(fill("6", at=SENT - timedelta(seconds=9)), held="0.010", o6="web_x")).at_stake == LOT
    # An exchange that does not say when it changed is not believed either.
    assert weigh(ENTRY, traces(held="0.010", since=None)).at_stake == LOT


def test_a_position_that_has_not_changed_for_hours_is_not_the_orders() -> None:
    assert weigh(ENTRY, traces(held="0.010", since=-7201)) == Inference()
    # A clock that was set back or forth by an hour must not make it look old.
    assert weigh(ENTRY, traces(held="0.010", since=-3600)).at_stake == LOT


@pytest.mark.parametrize(
    ("held", "booked", "at_stake"),
    [
        ("0.004", "0", "0.004"),
        ("0.500", "0", "0.010"),
        ("0.015", "0.010", "0.005"),
        ("0.010", "0.010", "0"),
        ("0.008", "0.010", "0"),
    ],
)
def test_no_more_is_at_stake_than_was_ordered_and_is_not_booked(held: str, booked: str, at_stake: str) -> None:
    assert weigh(ENTRY, traces(held=held, booked=booked)).at_stake == Decimal(at_stake)


def test_an_exit_puts_nothing_at_stake() -> None:
    close = replace(ENTRY, opens=False, buyer=False)

    assert weigh(close, traces(held="0.010", since=None)) == Inference()
    assert weigh(close, traces(fill("7", buyer=False), held="0.010")) == Inference(unattributed=LOT)


@pytest.mark.parametrize(
    ("quantities", "status"),
    [(["0.010"], ExchangeStatus.FILLED), (["0.004", "0.003"], ExchangeStatus.PARTIALLY_FILLED)],
)
def test_an_order_as_its_fills_show_it(quantities: list[str], status: ExchangeStatus) -> None:
    report = report_from_fills(ENTRY, "BTCUSDT", [fill("7", quantity) for quantity in quantities])

    assert (report.status, report.order_id, report.client_order_id) == (status, "7", "es1-e-1")
    assert report.executed_quantity == sum(map(Decimal, quantities))


# Times and amounts at their edges

TWO_HOURS, SECOND, MS = timedelta(hours=2), timedelta(seconds=1), timedelta(milliseconds=1)


@pytest.mark.parametrize(("before", "counts"), [(TWO_HOURS, True), (TWO_HOURS + MS, False), (timedelta(hours=1), True)])
def test_a_fill_is_looked_at_from_two_hours_before_the_order_on(before: timedelta, counts: bool) -> None:  # noqa: FBT001
    old = fill("7", at=SENT - before)

    assert fills_in_question(ENTRY, [old, fill("8", position_side="LONG")]) == ([old] if counts else [])
    assert weigh(ENTRY, traces(old, since=-3 * 3600)).unattributed == (LOT if counts else 0)


@pytest.mark.parametrize(("before", "counts"), [(7200, True), (7200.001, False)])
def test_a_position_is_looked_at_from_two_hours_before_the_order_on(before: float, counts: bool) -> None:  # noqa: FBT001
    assert weigh(ENTRY, traces(held="0.010", since=-before)).at_stake == (LOT if counts else 0)


@pytest.mark.parametrize(("behind", "lags"), [(SECOND, False), (SECOND + MS, True), (timedelta(0), False)])
def test_a_fill_of_the_same_second_explains_a_change(behind: timedelta, lags: bool) -> None:  # noqa: FBT001
    explained = fill("7", at=SENT + timedelta(seconds=5) - behind)

    found = weigh(ENTRY, traces(explained, held="0.010", since=5, o7="web_x"))
    assert found.at_stake == (LOT if lags else 0)


@pytest.mark.parametrize(
    ("weight", "arrived", "sentence"),
    [
        (Inference(), False, "no fill; no position from it"),
        (Inference(order_id="8"), True, "fills of order id 8"),
        (Inference(unattributed=LOT), True, "unattributed fills=0.010; no position from it"),
        (Inference(at_stake=LOT), True, "no fill; position unexplained=0.010"),
    ],
)
def test_each_trace_speaks_for_arrival_and_says_so(weight: Inference, arrived: bool, sentence: str) -> None:  # noqa: FBT001
    assert (weight.speaks_for_arrival, weight.sentence) == (arrived, sentence)


def test_a_short_entry_is_weighed_by_the_fills_that_sell() -> None:
    short = replace(ENTRY, buyer=False, position_side="SHORT")
    sold = fill("7", buyer=False, position_side="SHORT")

    assert weigh(short, traces(sold, held="0.010")) == Inference(unattributed=LOT, at_stake=LOT)
    assert weigh(short, traces(replace(sold, buyer=True), held="0.010", since=1)) == Inference()
    assert weigh(short, traces(sold, sold, held="0.004")) == Inference(unattributed=2 * LOT, at_stake=Decimal("0.004"))


def test_a_report_has_the_order_id_of_its_first_fill_and_what_was_asked() -> None:
    report = report_from_fills(ENTRY, "ETHUSDT", [fill("7", "0.004"), fill("8", "0.006")])

    assert (report.order_id, report.symbol, report.quantity) == ("7", "ETHUSDT", LOT)
    assert (report.executed_quantity, report.status) == (LOT, ExchangeStatus.FILLED)
