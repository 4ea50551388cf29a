"""Scenarios of long lives: positions of days and weeks, orders that the exchange has forgotten, funding and fees.

Each buys 0.010 BTC at 50000.1 with a taker fee of 0.2500005, as in `exits`, or sells it at 49999.9 for 0.2499995. Time
passes at the exchange and here; nobody listens to the stream. Every 8 hours 0.010 x 50000 x 0.0001 = 0.05 are paid by
the long side to the short one, at the prices that stand still until a story moves them.
"""

from datetime import timedelta
from uuid import UUID

from execution.models import AuditEvent, Order, PositionSlot
from tests.scenarios.scenario import D, Figures, account, books, move, opened, scenario, watch
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

DAY = timedelta(days=1)


def let_pass(desk: Desk, time: timedelta) -> None:
    """Let time pass at the exchange, with its funding, and here."""
    desk.paper.control("POST", "clock", {"advance_ms": int(time / timedelta(milliseconds=1))})
    desk.clock.let_pass(time.total_seconds())


# 8 days are 24 fundings: 24 x 0.05 = 1.2 paid. Then as "target hit": 9.493 - 1.2.
@scenario(
    "8 days, long, target",
    ended="TP",
    exit="50999.9",
    gross="9.998",
    fees="0.505",
    funding="-1.2",
    net="8.293",
    trade_closed_events="1",
    wallet="10008.293",
    claims="0",
    unfinished_orders="0",
    left="nothing",
)
def eight_days_long_target(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    let_pass(desk, 8 * DAY)
    move(desk, "51000")
    return {**books(desk, request_id), **kept(request_id)}


# Received 24 x 0.05 = 1.2. Bought back at 51000.1: (49999.9 - 51000.1) x 0.010 = -10.002, fee 510.001 x 0.0005 =
# 0.2550005, of both 0.505. Net -10.002 - 0.505 + 1.2.
@scenario(
    "8 days, short, stop",
    ended="SL",
    exit="51000.1",
    gross="-10.002",
    fees="0.505",
    funding="1.2",
    net="-9.307",
    trade_closed_events="1",
    wallet="9990.693",
    claims="0",
    unfinished_orders="0",
    left="nothing",
)
def eight_days_short_stop(desk: Desk) -> Figures:
    request_id = opened(desk, side="sell", stop_loss="51000", take_profit="49000")
    let_pass(desk, 8 * DAY)
    move(desk, "51000")
    return {**books(desk, request_id), **kept(request_id)}


# 40 days are 120 fundings; 1000 more of the same are paid in between, more than a page of income: 1120 x 0.05 = 56.
# Net 9.998 - 0.505 - 56.
@scenario(
    "40 days, 1120 lines of funding",
    lines="1120",
    ended="TP",
    gross="9.998",
    fees="0.505",
    funding="-56",
    net="-46.507",
    wallet="9953.493",
    claims="0",
    unfinished_orders="0",
    left="nothing",
)
def forty_days_of_funding(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    for _ in range(20):
        for _ in range(50):
            desk.paper.control("POST", "funding", {"symbol": "BTCUSDT"})
        let_pass(desk, 2 * DAY)
    move(desk, "51000")
    return {"lines": desk.trade(request_id).income.count(), **books(desk, request_id), **kept(request_id)}


# 4 days are 12 fundings: 0.6. The stop is over three days old when it is cancelled, so no look-up finds it: the answer
# to the cancel tells. Net 9.998 - 0.505 - 0.6.
@scenario(
    "4 days, target, the stream silent",
    ended="TP",
    funding="-0.6",
    net="8.893",
    wallet="10008.893",
    stop="CANCELED",
    reasons="",
    claims="0",
    unfinished_orders="0",
    left="nothing",
)
def four_days_with_the_stream_silent(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    let_pass(desk, 4 * DAY)
    desk.paper.set_price("BTCUSDT", "51000")
    watch(desk, 2, seconds=10)
    return {**books(desk, request_id), **ended(desk, request_id), **kept(request_id)}


# The same, and the answer to the cancel is lost: two look-ups later its absence is the evidence.
@scenario(
    "4 days, target, the cancel's answer lost",
    ended="TP",
    net="8.893",
    wallet="10008.893",
    stop="CANCELED",
    reasons="ENDED_UNSEEN",
    claims="0",
    unfinished_orders="0",
    left="nothing",
)
def four_days_with_a_lost_answer(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    let_pass(desk, 4 * DAY)
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="drop_after", count=1)
    desk.paper.set_price("BTCUSDT", "51000")
    watch(desk, 4, seconds=10)
    return {**books(desk, request_id), **ended(desk, request_id), **kept(request_id)}


# A LIMIT entry rests for 4 days and is cancelled by its owner while nobody of ours looks: nothing was bought.
@scenario(
    "LIMIT entry cancelled unseen after 4 days",
    before="ACCEPTED",
    request="CANCELED ENTRY_ENDED_WITHOUT_FILL",
    entry_order="CANCELED",
    claims="0",
    wallet="10000",
    left="nothing",
)
def limit_entry_cancelled_unseen(desk: Desk) -> Figures:
    request_id = desk.signal(
        price="49900", stop_loss="49000", take_profit="51000", expires_in_seconds=30 * int(DAY.total_seconds())
    )
    before = desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    let_pass(desk, 4 * DAY)
    desk.person.cancel_order("BTCUSDT", origClientOrderId=entry.client_order_id)
    watch(desk, 4, seconds=10)
    request = desk.request(request_id)
    return {
        "before": before,
        "request": f"{request.state} {request.reason_code}",
        "entry_order": desk.order(request_id, "ENTRY").state,
        "claims": PositionSlot.objects.count(),
        **account(desk),
    }


# Hedge mode, 3 fundings at 0.001: the long side pays 0.010 x 50000 x 0.001 = 0.5 each time, the short side of 0.004
# gets 0.2. The short one is closed first, at 50000.1: -0.2 x 0.004 = -0.0008, fees 0.0999998 + 0.1000002 = 0.2; net
# 0.6 - 0.2008. The long one at 49999.9: -0.002, fees 0.5; net -1.5 - 0.502.
@scenario(
    "hedge mode, funding of both sides",
    short_funding="0.6",
    short_net="0.3992",
    long_funding="-1.5",
    long_net="-2.002",
    wallet="9998.3972",
    left="nothing",
)
def funding_of_both_sides(desk: Desk) -> Figures:
    desk.paper.control("POST", "settings", {"dual_side": True})
    long = opened(desk, stop_loss="47000", take_profit="53000")
    short = opened(desk, side="sell", quantity="0.004", stop_loss="53000", take_profit="47000")
    for _ in range(3):
        desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.001"})
    for side in ("SHORT", "LONG"):
        desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0", "position_side": side})
        watch(desk)
    return {
        "short_funding": desk.trade(short).funding,
        "short_net": desk.trade(short).net_pnl,
        "long_funding": desk.trade(long).funding,
        "long_net": desk.trade(long).net_pnl,
        **account(desk),
    }


# Fees in BNB, ten percent cheaper, at an index price of 600: 0.2500005 x 0.9 / 600 = 0.00037500 BNB, and as much for
# the exit, 0.2499995 x 0.9 / 600. No market of that minute is told; the asset index says 600 USD a BNB and 1 a USDT:
# 0.225 and 0.225. Net -0.002 - 0.45.
@scenario(
    "fees in BNB without a market",
    entry_fees="0.225",
    fees="0.45",
    gross="-0.002",
    net="-0.452",
    complete="True",
    wallet="9999.998",
    left="nothing",
    foreign=("BTCUSDT",),
)
def fees_without_a_market(desk: Desk) -> Figures:
    pay_in_bnb(desk)
    desk.paper.add_fault(path="/fapi/v1/klines", action="reply", body=[], status=200, count=None)
    request_id = closed_by_hand(desk)
    trade = desk.trade(request_id)
    return {"entry_fees": trade.entry_fees, "complete": trade.net_is_complete, **books(desk, request_id)}


# The same without an index: the fees are in no figure, and the limits take them for a tenth of a percent of what was
# bought and sold, 500.001 + 499.999: 1.
@scenario(
    "fees in BNB that nobody can value",
    unvalued="BNB 0.00075",
    fees="0",
    net="-0.002",
    complete="False",
    limits_count="1",
    wallet="9999.998",
    left="nothing",
    foreign=("BTCUSDT",),
)
def fees_that_nobody_can_value(desk: Desk) -> Figures:
    pay_in_bnb(desk)
    for path in ("/fapi/v1/klines", "/fapi/v1/assetIndex"):
        desk.paper.add_fault(path=path, action="reply", body=[], status=200, count=None)
    request_id = closed_by_hand(desk)
    trade = desk.trade(request_id)
    return {
        "unvalued": [f"{asset} {D(fee).normalize():f}" for asset, fee in trade.unvalued_fees.items()],
        "complete": trade.net_is_complete,
        "limits_count": trade.assumed_cost,
        **books(desk, request_id),
    }


def pay_in_bnb(desk: Desk) -> None:
    desk.paper.control("POST", "transfer", {"asset": "BNB", "amount": "1"})
    desk.person.sign_request("POST", "/fapi/v1/feeBurn", {"feeBurn": "true"})


def closed_by_hand(desk: Desk) -> UUID:
    request_id = opened(desk, take_profit="51000")
    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0"})
    watch(desk)
    return request_id


def kept(request_id: UUID) -> dict[str, object]:
    """Return what still keeps the symbol of a trade: claims, and orders that are not over."""
    final = ["FILLED", "CANCELED", "EXPIRED", "REJECTED", "NOT_ACCEPTED", "WRITTEN_OFF"]
    left = Order.objects.filter(request_id=request_id).exclude(state__in=final)
    return {"claims": PositionSlot.objects.count(), "unfinished_orders": left.count()}


def ended(desk: Desk, request_id: UUID) -> dict[str, object]:
    """Return how the stop of a trade ended, and the reasons that were written for it."""
    stop = desk.order(request_id, "STOP")
    steps = AuditEvent.objects.filter(entity="order", entity_id=stop.client_order_id, to_state=stop.state)
    return {"stop": stop.state, "reasons": " ".join(steps.values_list("reason_code", flat=True))}
