"""Attacks by what comes in: values that cannot be stored or read, poison entries, stored rows that nobody can read."""

import pytest

from tests.security.aftermath import Api, HeldPosition, trading_goes_on
from tests.support.stack import CeleryStack

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]


def test_a_time_before_the_first_year_is_refused(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    order = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.010", "leverage": 5}

    answer = api.order(order | {"timestamp": "0001-01-01T00:00:00+14:00"})

    assert answer.status_code == 400, answer.text
    assert "timestamp" in answer.json()["errors"]
    trading_goes_on(stack, held)
