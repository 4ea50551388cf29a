"""Scenarios of entries: a resting one that fills in parts, a stop that comes too late, both sides of a symbol."""

from tests.scenarios.scenario import Figures, account, books, move, opened, scenario, stops, targets, watch
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER


# Bought by resting at 49500, 495 USDT, maker fee 0.02 %: 0.099. Sold at 50999.9: 1499.9 x 0.010 = 14.999, fee
# 509.999 x 0.0005 = 0.2549995, of both 0.3539995.
@scenario(
    "LIMIT entry filled in five parts",
    stop_after_each_part="0.002@49000, 0.004@49000, 0.006@49000, 0.008@49000, 0.01@49000",
    target_after_each_part="0.002@51000, 0.004@51000, 0.006@51000, 0.008@51000, 0.01@51000",
    trade_opened_events="1",
    ended="TP",
    quantity="0.01",
    entry="49500",
    exit="50999.9",
    gross="14.999",
    fees="0.3539995",
    net="14.6450005",
    wallet="10014.6450005",
    left="nothing",
)
def limit_entry_filled_in_five_parts(desk: Desk) -> Figures:
    request_id = desk.signal(price="49500", stop_loss="49000", take_profit="51000")
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY").client_order_id
    stop_covers, target_covers = [], []
    for _ in range(5):
        desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": "0.002"})
        watch(desk)
        stop_covers.append(stops(desk))
        target_covers.append(targets(desk))
    move(desk, "51000")
    return {
        "stop_after_each_part": stop_covers,
        "target_after_each_part": target_covers,
        "trade_opened_events": desk.events(request_id).count("trade.opened"),
        **books(desk, request_id),
    }


# The price falls to 48900 between the fill and its stop at 49000, which the exchange refuses, as it does once more at
# 48951, a thousandth beyond. Sold at 48899.9:
# -1100.2 x 0.010 = -11.002; fee 488.999 x 0.0005 = 0.2444995, of both 0.4945.
@scenario(
    "-2021 at placement",
    stops_sent="49000, 48951",
    stop_answered="-2021, -2021",
    ended="SL",
    exit="48899.9",
    gross="-11.002",
    fees="0.4945",
    net="-11.4965",
    wallet="9988.5035",
    left="nothing",
)
def refused_stop(desk: Desk) -> Figures:
    request_id = desk.signal(stop_loss="49000", take_profit="51000")
    desk.run(request_id, until="place_order")
    desk.paper.set_price("BTCUSDT", "48900")
    desk.run(request_id)
    watch(desk)
    sent = [row for row in desk.ledger.requests if (row["method"], row["path"]) == ("POST", ALGO_ORDER)]
    return {
        "stops_sent": [row["params"]["triggerPrice"] for row in sent],
        "stop_answered": [row["code"] for row in sent],
        **books(desk, request_id),
    }


# Long as in "target hit": 9.493. Short from 49999.9, fee 499.999 x 0.0005 = 0.2499995, to 48000.1, fee 480.001 x 0.0005
# = 0.2400005: 1999.8 x 0.010 = 19.998 less 0.49 is 19.508. Both 29.001.
@scenario(
    "hedge mode with both sides open",
    stops_at_first="0.01@47000, 0.01@53000",
    after_the_long_target="BTCUSDT -0.01",
    stops_after_the_long_target="0.01@53000",
    long_ended="TP",
    long_net="9.493",
    short_ended="TP",
    short_net="19.508",
    wallet="10029.001",
    left="nothing",
)
def both_sides_open(desk: Desk) -> Figures:
    desk.paper.control("POST", "settings", {"dual_side": True})
    long = opened(desk, stop_loss="47000", take_profit="51000")
    short = opened(desk, side="sell", stop_loss="53000", take_profit="48000")
    at_first = stops(desk)
    move(desk, "51000")
    held = [f"{symbol} {amount}" for symbol, amount in desk.ledger.positions.items()]
    stops_between = stops(desk)
    move(desk, "48000")
    return {
        "stops_at_first": at_first,
        "after_the_long_target": held,
        "stops_after_the_long_target": stops_between,
        "long_ended": desk.trade(long).close_reason,
        "long_net": desk.trade(long).net_pnl,
        "short_ended": desk.trade(short).close_reason,
        "short_net": desk.trade(short).net_pnl,
        **account(desk),
    }
