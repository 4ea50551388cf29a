import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.client_ids import client_order_id, closed_by, is_ours
from execution.domain.reasons import CloseReason
from execution.domain.trading import OrderPurpose

# The exchange's own rule for client order ids and client algo ids.
ACCEPTED = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
REQUEST = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        (OrderPurpose.ENTRY, "es1-eci2fm6asgrlhqerukz4bencwpa-1"),
        (OrderPurpose.STOP, "es1-sci2fm6asgrlhqerukz4bencwpa-1"),
        (OrderPurpose.TARGET, "es1-tci2fm6asgrlhqerukz4bencwpa-1"),
        (OrderPurpose.CLOSE, "es1-cci2fm6asgrlhqerukz4bencwpa-1"),
    ],
)
def test_an_id_is_the_same_in_every_process_and_version(purpose: OrderPurpose, expected: str) -> None:
    # It should never change: orders that rest at the exchange are looked up by it
    assert client_order_id(REQUEST, purpose, 1) == expected


@given(st.uuids(), st.sampled_from(OrderPurpose), st.integers(1, 9999))
def test_the_exchange_accepts_every_id(request_id: UUID, purpose: OrderPurpose, sequence: int) -> None:
    text = client_order_id(request_id, purpose, sequence)

    assert ACCEPTED.fullmatch(text)
    assert is_ours(text)


@given(st.sets(st.tuples(st.uuids(), st.sampled_from(OrderPurpose), st.integers(1, 9999)), max_size=40))
def test_no_two_orders_share_an_id(orders: set[tuple[UUID, OrderPurpose, int]]) -> None:
    assert len({client_order_id(*order) for order in orders}) == len(orders)


@pytest.mark.parametrize("foreign", ["", "web_abc", "es2-e1", "ES1-e1", "android_es1-e1", "x-es1-"])
def test_orders_of_others_are_not_ours_to_cancel(foreign: str) -> None:
    assert not is_ours(foreign)


@pytest.mark.parametrize(
    ("client_id", "reason"),
    [
        ("autoclose-1790000000000", CloseReason.LIQUIDATION),
        ("adl_autoclose", CloseReason.ADL),
        ("settlement_autoclose-1", CloseReason.SETTLEMENT),
        ("delivery_autoclose-1", CloseReason.SETTLEMENT),
        ("web_abc", CloseReason.MANUAL),
        ("", CloseReason.MANUAL),
    ],
)
def test_who_closed_a_position_shows_in_the_id(client_id: str, reason: CloseReason) -> None:
    assert closed_by(client_id) is reason
