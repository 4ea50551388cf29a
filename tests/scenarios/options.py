"""Scenarios of the options of entries: their time in force, exits by their distance, and sizes.

Best bid and ask are 49999.9 and 50000.1. Fees are 0.05 % for takers, 0.02 % for makers.
"""

from uuid import UUID

from execution.crash_points import CrashPoint
from tests.scenarios.scenario import Figures, account, books, move, opened, scenario, stops, targets, watch
from tests.support.candles import minutes_of_range
from tests.support.desk import Desk
from tests.support.interference import at_point

LONG, SHORT = {"side": "buy", "stop_loss": "49000"}, {"side": "sell", "stop_loss": "51000"}


def ended_without_trade(desk: Desk, request_id: UUID) -> Figures:
    request = desk.request(request_id)
    return {
        "ended": f"{request.state} {request.reason_code}",
        "order_failed_events": desk.events(request_id).count("order.failed"),
        **account(desk),
    }


def ioc_in_part(desk: Desk, side: str) -> Figures:
    """Four tenths of 0.010 are taken from the book, and the rest ends at once."""
    desk.paper.control("POST", "portions", {"fraction": 0.4})
    words = {"price": "50010", "take_profit": "51000", **LONG}
    if side == "sell":
        words = {"price": "49990", "take_profit": "49000", **SHORT}
    request_id = desk.signal(time_in_force="IOC", **words)
    state = desk.run(request_id)
    at_first = {"state": state, "stops": stops(desk)}
    move(desk, words["take_profit"])
    return {**at_first, **books(desk, request_id)}


# 0.004 at 50000.1 are 200.0004, fee 0.1000002. Sold at 50999.9, 203.9996, fee 0.1019998: 999.8 x 0.004 = 3.9992, less
# 0.202 is 3.7972.
@scenario(
    "IOC entry filled in part, long",
    state="RECORDED",
    stops="0.004@49000",
    ended="TP",
    quantity="0.004",
    entry="50000.1",
    exit="50999.9",
    gross="3.9992",
    fees="0.202",
    net="3.7972",
    wallet="10003.7972",
    left="nothing",
    trade_closed_events="1",
)
def ioc_in_part_long(desk: Desk) -> Figures:
    return ioc_in_part(desk, "buy")


# 0.004 at 49999.9 are 199.9996, fee 0.0999998. Bought back at 49000.1, 196.0004, fee 0.0980002: 999.8 x 0.004 = 3.9992,
# less 0.198 is 3.8012.
@scenario(
    "IOC entry filled in part, short",
    state="RECORDED",
    stops="0.004@51000",
    ended="TP",
    quantity="0.004",
    entry="49999.9",
    exit="49000.1",
    gross="3.9992",
    fees="0.198",
    net="3.8012",
    wallet="10003.8012",
    left="nothing",
    trade_closed_events="1",
)
def ioc_in_part_short(desk: Desk) -> Figures:
    return ioc_in_part(desk, "sell")


# The price that comes later buys nothing: no part of it rests.
@scenario(
    "IOC entry unfilled",
    ended="CANCELED ENTRY_ENDED_WITHOUT_FILL",
    order_failed_events="1",
    wallet="10000",
    left="nothing",
)
def ioc_unfilled(desk: Desk) -> Figures:
    request_id = desk.signal(price="49900", time_in_force="IOC", **LONG)
    desk.run(request_id)
    move(desk, "49800")
    return ended_without_trade(desk, request_id)


@scenario(
    "FOK entry that the book cannot fill",
    ended="REJECTED FOK_NOT_FILLABLE",
    order_failed_events="1",
    wallet="10000",
    left="nothing",
)
def fok_refused(desk: Desk) -> Figures:
    request_id = desk.signal(price="50100", time_in_force="FOK", **SHORT)
    desk.run(request_id)
    move(desk, "50200")
    return ended_without_trade(desk, request_id)


# The price falls below the limit between row and call.
@scenario(
    "post-only entry refused by the exchange",
    ended="REJECTED POST_ONLY_WOULD_TAKE",
    attempts="1",
    order_failed_events="1",
    wallet="10000",
    left="nothing",
)
def post_only_refused(desk: Desk) -> Figures:
    request_id = desk.signal(price="49900", time_in_force="post_only", **LONG)
    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: desk.paper.set_price("BTCUSDT", "49890")):
        desk.run(request_id)
    watch(desk)
    return {"attempts": desk.order(request_id, "ENTRY").attempts, **ended_without_trade(desk, request_id)}


# Bought as maker at 49900: 499, fee 0.0998. Sold at 50999.9: 509.999, fee 0.2549995. 1099.9 x 0.010 = 10.999, less
# 0.3547995 is 10.6442005.
@scenario(
    "post-only entry filled at its limit",
    before="ACCEPTED",
    ended="TP",
    quantity="0.01",
    entry="49900",
    exit="50999.9",
    gross="10.999",
    fees="0.3547995",
    net="10.6442005",
    wallet="10010.6442005",
    left="nothing",
    trade_closed_events="1",
)
def post_only_filled(desk: Desk) -> Figures:
    request_id = desk.signal(price="49900", time_in_force="post_only", take_profit="51000", **LONG)
    before = desk.run(request_id)
    move(desk, "49900", "51000")
    return {"before": before, **books(desk, request_id)}


# A quarter of an hour; the exchange ends it by itself, and the cycle after that reads it.
@scenario(
    "GTD entry expires",
    before="ACCEPTED",
    ended="CANCELED ENTRY_EXPIRED",
    order_failed_events="1",
    wallet="10000",
    left="nothing",
)
def gtd_expires(desk: Desk) -> Figures:
    end = desk.clock().timestamp() + 900
    request_id = desk.signal(price="49900", time_in_force="GTD", expires_at=int(end), **LONG)
    before = desk.run(request_id)
    desk.paper.control("POST", "clock", {"advance_ms": 901_000})
    watch(desk, seconds=901)
    move(desk, "49800")
    return {"before": before, **ended_without_trade(desk, request_id)}


# Exits by distance: 0.010 at 50000.1 or 49999.9


def planned(desk: Desk) -> Figures:
    return {"stops": stops(desk), "targets": targets(desk)}


# 23 minutes of 200 each are an ATR of 200: the stop 300 below 50000.1, the target twice that above. Sold at 50600.9:
# 6.008, fees 0.2500005 and 506.009 x 0.0005 = 0.2530045. Net 6.008 - 0.503005.
@scenario(
    "stop 1.5 ATR, target 2 R, long",
    stops="0.01@49700.1",
    targets="0.01@50600.1",
    ended="TP",
    exit="50600.9",
    gross="6.008",
    fees="0.503005",
    net="5.504995",
    wallet="10005.504995",
    left="nothing",
    trade_closed_events="1",
)
def atr_and_r_long(desk: Desk) -> Figures:
    minutes_of_range(desk, 23)
    terms = {"atr_interval": "1m", "atr_period": 2}
    request_id = opened(desk, stop_loss=None, stop_loss_atr="1.5", take_profit_r="2", **terms)
    plan = planned(desk)
    move(desk, "50601")
    return {**plan, **books(desk, request_id)}


# 49999.9 x 1.02 = 50999.898, on its tick 50999.9: R is 1000, the target 1500 below 49999.9. Bought back at 48499.1:
# 15.008, fees 0.2499995 and 484.991 x 0.0005 = 0.2424955. Net 15.008 - 0.492495.
@scenario(
    "stop 2 percent, target 1.5 R, short",
    stops="0.01@50999.9",
    targets="0.01@48499.9",
    ended="TP",
    exit="48499.1",
    gross="15.008",
    fees="0.492495",
    net="14.515505",
    wallet="10014.515505",
    left="nothing",
    trade_closed_events="1",
)
def percent_and_r_short(desk: Desk) -> Figures:
    request_id = opened(desk, side="sell", stop_loss=None, stop_loss_percent="2", take_profit_r="1.5")
    plan = planned(desk)
    move(desk, "48499")
    return {**plan, **books(desk, request_id)}


# Bought at 50010.1, 10 more than expected: 2 % below is 49009.898, on its tick 49009.8; R is 1000.3, twice that above
# is 52010.7. Sold at 49008.9: -10.012, fees 500.101 x 0.0005 = 0.2500505 and 490.089 x 0.0005 = 0.2450445.
@scenario(
    "distances follow a fill at a worse price",
    stops="0.01@49009.8",
    targets="0.01@52010.7",
    ended="SL",
    entry="50010.1",
    exit="49008.9",
    gross="-10.012",
    fees="0.495095",
    net="-10.507095",
    wallet="9989.492905",
    left="nothing",
    trade_closed_events="1",
)
def distances_follow_the_fill(desk: Desk) -> Figures:
    request_id = desk.signal(stop_loss_percent="2", take_profit_r="2")
    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: desk.paper.set_price("BTCUSDT", "50010")):
        desk.run(request_id)
    plan = planned(desk)
    move(desk, "49009")
    return {**plan, **books(desk, request_id)}


# Three minutes without a closed candle: the ATR of before says nothing about now.
@scenario(
    "ATR from old candles refused",
    ended="DENIED ATR_UNAVAILABLE",
    order_failed_events="1",
    wallet="10000",
    left="nothing",
)
def old_candles(desk: Desk) -> Figures:
    minutes_of_range(desk, 23)
    desk.clock.let_pass(180)
    request_id = desk.signal(stop_loss_atr="1.5", atr_interval="1m", atr_period=2)
    desk.run(request_id)
    return ended_without_trade(desk, request_id)


# Sizes


# 1 unit loses 1049.0001 from 50000.1 to 48951.0999 and fees of 0.0005 x 98951.1999: 1098.4757. 0.111 % of 10,000 are
# 11.1 USD, and 11.1 / 1098.4757 = 0.01010. Stopped out at 48999.9: -10.002, fees 0.2500005 and 489.999 x 0.0005 =
# 0.2449995.
@scenario(
    "size by risk in percent, long, stopped out",
    quantity="0.01",
    ended="SL",
    exit="48999.9",
    gross="-10.002",
    fees="0.495",
    net="-10.497",
    wallet="9989.503",
    left="nothing",
)
def risk_percent_long(desk: Desk) -> Figures:
    request_id = opened(desk, quantity=None, risk_percent="0.111", stop_loss="49000.1")
    move(desk, "49000")
    return books(desk, request_id)


# 5 % of 10,000 are 500 USD: 500 / 49999.9 = 0.0100002, on its step 0.010. As "target hit" of a short: sold at 49999.9,
# bought back at 48000.1: 19.998, fees 0.2499995 and 480.001 x 0.0005 = 0.2400005.
@scenario(
    "size by equity, short, target",
    quantity="0.01",
    ended="TP",
    exit="48000.1",
    gross="19.998",
    fees="0.49",
    net="19.508",
    wallet="10019.508",
    left="nothing",
)
def equity_short(desk: Desk) -> Figures:
    request_id = opened(desk, side="sell", quantity=None, equity_percent="5", stop_loss="51000", take_profit="48000")
    move(desk, "48000")
    return books(desk, request_id)
