"""Scenarios of what comes to an end late, or by itself: refused closes, LIMIT entries whose time is up, deliveries.

Each trades 0.010 at 50000.1 (long) or 49999.9 (short); fees are 0.05 % for takers, 0.02 % for makers.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from execution.api.health import measure
from tests.scenarios.scenario import Figures, account, books, move, opened, scenario, stops, watch
from tests.support.desk import Desk
from tests.support.ledger import ORDER

SIDES = {"buy": {"side": "buy", "stop_loss": "49000"}, "sell": {"side": "sell", "stop_loss": "51000"}}


def refused_close(desk: Desk, side: str) -> Figures:
    """Tries at 61, 72 and 83 s: pauses of 5 and 10 s. Nothing at 94 s, for the third pause is 20 s; done at 105 s."""
    request_id = opened(desk, time_exit_seconds=60, **SIDES[side])
    desk.paper.add_fault(path=ORDER, method="POST", action="refuse", code=-4131, count=3)
    watch(desk, seconds=61)
    sent, named = [_closes(desk)], []
    for _ in range(4):
        watch(desk, seconds=11)
        sent.append(_closes(desk))
        rows = measure().rows
        named.append([f"{each.code} x{each.tries}" for each in rows.refused] if rows else [])
    return {"closes_after_each_cycle": sent, "named_by_health": named, **books(desk, request_id)}


def _closes(desk: Desk) -> str:
    return str(len(desk.ledger.sent("POST", ORDER)) - 1)


# Sold one tick below 50000: (49999.9 - 50000.1) x 0.010 = -0.002. Fees 500.001 x 0.0005 = 0.2500005 and 499.999 x
# 0.0005 = 0.2499995, of both 0.5. The short buys at 50000.1 what it has sold at 49999.9: the same figures.
DENIED: dict[str, Any] = {
    "closes_after_each_cycle": "1, 2, 3, 3, 4",
    "named_by_health": "-4131 x2, -4131 x3, -4131 x3, nothing",
    "ended": "TIME",
    "gross": "-0.002",
    "fees": "0.5",
    "net": "-0.502",
    "wallet": "9999.498",
    "left": "nothing",
    "trade_closed_events": "1",
}


@scenario("close refused three times, long", **DENIED)
def refused_close_long(desk: Desk) -> Figures:
    return refused_close(desk, "buy")


@scenario("close refused three times, short", **DENIED)
def refused_close_short(desk: Desk) -> Figures:
    return refused_close(desk, "sell")


# 0.004 of 0.010 bought at 49500: fee 198 x 0.0002 = 0.0396. Sold at 50999.9: 1499.9 x 0.004 = 5.9996, fee 203.9996 x
# 0.0005 = 0.1019998, of both 0.1415998.
@scenario(
    "LIMIT entry expires, filled in part",
    before="ACCEPTED",
    afterwards="RECORDED CANCELED",
    stops_afterwards="0.004@49000",
    ended="TP",
    quantity="0.004",
    gross="5.9996",
    fees="0.1415998",
    net="5.8580002",
    wallet="10005.8580002",
    left="nothing",
)
def limit_entry_expires_in_part(desk: Desk) -> Figures:
    request_id = desk.signal(price="49500", stop_loss="49000", take_profit="51000", expires_in_seconds=120)
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.004"})
    watch(desk, seconds=110)
    before = desk.request(request_id).state
    watch(desk, 2, seconds=11)
    afterwards = f"{desk.request(request_id).state} {desk.order(request_id, 'ENTRY').state}"
    legs = {"before": before, "afterwards": afterwards, "stops_afterwards": stops(desk)}
    move(desk, "51000")
    return {**legs, **books(desk, request_id)}


# An hour by the policy's default. The price that comes a minute later buys nothing.
@scenario(
    "LIMIT entry expires unfilled",
    before="ACCEPTED",
    afterwards="CANCELED ENTRY_EXPIRED",
    order_failed_events="1",
    wallet="10000",
    left="nothing",
)
def limit_entry_expires_unfilled(desk: Desk) -> Figures:
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    watch(desk, seconds=3590)
    before = desk.request(request_id).state
    watch(desk, seconds=11)
    desk.paper.set_price("BTCUSDT", "49000")
    watch(desk, seconds=60)
    request = desk.request(request_id)
    return {
        "before": before,
        "afterwards": f"{request.state} {request.reason_code}",
        "order_failed_events": desk.events(request_id).count("order.failed"),
        **account(desk),
    }


def delivered(desk: Desk, side: str) -> Figures:
    """Open 30 hours before the delivery, ask for one more an hour before it, and look 5 seconds after it."""
    rows = desk.person.exchange_info()["symbols"]
    contract = next(row for row in rows if row["contractType"] == "NEXT_QUARTER" and row["pair"] == "BTCUSDT")
    symbol, end = contract["symbol"], datetime.fromtimestamp(contract["deliveryDate"] / 1000, tz=UTC)
    desk.paper.set_price(symbol, "50000")
    _go_to(desk, end - timedelta(hours=30))
    request_id = opened(desk, symbol=symbol, **SIDES[side])
    desk.paper.set_price(symbol, "50500")
    _go_to(desk, end - timedelta(hours=1))
    watch(desk)
    late = desk.signal(symbol=symbol, **SIDES[side])
    asked = f"{desk.run(late)} {desk.request(late).reason_code}"
    _go_to(desk, end + timedelta(seconds=5))
    watch(desk, 3)
    return {"asked_an_hour_before": asked, **books(desk, request_id)}


def _go_to(desk: Desk, moment: datetime) -> None:
    seconds = (moment - desk.clock()).total_seconds()
    desk.paper.control("POST", "clock", {"advance_ms": int(seconds * 1000)})
    desk.clock.let_pass(seconds)
    desk.exchange.check()


# Settled at the mark price, 50500: (50500 - 50000.1) x 0.010 = 4.999. Fees 0.2500005 and 505 x 0.0005 = 0.2525.
@scenario(
    "dated contract delivered, long",
    asked_an_hour_before="DENIED SYMBOL_ENDS",
    ended="SETTLEMENT",
    exit="50500",
    gross="4.999",
    fees="0.5025005",
    net="4.4964995",
    wallet="10004.4964995",
    left="nothing",
    trade_closed_events="1",
)
def delivered_long(desk: Desk) -> Figures:
    return delivered(desk, "buy")


# (49999.9 - 50500) x 0.010 = -5.001. Fees 0.2499995 and 0.2525.
@scenario(
    "dated contract delivered, short",
    asked_an_hour_before="DENIED SYMBOL_ENDS",
    ended="SETTLEMENT",
    exit="50500",
    gross="-5.001",
    fees="0.5024995",
    net="-5.5034995",
    wallet="9994.4965005",
    left="nothing",
    trade_closed_events="1",
)
def delivered_short(desk: Desk) -> Figures:
    return delivered(desk, "sell")
