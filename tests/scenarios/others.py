"""Scenarios of what others do to a position of ours: people by hand, the exchange by force, funding.

Each buys 0.010 BTC at 50000.1 with a taker fee of 0.2500005, as in `exits`.
"""

from execution.domain.external import ExternalPositions
from tests.scenarios.scenario import D, Figures, books, move, opened, scenario, stops, targets, watch
from tests.support.desk import Desk

FUNDING_INTERVAL_MS = 8 * 3600 * 1000


def by_hand(desk: Desk, amount: str) -> None:
    """Let somebody bring the position to an amount with a MARKET order of his own."""
    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": amount})


# Sold at 49999.9: -0.2 x 0.010 = -0.002; fee 499.999 x 0.0005 = 0.2499995, of both 0.5.
@scenario(
    "manual close",
    ended="MANUAL",
    exit="49999.9",
    gross="-0.002",
    fees="0.5",
    net="-0.502",
    wallet="9999.498",
    left="nothing",
)
def manual_close(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    by_hand(desk, "0")
    watch(desk)
    return books(desk, request_id)


# 0.004 go at 49999.9: -0.0008, fee 199.9996 x 0.0005 = 0.0999998. 0.006 go at 50999.9: 5.9988, fee 305.9994 x 0.0005 =
# 0.1529997. Exit (199.9996 + 305.9994) / 0.010 = 50599.9; gross 5.998; fees 0.2500005 + 0.0999998 + 0.1529997 = 0.503.
@scenario(
    "manual reduce",
    stop_after="0.006@49000",
    target_after="0.006@51000",
    ended="TP",
    exit="50599.9",
    gross="5.998",
    fees="0.503",
    net="5.495",
    wallet="10005.495",
    left="nothing",
)
def manual_reduce(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    by_hand(desk, "0.006")
    watch(desk)
    sized = {"stop_after": stops(desk), "target_after": targets(desk)}
    move(desk, "51000")
    return {**sized, **books(desk, request_id)}


# Somebody buys 0.005 more at our price, fee 250.0005 x 0.0005 = 0.12500025. Ours ends as in "target hit", 9.493; his
# 0.005 stay his. The wallet: 10000 + 9.493 - 0.12500025.
@scenario(
    "manual add",
    foreign=("BTCUSDT",),
    reported="POSITION_LARGER_THAN_TRADE: expected=0.01 actual=0.015",
    stop_after="0.01@49000",
    target_after="0.01@51000",
    ended="TP",
    quantity="0.01",
    exit="50999.9",
    gross="9.998",
    fees="0.505",
    net="9.493",
    wallet="10009.36799975",
    left="BTCUSDT 0.005",
)
def manual_add(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    by_hand(desk, "0.015")
    desk.clock.let_pass(3)
    seen = [getattr(action, "sentence", type(action).__name__) for action in desk.cycle().actions]
    sized = {"stop_after": stops(desk), "target_after": targets(desk)}
    move(desk, "51000")
    return {"reported": [_plain_numbers(sentence) for sentence in seen], **sized, **books(desk, request_id)}


# As before, and what was added is to be protected: 2.5 % below its entry, 48750.0975, and 6 % above, 53000.106. Ours
# ends at its stop: -1000.2 x 0.010 = -10.002, fee 489.999 x 0.0005 = 0.2449995, of both 0.495. His ends at 48749.9:
# -1250.2 x 0.005 = -6.251, fee 243.7495 x 0.0005 = 0.12187475. Wallet: 1e4 - 10.497 - 0.12500025 - 6.251 - 0.12187475.
@scenario(
    "manual add, protected",
    foreign=("BTCUSDT",),
    stop_after="0.005@48750, 0.01@49000",
    target_after="0.01@51000, 0.005@53000.1",
    stop_alone="0.005@48750",
    ended="SL",
    quantity="0.01",
    exit="48999.9",
    gross="-10.002",
    fees="0.495",
    net="-10.497",
    wallet="9983.005125",
    left="nothing",
)
def manual_add_protected(desk: Desk) -> Figures:
    desk.external = ExternalPositions.PROTECT
    request_id = opened(desk, take_profit="51000")
    by_hand(desk, "0.015")
    watch(desk, 2, seconds=61)
    sized = {"stop_after": stops(desk), "target_after": targets(desk)}
    move(desk, "49000")
    alone = stops(desk)
    move(desk, "48750")
    watch(desk, 2)
    return {**sized, "stop_alone": alone, **books(desk, request_id)}


def _plain_numbers(sentence: str) -> str:
    """Drop the zeros that a figure's column in the database adds."""
    words = (word.partition("=") for word in sentence.split())
    return " ".join(f"{name}={D(number).normalize():f}" if number else name for name, _, number in words)


# Taken over at the mark price 50000: -0.1 x 0.010 = -0.001, no commission, but 1.25 % of 500 USDT for the insurance
# fund: 6.25. With the entry's fee: -0.001 - 0.2500005 - 6.25.
@scenario(
    "liquidation",
    ended="LIQUIDATION",
    exit="50000",
    gross="-0.001",
    net="-6.5010005",
    wallet="9993.4989995",
    left="nothing",
)
def liquidation(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    desk.paper.control("POST", "close", {"symbol": "BTCUSDT", "kind": "LIQUIDATION"})
    watch(desk)
    return books(desk, request_id)


# As a liquidation, without the insurance fund's share: -0.001 - 0.2500005.
@scenario(
    "ADL",
    ended="ADL",
    exit="50000",
    gross="-0.001",
    fees="0.2500005",
    net="-0.2510005",
    wallet="9999.7489995",
    left="nothing",
)
def automatic_deleveraging(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    desk.paper.control("POST", "close", {"symbol": "BTCUSDT", "kind": "ADL"})
    watch(desk)
    return books(desk, request_id)


# Twice 0.010 x 50000 x 0.0001 = 0.05 paid, then "target hit": 9.493 - 0.1.
@scenario(
    "funding over two intervals",
    ended="TP",
    gross="9.998",
    fees="0.505",
    funding="-0.1",
    net="9.393",
    wallet="10009.393",
    left="nothing",
)
def funding_over_two_intervals(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    for _ in range(2):
        desk.paper.control("POST", "clock", {"advance_ms": FUNDING_INTERVAL_MS})
        watch(desk, seconds=FUNDING_INTERVAL_MS / 1000)
    move(desk, "51000")
    return books(desk, request_id)
