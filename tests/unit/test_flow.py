"""What requests cost, and what each lane leaves to the others: data that money and bans depend on."""

from itertools import pairwise

import pytest

from execution.adapters.binance.weights import cost_of
from execution.domain.flow import SHARES, Cost
from execution.domain.ports import Lane

ORDER = Cost(orders_10s=1, orders_1m=1)


@pytest.mark.parametrize(
    ("method", "path", "parameters", "cost"),
    [
        ("POST", "/fapi/v1/order", {"symbol": "BTCUSDT"}, ORDER),
        ("POST", "/fapi/v1/algoOrder", {"symbol": "BTCUSDT"}, ORDER),
        ("DELETE", "/fapi/v1/order", {"symbol": "BTCUSDT"}, Cost(weight=1)),
        ("DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": "es1-s-1"}, Cost(weight=1)),
        ("POST", "/fapi/v1/batchOrders", {}, Cost(weight=5, orders_10s=5, orders_1m=1)),
        ("GET", "/fapi/v1/openOrders", {"symbol": "BTCUSDT"}, Cost(weight=1)),
        ("GET", "/fapi/v1/openOrders", {"symbol": None}, Cost(weight=40)),
        ("GET", "/fapi/v1/openAlgoOrders", {}, Cost(weight=40)),
        ("GET", "/fapi/v1/premiumIndex", {}, Cost(weight=10)),
        ("GET", "/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"}, Cost(weight=1)),
        ("GET", "/fapi/v1/ticker/bookTicker", {"symbol": "BTCUSDT"}, Cost(weight=2)),
        ("GET", "/fapi/v3/positionRisk", {}, Cost(weight=5)),
        ("GET", "/fapi/v1/positionSide/dual", {}, Cost(weight=30)),
        ("GET", "/fapi/v1/income", {"symbol": "BTCUSDT"}, Cost(weight=30)),
        ("GET", "/fapi/v1/depth", {"limit": 50}, Cost(weight=2)),
        ("GET", "/fapi/v1/depth", {"limit": 100}, Cost(weight=5)),
        ("GET", "/fapi/v1/depth", {}, Cost(weight=10)),
        ("GET", "/fapi/v1/depth", {"limit": 1000}, Cost(weight=20)),
        ("GET", "/fapi/v1/klines", {"limit": 99}, Cost(weight=1)),
        ("GET", "/fapi/v1/klines", {"limit": 1500}, Cost(weight=10)),
        ("GET", "/fapi/v1/nobodyKnows", {}, Cost(weight=10)),
    ],
)
def test_cost_by_request(method: str, path: str, parameters: dict[str, object], cost: Cost) -> None:
    assert cost_of(method, path, parameters) == cost


def test_each_lane_leaves_more_free_than_the_one_before_it() -> None:
    for earlier, later in pairwise(Lane):
        assert SHARES[earlier].at_start < SHARES[later].at_start
        assert SHARES[earlier].at_end < SHARES[later].at_end


def test_exits_alone_never_give_way() -> None:
    assert {lane for lane in Lane if SHARES[lane].exits} == {Lane.PROTECT, Lane.CLOSE}
    assert SHARES[Lane.PROTECT].at_start == 0


def test_the_reserve_shrinks_as_a_window_ends_and_wastes_at_most_a_twentieth() -> None:
    for share in SHARES.values():
        assert share.at_end <= share.at_start
        assert share.at_end <= 0.05
