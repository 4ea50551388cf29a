"""GET /api/execution/trades: which trades, in which order, with which numbers, and at what cost."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from execution.domain.states import OrderState, TradeState
from execution.domain.trading import Direction, OrderPurpose, Source
from execution.models import Trade
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db

URL = "/api/execution/trades"


def get(client: Client, query: str = "") -> tuple[int, dict[str, Any]]:
    answer = client.get(URL + query)
    return answer.status_code, answer.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [trade["trade_id"] for trade in answer["trades"]]


def three_trades() -> tuple[Trade, Trade, Trade]:
    """Return an open BTC, a closed ETH and a leaving SOL trade, each an hour newer than the one before."""
    still_open = builders.trade(entry_at=NOW)
    closed = builders.closed_trade(symbol="ETHUSDT", entry_at=NOW + timedelta(hours=1))
    leaving = builders.trade(symbol="SOLUSDT", entry_at=NOW + timedelta(hours=2))
    builders.order(leaving.request, purpose=OrderPurpose.CLOSE, state=OrderState.ACCEPTED)
    return still_open, closed, leaving


def test_trades_come_newest_first_with_the_numbers_of_all(client: Client) -> None:
    still_open, closed, leaving = three_trades()

    code, answer = get(client)

    assert code == 200
    assert ids(answer) == [str(leaving.pk), str(closed.pk), str(still_open.pk)]
    assert [trade["status"] for trade in answer["trades"]] == ["pending_exit", "closed", "open"]
    assert (answer["total_trades"], answer["open_trades"], answer["closed_trades"]) == (3, 2, 1)


def test_a_page_does_not_change_the_numbers_of_all(client: Client) -> None:
    still_open, closed, leaving = three_trades()

    _, first = get(client, "?limit=2")
    _, second = get(client, "?limit=2&offset=2")
    _, beyond = get(client, "?offset=2147483647")

    assert ids(first) == [str(leaving.pk), str(closed.pk)]
    assert ids(second) == [str(still_open.pk)]
    assert ids(beyond) == []
    for answer in (first, second, beyond):
        assert (answer["total_trades"], answer["open_trades"], answer["closed_trades"]) == (3, 2, 1)


def test_trades_are_filtered_by_status_symbol_and_time(client: Client) -> None:
    still_open, closed, leaving = three_trades()

    def found(query: str) -> list[str]:
        return ids(get(client, query)[1])

    assert found("?status=open") == [str(still_open.pk)]
    assert found("?status=closed") == [str(closed.pk)]
    assert found("?status=pending_exit") == [str(leaving.pk)]
    assert found("?symbol=ethusdt") == [str(closed.pk)]
    assert found("?symbol=ETHUSDT&status=open") == []
    # It should take the lower bound in and leave the upper one out; a time without a zone is UTC.
    assert found("?from=2026-03-02T10:30:00Z") == [str(leaving.pk), str(closed.pk)]
    assert found("?from=2026-03-02T10:30:00&to=2026-03-02T11:30:00%2B00:00") == [str(closed.pk)]
    assert found("?to=2026-03-02") == []


def test_a_trade_whose_position_is_gone_is_leaving_until_its_fills_are_booked(client: Client) -> None:
    builders.trade(flat_readings=1)

    assert get(client)[1]["trades"][0]["status"] == "pending_exit"


def test_an_exit_that_came_to_nothing_leaves_the_trade_open(client: Client) -> None:
    trade = builders.trade(state=TradeState.REDUCED)
    builders.order(trade.request, purpose=OrderPurpose.CLOSE, state=OrderState.REJECTED)

    assert get(client)[1]["trades"][0]["status"] == "open"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=ten", "limit"),
        ("?offset=-1", "offset"),
        ("?offset=99999999999999999999", "offset"),
        ("?status=gone", "status"),
        ("?from=yesterday", "from"),
        ("?to=2026-13-01", "to"),
        ("?symbol=%00", "symbol"),
    ],
)
def test_a_filter_that_means_nothing_is_an_error(client: Client, query: str, field: str) -> None:
    code, answer = get(client, query)

    assert code == 400
    assert list(answer["errors"]) == [field]


def test_the_cost_of_a_page_does_not_grow_with_it(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for hours in range(12):
        trade = builders.closed_trade(entry_at=NOW + timedelta(hours=hours))
        builders.order(trade.request)
        builders.order(trade.request, purpose=OrderPurpose.STOP)

    # It should ask for the page's ids, its rows with their decisions, their orders, and twice for the numbers of all.
    with django_assert_num_queries(6):
        assert len(get(client, "?limit=2")[1]["trades"]) == 2
    with django_assert_num_queries(6):
        assert len(get(client, "?limit=1000&status=closed")[1]["trades"]) == 12


def test_a_closed_trade_shows_the_neighbours_numbers_and_our_exact_ones(client: Client) -> None:
    request = builders.approved(metadata={"desk": 7}, direction=Direction.SHORT)
    entry = builders.order(request)
    stop = builders.order(request, purpose=OrderPurpose.STOP, state=OrderState.CANCELED)
    target = builders.order(request, purpose=OrderPurpose.TARGET, state=OrderState.FILLED, exchange_order_id="99")
    trade = builders.closed_trade(
        request,
        gross_pnl=Decimal("4.000000000000000001"),
        net_pnl=Decimal("3.919999999999999999"),
        funding=Decimal("-0.01"),
        lowest_price=Decimal(49500),
        highest_price=Decimal(52000),
        slippage_fraction=Decimal("0.000246"),
    )

    answer = client.get(f"{URL}/{trade.pk}")

    assert answer.status_code == 200
    shown = answer.json()
    orders = shown.pop("orders")
    assert shown == {
        "trade_id": str(trade.pk),
        "symbol": "BTCUSDT",
        "side": "SHORT",
        "status": "closed",
        "quantity": 0.002,
        "leverage": 10,
        "entry_price": 50000.0,
        "entry_time": "2026-03-02T09:30:00+00:00",
        "exit_price": 52000.0,
        "exit_time": "2026-03-02T10:30:00+00:00",
        # It has no plan.
        "stop_loss": None,
        "take_profit": None,
        "initial_stop_loss": 49000.0,
        "initial_take_profit": 52000.0,
        "pnl_usd": 3.92,
        "pnl_percent": 39.2,
        "model": "ensemble",
        "confidence": 0.85,
        "metadata": {"desk": 7},
        "net_pnl": "3.919999999999999999",
        "gross_pnl": "4.000000000000000001",
        "quote_asset": "USDT",
        "quote_index": "1",
        "fees": "0.08",
        "funding": "-0.01",
        "other_income": "0",
        "fees_usd": "0.08",
        "funding_usd": "-0.01",
        "other_income_usd": "0",
        "unvalued_fees": {},
        "unvalued_income": {},
        "net_is_complete": True,
        "max_adverse_excursion_usd": 4.0,
        "max_favourable_excursion_usd": 1.0,
        "max_adverse_excursion_pct": 4.0,
        "max_favourable_excursion_pct": 1.0,
        "duration_seconds": 3600.0,
        "corrections": 0,
        "exited_quantity": "0.002",
        "close_reason": "TP",
        "r_multiple": 1.96,
        "slippage_bps": 2.46,
        "source": "ai.decision.made",
        "strategy": "momentum",
    }
    # It should name every order under all its ids, in the order they were made.
    assert [(order["purpose"], order["client_order_id"]) for order in orders] == [
        ("entry", entry.client_order_id),
        ("stop", stop.client_order_id),
        ("target", target.client_order_id),
    ]
    assert orders[2] == {
        "purpose": "target",
        "client_order_id": target.client_order_id,
        "order_id": "99",
        "algo_id": target.algo_id,
        "state": "FILLED",
        "quantity": "0.002",
        "executed_quantity": "0.002",
        "price": None,
        "trigger_price": "52000",
    }


def test_a_decision_without_a_model_is_no_persons(client: Client) -> None:
    trade = builders.trade(builders.approved(source=Source.AI, model=""))

    shown = client.get(f"{URL}/{trade.pk}").json()

    assert (shown["source"], shown["model"], shown["strategy"]) == (
        "ai.decision.made",
        "unknown",
        trade.request.strategy,
    )


def test_an_open_trade_of_a_person_has_no_result_and_no_model(client: Client) -> None:
    trade = builders.trade(builders.approved(source=Source.REST))

    shown = client.get(f"{URL}/{trade.pk}").json()

    assert (shown["status"], shown["model"], shown["confidence"]) == ("open", "manual", 0.0)
    unknown = ("exit_price", "exit_time", "pnl_usd", "pnl_percent", "net_pnl", "gross_pnl", "r_multiple")
    assert {name: shown[name] for name in unknown} == dict.fromkeys(unknown)
    assert (shown["fees_usd"], shown["funding_usd"], shown["close_reason"]) == ("0.04", "0", "")


@pytest.mark.parametrize("unknown", ["X", "a.b", "0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11", "%00", "1' OR '1'='1"])
def test_an_unknown_trade_is_not_found(client: Client, unknown: str) -> None:
    answer = client.get(f"{URL}/{unknown}")

    assert answer.status_code == 404
    assert list(answer.json()) == ["detail"]
    assert answer.json()["detail"].startswith("Trade ")
    assert answer.json()["detail"].endswith(" not found")


def test_an_address_that_does_not_exist_answers_in_the_same_shape(client: Client) -> None:
    answer = client.get("/api/execution/nothing")

    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found"})
