"""Scenarios of the exchange's filters: what reduces is split by the market maximum, rounded anew, and never dumped.

The wallet begins with 10000; taker fees are 0.05 %, maker fees 0.02 %. A market order sells one tick below the price
and buys one tick above it.
"""

from typing import Any
from uuid import UUID

from execution.domain.coverage import Coverage
from tests.scenarios.scenario import Figures, account, books, move, opened, scenario, stops, targets, watch
from tests.support.desk import Desk

THIRDS = [
    {"price": "51000", "share": "0.34"},
    {"price": "52000", "share": "0.33"},
    {"price": "53000", "share": "0.33"},
]
HALVES = [{"price": "51000", "share": "0.5"}, {"price": "53000", "share": "0.5"}]


def relist(desk: Desk, **terms: str) -> None:
    desk.paper.control("POST", "symbols", {"symbol": "BTCUSDT", **terms})


def filled_limit(desk: Desk, side: str, price: str, **fields: Any) -> UUID:
    """Let a LIMIT order of 0.150 rest, and the price come to it."""
    request_id = desk.signal(side=side, quantity="0.150", price=price, **fields)
    state = desk.run(request_id)
    if state != "ACCEPTED":
        raise AssertionError(f"not ACCEPTED but {state}: {desk.request(request_id).reason}")
    move(desk, price)
    watch(desk)
    return request_id


def uncovered() -> list[Coverage]:
    # Models can be imported once Django is set up.
    from execution.protection.coverage import uncovered_positions  # noqa: PLC0415

    return uncovered_positions()


# 0.150 at 49990 cost 7498.5, maker fee 1.4997. Both stops sell at 48999.9: 0.120 for 5879.988, fee 2.939994, and 0.030
# for 1469.997, fee 0.7349985. (48999.9 - 49990) x 0.150 = -148.515; fees 1.4997 + 2.939994 + 0.7349985 = 5.1746925.
@scenario(
    "market maximum below a long LIMIT entry",
    stops="0.03@49000, 0.12@49000",
    targets="0.03@51000, 0.12@51000",
    unprotected="nothing",
    stop_orders="FILLED, FILLED",
    ended="SL",
    exit="48999.9",
    gross="-148.515",
    fees="5.1746925",
    net="-153.6896925",
    wallet="9846.3103075",
    left="nothing",
    trade_closed_events="1",
)
def split_long(desk: Desk) -> Figures:
    relist(desk, market_max_quantity="0.12")
    request_id = filled_limit(desk, "buy", "49990", stop_loss="49000", take_profit="51000")
    resting = {"stops": stops(desk), "targets": targets(desk), "unprotected": uncovered()}
    move(desk, "49000")
    watch(desk)
    return {**resting, "stop_orders": desk.order_states(request_id, "STOP"), **books(desk, request_id)}


# 0.150 at 50010 bring 7501.5, maker fee 1.5003. Bought back at 50010.1: 0.120 for 6001.212, fee 3.000606, and 0.030 for
# 1500.303, fee 0.7501515. (50010 - 50010.1) x 0.150 = -0.015; fees 5.2510575.
@scenario(
    "market maximum below a short LIMIT entry, closed in time",
    stops="0.03@51000, 0.12@51000",
    targets="0.03@49000, 0.12@49000",
    close_orders="FILLED, FILLED",
    ended="TIME",
    exit="50010.1",
    gross="-0.015",
    fees="5.2510575",
    net="-5.2660575",
    wallet="9994.7339425",
    left="nothing",
    trade_closed_events="1",
)
def split_short(desk: Desk) -> Figures:
    relist(desk, market_max_quantity="0.12")
    request_id = filled_limit(desk, "sell", "50010", stop_loss="51000", take_profit="49000", time_exit_seconds=600)
    resting = {"stops": stops(desk), "targets": targets(desk)}
    watch(desk, seconds=601)
    watch(desk)
    return {**resting, "close_orders": desk.order_states(request_id, "CLOSE"), **books(desk, request_id)}


# A MARKET entry above the market maximum is no order that the exchange takes; nothing is sent.
@scenario(
    "market entry above the market maximum",
    state="DENIED",
    reason="QUANTITY_ABOVE_MAXIMUM: expected<=0.12 actual=0.15",
    wallet="10000",
    left="nothing",
)
def market_entry_above_maximum(desk: Desk) -> Figures:
    relist(desk, market_max_quantity="0.12")
    request_id = desk.signal(quantity="0.150", stop_loss="49000")
    desk.run(request_id)
    request = desk.request(request_id)
    return {"state": request.state, "reason": request.reason, **account(desk)}


# 0.150 in orders of 0.003 at most are 50 stops and 50 targets: more than 40 for one position.
@scenario(
    "exits in more orders than are placed for one position",
    state="DENIED",
    reason="EXITS_NOT_PLACEABLE: expected<=40 actual=100 quantity=0.15 closable=0.15 step=0.001 minimum=0.001 "
    "maximum=0.003",
)
def too_many_exits(desk: Desk) -> Figures:
    relist(desk, market_max_quantity="0.003")
    request_id = desk.signal(quantity="0.150", price="49990", stop_loss="49000", take_profit="51000")
    desk.run(request_id)
    request = desk.request(request_id)
    return {"state": request.state, "reason": request.reason}


# Each third is worth some 52 USD, where an opening order needs 100. They sell at 50999.9, 51999.9 and 52999.9: exit
# 51999.9; (51999.9 - 50000.1) x 0.003 = 5.9994; fees (150.0003 + 155.9997) x 0.0005 = 0.153.
@scenario(
    "thirds of 0.003 where an opening order needs 100",
    targets_at_first="0.001@51000, 0.001@52000, 0.001@53000",
    runner_stop="0.001@49000",
    runner_target="0.001@53000",
    ended="TP",
    exit="51999.9",
    gross="5.9994",
    fees="0.153",
    net="5.8464",
    wallet="10005.8464",
    left="nothing",
    trade_closed_events="1",
)
def runner_below_minimum_notional(desk: Desk) -> Figures:
    relist(desk, min_notional="100")
    request_id = opened(desk, quantity="0.003", take_profits=THIRDS)
    first = targets(desk)
    move(desk, "51000", "52000")
    runner = {"runner_stop": stops(desk), "runner_target": targets(desk)}
    move(desk, "53000")
    return {"targets_at_first": first, **runner, **books(desk, request_id)}


# The first half sells one tick of 5 below 51000. Break-even lies at 50000.1 and a tenth of a percent, 50050.1001, up to
# the tick 50055, and sells at 50050. ((50995 - 50000.1) + (50050 - 50000.1)) x 0.005 = 5.224; fees 0.2500005 +
# 254.975 x 0.0005 + 250.25 x 0.0005 = 0.502613.
@scenario(
    "tick becomes coarser before break-even",
    stop_after_the_first_target="0.005@50055",
    ended="BREAK_EVEN",
    exit="50522.5",
    gross="5.224",
    fees="0.502613",
    net="4.721387",
    wallet="10004.721387",
    left="nothing",
)
def break_even_on_a_coarser_tick(desk: Desk) -> Figures:
    request_id = opened(desk, take_profits=HALVES, break_even=True)
    relist(desk, tick="5")
    watch(desk)
    move(desk, "51000")
    after = stops(desk)
    move(desk, "50055")
    return {"stop_after_the_first_target": after, **books(desk, request_id)}


# 0.015 is no multiple of 0.01: both exits are placed anew for 0.02, of which reduce-only executes 0.015. It sells at
# 50999.9: 999.8 x 0.015 = 14.997; fees (750.0015 + 764.9985) x 0.0005 = 0.7575.
@scenario(
    "step becomes coarser under a position",
    stops="0.02@49000",
    targets="0.02@51000",
    ended="TP",
    exit="50999.9",
    gross="14.997",
    fees="0.7575",
    net="14.2395",
    wallet="10014.2395",
    left="nothing",
)
def remainder_of_a_coarser_step(desk: Desk) -> Figures:
    request_id = opened(desk, quantity="0.015", take_profit="51000")
    relist(desk, step="0.01")
    watch(desk, 2)
    exits = {"stops": stops(desk), "targets": targets(desk)}
    move(desk, "51000")
    watch(desk)
    return {**exits, **books(desk, request_id)}


# 0.007 of 0.010 go at 50999.9; the 0.003 that are left are less than the new step of 0.005 and go at once, at the same
# price: (50999.9 - 50000.1) x 0.010 = 9.998; fees 0.2500005 + 509.999 x 0.0005 = 0.505.
@scenario(
    "remainder below a coarser step is closed",
    targets="0.007@51000, 0.003@53000",
    ended="DUST",
    exit="50999.9",
    gross="9.998",
    fees="0.505",
    net="9.493",
    wallet="10009.493",
    left="nothing",
)
def dust(desk: Desk) -> Figures:
    shares = [{"price": "51000", "share": "0.7"}, {"price": "53000", "share": "0.3"}]
    request_id = opened(desk, take_profits=shares)
    first = targets(desk)
    move(desk, "51000")
    relist(desk, step="0.005")
    watch(desk, 3)
    return {"targets": first, **books(desk, request_id)}
