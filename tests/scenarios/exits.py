"""Scenarios of a position's own exits: target, stop, gap, trailing, break-even, several targets, time.

Each buys 0.010 BTC at 50000.1, the ask beside 50000: 500.001 USDT, whose taker fee of 0.05 % is 0.2500005. An exit at
market sells one tick below the price. The wallet begins with 10000.
"""

from tests.scenarios.scenario import Figures, books, move, opened, scenario, stops, targets, watch
from tests.support.desk import Desk

THREE_TARGETS = [
    {"price": "51000", "share": "0.5"},
    {"price": "52000", "share": "0.3"},
    {"price": "53000", "share": "0.2"},
]


# (50999.9 - 50000.1) x 0.010 = 9.998; fee of the exit 509.999 x 0.0005 = 0.2549995, of both 0.505; 9.998 - 0.505.
@scenario(
    "target hit",
    ended="TP",
    entry="50000.1",
    exit="50999.9",
    gross="9.998",
    fees="0.505",
    net="9.493",
    wallet="10009.493",
    left="nothing",
    trade_closed_events="1",
)
def target_hit(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    move(desk, "51000")
    return books(desk, request_id)


# (48999.9 - 50000.1) x 0.010 = -10.002; fee of the exit 489.999 x 0.0005 = 0.2449995, of both 0.495.
@scenario(
    "stop hit",
    ended="SL",
    exit="48999.9",
    gross="-10.002",
    fees="0.495",
    net="-10.497",
    wallet="9989.503",
    left="nothing",
)
def stop_hit(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    move(desk, "49000")
    return books(desk, request_id)


# The stop at 49000 is met at 48000: (47999.9 - 50000.1) x 0.010 = -20.002; fee 479.999 x 0.0005 = 0.2399995, both 0.49.
@scenario(
    "stop gapped through",
    ended="SL",
    exit="47999.9",
    gross="-20.002",
    fees="0.49",
    net="-20.492",
    wallet="9979.508",
    left="nothing",
)
def stop_gapped_through(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    move(desk, "48000")
    return books(desk, request_id)


# The best price is 52000, one percent below it 51480: (51479.9 - 50000.1) x 0.010 = 14.798; fee 514.799 x 0.0005 =
# 0.2573995, of both 0.5074. At 51480.1 it must not have followed yet.
@scenario(
    "trailing",
    before="OPEN",
    ended="TRAILING",
    exit="51479.9",
    gross="14.798",
    fees="0.5074",
    net="14.2906",
    wallet="10014.2906",
    left="nothing",
)
def trailing(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="60000", trailing={"callback_percent": "1"})
    move(desk, "51000", "52000", "51480.1")
    before = desk.trade(request_id).state
    move(desk, "51480")
    return {"before": before, **books(desk, request_id)}


# Half is sold at 50999.9: 999.8 x 0.005 = 4.999, fee 254.9995 x 0.0005 = 0.12749975. The stop moves to 50000.1 and a
# tenth of a percent, 50050.1001, up to the tick 50050.2. There the rest is sold at 50050.1: 50 x 0.005 = 0.25, fee
# 250.2505 x 0.0005 = 0.12512525. Exit (50999.9 + 50050.1) / 2; fees 0.2500005 + 0.12749975 + 0.12512525.
@scenario(
    "break-even",
    stop_after_the_first_target="0.005@50050.2",
    ended="BREAK_EVEN",
    exit="50525",
    gross="5.249",
    fees="0.5026255",
    net="4.7463745",
    wallet="10004.7463745",
    left="nothing",
)
def break_even(desk: Desk) -> Figures:
    half = [{"price": "51000", "share": "0.5"}, {"price": "53000", "share": "0.5"}]
    request_id = opened(desk, take_profits=half, break_even=True)
    move(desk, "51000")
    after = stops(desk)
    move(desk, "50050.2")
    return {"stop_after_the_first_target": after, **books(desk, request_id)}


# Each target fills in two parts, on steps: 0.005 as 0.002 and 0.003, 0.003 as 0.001 and 0.002, 0.002 as 0.001 and
# 0.001. Sold are 254.9995 + 155.9997 + 105.9998 = 516.999 USDT: exit 51699.9, gross 16.998, fees of the exits
# 516.999 x 0.0005 = 0.2584995, of all 0.5085.
@scenario(
    "three targets with partial fills",
    targets_at_first="0.005@51000, 0.003@52000, 0.002@53000",
    stop_after_each_fill="0.008@49000, 0.005@49000, 0.004@49000, 0.002@49000, 0.001@49000, nothing",
    ended="TP",
    exit="51699.9",
    gross="16.998",
    fees="0.5085",
    net="16.4895",
    wallet="10016.4895",
    left="nothing",
)
def three_targets_with_partial_fills(desk: Desk) -> Figures:
    request_id = opened(desk, take_profits=THREE_TARGETS)
    at_first, covers = targets(desk), []
    desk.paper.control("POST", "portions", {"symbol": "BTCUSDT", "parts": 2, "every_ms": 60_000, "count": 3})
    for price in ("51000", "52000", "53000"):
        move(desk, price)
        covers.append(stops(desk))
        desk.paper.control("POST", "clock", {"advance_ms": 60_000})
        watch(desk, seconds=60)
        covers.append(stops(desk))
    return {"targets_at_first": at_first, "stop_after_each_fill": covers, **books(desk, request_id)}


# Closed at 49999.9: (49999.9 - 50000.1) x 0.010 = -0.002; fee 499.999 x 0.0005 = 0.2499995, of both 0.5.
@scenario(
    "time exit",
    before="OPEN",
    ended="TIME",
    exit="49999.9",
    gross="-0.002",
    fees="0.5",
    net="-0.502",
    wallet="9999.498",
    left="nothing",
)
def time_exit(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000", time_exit_seconds=600)
    watch(desk, seconds=590)
    before = desk.trade(request_id).state
    watch(desk, seconds=11)
    return {"before": before, **books(desk, request_id)}
