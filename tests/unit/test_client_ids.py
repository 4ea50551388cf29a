import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.client_ids import LAST_SEQUENCE, client_order_id, closed_by, is_ours
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


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        (9_999, "es1-cci2fm6asgrlhqerukz4bencwpa-9999"),
        # 10,000 is 7ps in base 36: 7 x 1296 + 25 x 36 + 28.
        (10_000, "es1-c12srddy53kndus0lmbgjgy7i00007ps"),
        (10**9, "es1-c12srddy53kndus0lmbgjgy7i0gjdgxs"),
    ],
)
def test_an_id_fits_after_any_number_of_orders(sequence: int, expected: str) -> None:
    text = client_order_id(REQUEST, OrderPurpose.CLOSE, sequence)

    assert text == expected
    if sequence > 9_999:
        assert (int(text[5:30], 36), int(text[30:], 36)) == (REQUEST.int, sequence)
    assert (len(text), bool(ACCEPTED.fullmatch(text)), is_ours(text)) == (36, True, True)


@pytest.mark.parametrize("request_id", [UUID(int=0), UUID(int=2**128 - 1)])
@pytest.mark.parametrize("sequence", [1, 9_999, 10_000, 2**31 - 1, LAST_SEQUENCE])
@pytest.mark.parametrize("purpose", OrderPurpose)
def test_the_smallest_and_the_largest_fit(request_id: UUID, sequence: int, purpose: OrderPurpose) -> None:
    assert len(client_order_id(request_id, purpose, sequence)) <= 36


@pytest.mark.parametrize("sequence", [0, -1, LAST_SEQUENCE + 1])
def test_a_number_beyond_the_bounds_is_refused(sequence: int) -> None:
    with pytest.raises(ValueError, match=r"sequence: expected=1\.\."):
        client_order_id(REQUEST, OrderPurpose.CLOSE, sequence)


@given(st.uuids(), st.sampled_from(OrderPurpose), st.integers(1, LAST_SEQUENCE))
def test_the_exchange_accepts_every_id(request_id: UUID, purpose: OrderPurpose, sequence: int) -> None:
    text = client_order_id(request_id, purpose, sequence)

    assert ACCEPTED.fullmatch(text)
    assert is_ours(text)


@given(st.sets(st.tuples(st.uuids(), st.sampled_from(OrderPurpose), st.integers(1, LAST_SEQUENCE)), max_size=40))
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
