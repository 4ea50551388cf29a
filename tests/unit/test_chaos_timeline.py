"""The chaos runner's eyes: what counts as naked, as a flip and as a burst, on ledgers written by hand."""

from typing import Any

import pytest

from tests.chaos.timeline import flips, longest_naked_seconds, most_orders_within
from tests.support.ledger import ORDER, Ledger

ENTRY, STOP = "es1-eabc-1", "es1-sabc-1"


def fill(number: int, at_ms: int, quantity: str, *, buyer: bool = True, client_id: str = ENTRY) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "positionSide": "BOTH",
        "id": number,
        "time": at_ms,
        "qty": quantity,
        "buyer": buyer,
        "clientOrderId": client_id,
    }


def stop(from_ms: int, quantity: str, *, until_ms: int | None = None) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "orderType": "STOP_MARKET",
        "side": "SELL",
        "quantity": quantity,
        "closePosition": False,
        "algoStatus": "NEW" if until_ms is None else "CANCELED",
        "createTime": from_ms,
        "updateTime": until_ms or from_ms,
    }


def ledger(fills: list[Any], stops: list[Any] = [], requests: list[Any] = []) -> Ledger:  # noqa: B006 -- only read
    return Ledger(requests=requests, orders=[], algo_orders=stops, fills=fills, summary={})


@pytest.mark.parametrize(
    ("fills", "stops", "seconds"),
    [
        # Covered 300 ms after its fill, and ever since.
        ([fill(1, 1000, "2")], [stop(1300, "2")], 0.3),
        # Never covered: naked until now.
        ([fill(1, 1000, "2")], [], 9.0),
        # A stop over half of it covers nothing.
        ([fill(1, 1000, "2")], [stop(1300, "1")], 9.0),
        # Replaced with overlap: no gap; replaced with a gap of 500 ms: that gap.
        ([fill(1, 1000, "2")], [stop(1000, "2", until_ms=4000), stop(3900, "2")], 0.0),
        ([fill(1, 1000, "2")], [stop(1000, "2", until_ms=4000), stop(4500, "2")], 0.5),
        # Two that were accepted in one millisecond, one of them cancelled.
        ([fill(1, 1000, "2")], [stop(1200, "2"), stop(1200, "2", until_ms=1300)], 0.2),
        # A gap that goes on over the next fill is one gap.
        ([fill(1, 1000, "1"), fill(2, 2000, "1")], [stop(2600, "2")], 1.6),
        # Closed before it was covered.
        ([fill(1, 1000, "2"), fill(2, 1700, "2", buyer=False, client_id=STOP)], [], 0.7),
    ],
)
def test_naked_is_the_longest_time_without_a_stop_over_all_of_it(fills: Any, stops: Any, seconds: float) -> None:
    assert longest_naked_seconds(ledger(fills, stops), now_ms=10_000) == seconds


def test_a_fill_that_turns_the_position_round_is_a_flip() -> None:
    assert flips(ledger([fill(1, 0, "2"), fill(2, 1, "2", buyer=False, client_id=STOP)])) == []
    assert len(flips(ledger([fill(1, 0, "2"), fill(2, 1, "3", buyer=False, client_id=STOP)]))) == 1


def test_an_exit_of_ours_that_opens_a_position_is_a_flip() -> None:
    assert len(flips(ledger([fill(1, 0, "2", buyer=False, client_id=STOP)]))) == 1


def test_the_burst_is_the_fullest_stretch_of_time() -> None:
    sent = [
        {"t_ns": int(second * 1e9), "method": "POST", "path": ORDER, "status": 200} for second in (0, 1, 9, 11, 30, 31)
    ]
    lost = {"t_ns": int(9.5e9), "method": "POST", "path": ORDER, "status": 0}

    assert most_orders_within(ledger([], requests=[*sent, lost]), 10) == 3
