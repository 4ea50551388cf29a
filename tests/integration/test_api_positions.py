"""GET /api/execution/positions: what is held, and whether it is really protected."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from execution.domain.states import OrderState
from execution.domain.trading import Direction, OrderPurpose
from execution.models import Order, Trade
from tests.support import builders

pytestmark = pytest.mark.django_db


def get(client: Client) -> dict[str, Any]:
    answer = client.get("/api/execution/positions")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def protect(trade: Trade) -> tuple[Order, Order]:
    stop = builders.order(trade.request, purpose=OrderPurpose.STOP)
    return stop, builders.order(trade.request, purpose=OrderPurpose.TARGET)


def test_nothing_held(client: Client) -> None:
    assert get(client) == {
        "positions": [],
        "total_positions": 0,
        "total_margin_usd": 0.0,
        "total_unrealized_pnl": 0.0,
        "unpriced": [],
    }


def test_a_position_shows_the_orders_that_protect_it(client: Client) -> None:
    trade = builders.trade()
    builders.order(trade.request)
    replaced = builders.order(trade.request, purpose=OrderPurpose.STOP, state=OrderState.CANCELED)
    stop = builders.order(trade.request, purpose=OrderPurpose.STOP, sequence=2, trigger_price=Decimal(49500))
    target = builders.order(trade.request, purpose=OrderPurpose.TARGET)
    builders.position(trade, initial_margin=Decimal(5), unrealized_pnl=Decimal("0.1"))

    answer = get(client)

    # It should show live exits only: neither the entry nor the stop that was replaced.
    assert replaced.client_order_id not in str(answer)
    assert answer == {
        "positions": [
            {
                "symbol": "BTCUSDT",
                "side": "LONG",
                "quantity": 0.002,
                "entry_price": 50000.0,
                "current_price": 50100.0,
                "quote_asset": "USDT",
                "quote_index": 1.0,
                "unrealized_pnl": 0.1,
                "unrealized_pnl_quote": 0.1,
                "unrealized_pnl_pct": 2.0,
                "leverage": 10,
                "margin_usd": 5.0,
                "liquidation_price": 45200.0,
                "has_tp_sl": True,
                "stop_required": True,
                "protected": True,
                "protected_by": "venue",
                "overdue_stops": [],
                "tp_orders": [
                    {
                        "client_order_id": target.client_order_id,
                        "algo_id": target.algo_id,
                        "trigger_price": 52000.0,
                        "quantity": 0.002,
                        "state": "ACCEPTED",
                    }
                ],
                "sl_orders": [
                    {
                        "client_order_id": stop.client_order_id,
                        "algo_id": stop.algo_id,
                        "trigger_price": 49500.0,
                        "quantity": 0.002,
                        "state": "ACCEPTED",
                    }
                ],
                "trade_id": str(trade.pk),
                "phantom": False,
                "observed_at": "2026-03-02T09:30:00+00:00",
            }
        ],
        "total_positions": 1,
        "total_margin_usd": 5.0,
        "total_unrealized_pnl": 0.1,
        "unpriced": [],
    }


@pytest.mark.parametrize("state", [OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.REJECTED, OrderState.FILLED])
def test_a_stop_that_is_not_known_to_rest_protects_nothing(client: Client, state: OrderState) -> None:
    trade = builders.trade()
    builders.order(trade.request, purpose=OrderPurpose.STOP, state=state)
    builders.order(trade.request, purpose=OrderPurpose.TARGET)
    builders.position(trade)

    (shown,) = get(client)["positions"]
    assert (shown["has_tp_sl"], shown["sl_orders"]) == (False, [])


def test_a_stop_for_a_part_does_not_protect_the_whole(client: Client) -> None:
    trade = builders.trade()
    builders.order(trade.request, purpose=OrderPurpose.STOP, quantity=Decimal("0.001"))
    builders.order(trade.request, purpose=OrderPurpose.TARGET)
    builders.position(trade)

    assert get(client)["positions"][0]["has_tp_sl"] is False


def test_a_position_that_is_not_ours_is_shown_without_orders(client: Client) -> None:
    builders.position(
        direction=Direction.SHORT, quantity=Decimal(2), mark_price=Decimal(100), initial_margin=Decimal(40)
    )

    (shown,) = get(client)["positions"]
    assert (shown["trade_id"], shown["side"], shown["has_tp_sl"]) == (None, "SHORT", False)
    # It should derive the leverage from the margin: 200 of notional behind 40.
    assert shown["leverage"] == 5


def test_the_cost_does_not_grow_with_the_positions(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"):
        trade = builders.trade(symbol=symbol)
        protect(trade)
        builders.position(trade)

    with django_assert_num_queries(5):
        answer = get(client)

    assert [each["symbol"] for each in answer["positions"]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]
    assert all(each["has_tp_sl"] for each in answer["positions"])
    assert answer["total_margin_usd"] == 40.08
