"""The guard's figure for a large order is what the exchange then makes it pay."""

from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings

from execution.domain import policy as keys
from execution.domain.reasons import Reason
from execution.domain.sizing import SHOWN_DIGITS
from execution.domain.states import RequestState
from execution.models import AuditEvent, Trade
from execution.risk.policy_store import set_policy_value
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db

# The paper exchange has about 100,000 USD on each level: this takes from more than one.
LARGE: dict[str, Any] = {"position_size_usd": 190_000.0, "leverage": 20}


@pytest.fixture(autouse=True)
def _large_orders_are_allowed(settings: LazySettings) -> None:
    settings.POLICY_CEILINGS = {**settings.POLICY_CEILINGS, keys.MAX_ORDER_NOTIONAL: Decimal(1_000_000)}


def allow(desk: Desk, key: str, value: str) -> None:
    set_policy_value(key, Decimal(value), source="test", now=desk.clock())


def slippage_told(request_id: Any) -> str:
    step = AuditEvent.objects.get(entity_id=str(request_id), trigger__startswith="guard_")
    return next(str(rule["numbers"]) for rule in step.details["rules"] if rule["rule"] == "slippage")


def test_the_average_that_was_judged_is_the_entry_price(desk: Desk) -> None:
    allow(desk, keys.MAX_ORDER_NOTIONAL, "1000000")

    desk.run(request_id := desk.decide(**LARGE))

    told = dict(part.split("=", 1) for part in slippage_told(request_id).replace("<=", "=").split())
    assert int(told["levels"]) > 1
    assert Decimal(told["average"]) > Decimal(told["best"])
    assert round(Trade.objects.get(pk=request_id).entry_price, SHOWN_DIGITS) == Decimal(told["average"])


def test_the_same_size_is_refused_where_the_book_is_dearer_than_allowed(desk: Desk) -> None:
    allow(desk, keys.MAX_ORDER_NOTIONAL, "1000000")
    # The best price is one tick above the planned one, 0.02 bps; the next levels are a whole USD above that.
    allow(desk, keys.MAX_SLIPPAGE, "0.0000045")

    small = desk.decide()
    desk.run(small, until="guard_safety")
    large = desk.decide(**LARGE | {"leverage": 10})
    desk.run(large, until="guard_safety")

    # It should refuse only the size that reaches further levels
    assert desk.request(small).state == RequestState.APPROVED
    assert desk.request(large).state == RequestState.DENIED
    assert desk.request(large).reason_code == Reason.SLIPPAGE_EXCEEDS_LIMIT
    # It should have sent nothing
    assert desk.paper.ledger()["orders"] == []
