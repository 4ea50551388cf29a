"""What requests cost, and what each lane leaves to the others: data that money and bans depend on."""

from dataclasses import replace
from itertools import pairwise

import pytest

from execution.adapters.binance.weights import cost_of
from execution.domain.kill_switch import KillLevel
from execution.domain.outcomes import Mismatch
from execution.domain.ports import Lane
from execution.domain.rate_limits import SHARES, Cost, Counter, Limits, Permit, Throttled, WindowUsage
from execution.domain.reasons import Reason
from tests.unit.examples import limiter_state

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


# Written out here as well, from the documented tables: what a weight costs is changed twice, and on purpose.
FIXED = """
    GET    0  v1/fundingRate v1/fundingInfo
    GET    1  v1/ping v1/time v1/exchangeInfo v1/order v1/openOrder v1/algoOrder v1/orderAmendment v1/openInterest
    GET    1  v1/leverageBracket v1/rateLimit/order v1/positionMargin/history
    DELETE 1  v1/order v1/algoOrder v1/allOpenOrders v1/algoOpenOrders v1/batchOrders v1/listenKey
    POST   1  v1/leverage v1/marginType v1/positionSide/dual v1/positionMargin v1/listenKey v1/multiAssetsMargin
    POST   1  v1/feeBurn v1/order/test
    PUT    1  v1/listenKey
    GET    5  v1/allOrders v1/allAlgoOrders v1/userTrades v1/trades v1/adlQuantile v1/accountConfig v1/symbolConfig
    GET    5  v2/account v3/account v2/balance v3/balance v2/positionRisk v3/positionRisk
    GET    20 v1/commissionRate v1/aggTrades
    GET    30 v1/income v1/positionSide/dual v1/multiAssetsMargin v1/feeBurn
    POST   10 v1/countdownCancelAll v1/nothing
    PUT    10 v1/nothing
"""
WITH_SYMBOL_AND_WITHOUT = {
    "v1/openOrders": (1, 40),
    "v1/openAlgoOrders": (1, 40),
    "v1/premiumIndex": (1, 10),
    "v1/ticker/bookTicker": (2, 5),
    "v1/ticker/price": (1, 2),
    "v2/ticker/price": (1, 2),
    "v1/ticker/24hr": (1, 40),
    "v1/forceOrders": (20, 50),
    "v1/apiTradingStatus": (1, 10),
    "v1/assetIndex": (1, 10),
}
KLINES = {None: 5, 1: 1, 99: 1, 100: 2, 499: 2, 500: 5, 1000: 5, 1001: 10, 1500: 10, 1501: 10}
DEPTH = {None: 10, 5: 2, 50: 2, 51: 5, 100: 5, 101: 10, 500: 10, 501: 20, 1000: 20, 1001: 20}


def test_every_weight_is_as_documented() -> None:
    for line in FIXED.strip().splitlines():
        method, weight, *paths = line.split()
        for path in paths:
            assert cost_of(method, f"/fapi/{path}", {"symbol": "X"}) == Cost(weight=int(weight)), (method, path)
    for path, (one, all_symbols) in WITH_SYMBOL_AND_WITHOUT.items():
        assert cost_of("GET", f"/fapi/{path}", {"symbol": "X"}) == Cost(weight=one), path
        assert cost_of("GET", f"/fapi/{path}", {}) == Cost(weight=all_symbols), path
    for method in ("POST", "PUT"):
        assert cost_of(method, "/fapi/v1/order", {}) == ORDER
        assert cost_of(method, "/fapi/v1/batchOrders", {}) == Cost(weight=5, orders_10s=5, orders_1m=1)


@pytest.mark.parametrize(
    "kind", ["klines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines"]
)
def test_candles_cost_by_their_number(kind: str) -> None:
    for limit, weight in KLINES.items():
        assert cost_of("GET", f"/fapi/v1/{kind}", {"limit": limit}) == Cost(weight=weight), limit


def test_a_book_costs_by_its_depth() -> None:
    for limit, weight in DEPTH.items():
        assert cost_of("GET", "/fapi/v1/depth", {"limit": limit}) == Cost(weight=weight), limit


def test_the_shares_of_the_lanes_by_hand() -> None:
    assert {lane: (share.at_start, share.at_end) for lane, share in SHARES.items()} == {
        Lane.PROTECT: (0, 0),
        Lane.CLOSE: (0.02, 0.01),
        Lane.ENTRY: (0.10, 0.03),
        Lane.READ: (0.20, 0.04),
    }


@pytest.mark.parametrize(
    ("limit", "used", "banned", "available"),
    [(1200, 0, 0, 1200), (1200, 1199, 0, 1), (1200, 1300, 0, 0), (1200, 5, 3, 0)],
)
def test_what_may_still_be_sent(limit: int, used: int, banned: float, available: int) -> None:
    state = limiter_state(limit=limit, used=used, banned_seconds=banned)
    # The exchange's counters say something else of their own.
    others = {each: replace(count, limit=7, used=3) for each, count in state.counters.items()}
    state = replace(state, counters=others | {Counter.REQUESTS: state.counters[Counter.REQUESTS]})

    assert (state.available, state.limit_per_minute) == (available, limit)


def test_what_nobody_has_told_is_not_known() -> None:
    assert Cost() == Cost(weight=0, orders_10s=0, orders_1m=0, cover_orders=0)
    assert Limits() == Limits(weight=2400, orders_10s=300, orders_1m=1200)
    assert WindowUsage() == WindowUsage(weight=None, orders_10s=None, orders_1m=None)
    # It should be certain of no window, and go through no hold
    assert Permit(cost=ORDER) == Permit(cost=ORDER, window_10s=-1, window_1m=-1, shared=True, probe=False)


def test_a_denial_says_what_is_scarce_and_for_how_long() -> None:
    assert str(Throttled(blocked_by="orders_10s", wait_seconds=2.26)) == "blocked_by=orders_10s needed=2.3s"
    assert str(Mismatch(reason=Reason.LEVERAGE_MISMATCH, wanted="5", found="20")) == (
        "LEVERAGE_MISMATCH: wanted=5 found=20"
    )


def test_each_level_of_the_kill_switch_does_what_those_before_it_do() -> None:
    assert [(level, level.rank, level.cancels_entries, level.closes_positions) for level in KillLevel] == [
        ("entries", 0, False, False),
        ("halt", 1, True, False),
        ("flatten", 2, True, True),
    ]
