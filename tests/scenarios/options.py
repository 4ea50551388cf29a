"""Scenarios of the options of entries: their time in force.

Best bid and ask are 49999.9 and 50000.1. Fees are 0.05 % for takers, 0.02 % for makers.
"""

from uuid import UUID

from execution.crash_points import CrashPoint
from tests.scenarios.scenario import Figures, account, books, move, scenario, stops, watch
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
