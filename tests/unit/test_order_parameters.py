from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from execution.adapters.binance.order_parameters import order_parameters
from execution.domain.ports import OrderTicket
from execution.domain.trading import OrderType, PositionSide, Side

LIMIT = {
    "client_order_id": "es1-e",
    "symbol": "BTCUSDT",
    "side": Side.BUY,
    "position_side": PositionSide.BOTH,
    "order_type": OrderType.LIMIT,
    "quantity": Decimal("0.010"),
    "price": Decimal(49000),
}


def at_ms(moment: datetime) -> int:
    """The exchange's clock is two seconds ahead of ours."""
    return int(moment.timestamp() * 1000) + 2000


@pytest.mark.parametrize(("ahead", "expected"), [(1, 660), (600, 660), (700, 700), (86_400, 86_400), (-5, 660)])
def test_the_end_at_the_exchange_is_its_own_or_as_soon_as_is_taken(ahead: int, expected: int) -> None:
    now = datetime.now(UTC)

    sent = order_parameters(OrderTicket(**LIMIT, good_till=now + timedelta(seconds=ahead)), at_ms)  # type: ignore[arg-type]

    # Whole seconds, rounded up: never before its own end, and more than 600 s ahead by the exchange's clock.
    assert sent["timeInForce"] == "GTD"
    assert sent["goodTillDate"] % 1000 == 0
    assert 0 <= sent["goodTillDate"] - at_ms(now) - expected * 1000 < 2000


def test_an_end_in_the_year_10000_is_the_latest_that_is_taken() -> None:
    sent = order_parameters(OrderTicket(**LIMIT, good_till=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)), at_ms)  # type: ignore[arg-type]

    assert sent["goodTillDate"] == 253_402_300_798_000


def test_an_order_without_an_end_rests_until_it_is_cancelled() -> None:
    sent = order_parameters(OrderTicket(**LIMIT), at_ms)  # type: ignore[arg-type]

    assert (sent["timeInForce"], "goodTillDate" in sent) == ("GTC", False)


def test_a_market_order_has_no_time_in_force() -> None:
    ticket = OrderTicket(**LIMIT | {"order_type": OrderType.MARKET, "price": None}, good_till=datetime.now(UTC))  # type: ignore[arg-type]

    assert "timeInForce" not in order_parameters(ticket, at_ms)
