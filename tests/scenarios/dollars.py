"""Scenarios of quote assets other than USDT, and of LIMIT entries that the book meets.

The account has 10,000 USDT, 5,000 USDC and 0.1 BTC. One BTC is 50,000 USD by the asset index (the mark price of
BTCUSDT), one USDC and one USDT are one. The best prices lie one tick beside the
middle: ETHBTC 0.05001 and 0.04999 around 0.05.
"""

from decimal import Decimal
from typing import Any
from uuid import UUID

from execution.domain import policy as keys
from execution.risk.policy_store import set_policy_value
from tests.scenarios.scenario import Figures, scenario, stops, targets, watch
from tests.support.desk import Desk

UNPRICED: dict[str, dict[str, Any]] = {
    "BTCUSDT": {"position_size_usd": 500.0},
    "ETHBTC": {"position_size_usd": 500.0, "entry_price": 0.05, "stop_loss": 0.049, "take_profit": 0.052},
    "BTCUSDC": {"position_size_usd": 500.0},
}


def played(desk: Desk, symbol: str, side: str, usd: float, until: str, **fields: Any) -> UUID:
    """Carry a decision of so many USD to its trade, and the price to where its exit waits."""
    request_id = desk.trade_opened(symbol, side, position_size_usd=usd, leverage=5, **fields)
    watch(desk)
    desk.paper.set_price(symbol, until)
    watch(desk)
    return request_id


def told(desk: Desk, request_id: UUID, wallet: str) -> dict[str, object]:
    """Return the books in the quote asset and what is told of them in USD."""
    trade, closed = desk.trade(request_id), desk.event(request_id, "trade.closed")
    mirrored = desk.relay() and desk.mirrored(request_id)
    return {
        "ended": trade.close_reason,
        "quantity": trade.quantity,
        "entry": trade.entry_price,
        "exit": trade.exit_price,
        "gross": trade.gross_pnl,
        "fees": trade.entry_fees + trade.exit_fees,
        "net": trade.net_pnl,
        "asset": trade.quote_asset,
        "index": trade.quote_index,
        "net_usd": trade.net_pnl_usd,
        "margin_usd": trade.margin_usd,
        "event_usd": Decimal(str(closed["pnl_usd"])),
        "mirror_usd": mirrored and mirrored["pnl_usd"],
        "wallet": Decimal(desk.ledger.summary["coins"][wallet]),
    }


# 1000 USD are 0.02 BTC: at 0.05001 that is 0.3999 ETH, so 0.39. Cost 0.0195039 BTC = 975.195 USD, a fifth is margin:
# 195.039. The target at 0.052 sells at 0.05199: 0.00198 x 0.39 = 0.0007722. Fees 0.0195039 x 0.0005 = 0.00000975195, of
# which the exchange keeps 0.00000975, and 0.0202761 x 0.0005 = 0.00001013805, kept 0.00001014. Net 0.00075231 BTC x
# 50000 = 37.6155 USD.
@scenario(
    "1000 USD on ETHBTC, long to its target",
    ended="TP",
    quantity="0.39",
    entry="0.05001",
    exit="0.05199",
    gross="0.0007722",
    fees="0.00001989",
    net="0.00075231",
    asset="BTC",
    index="50000",
    net_usd="37.6155",
    margin_usd="195.039",
    event_usd="37.6155",
    mirror_usd="37.6155",
    wallet="0.10075231",
)
def long_in_btc(desk: Desk) -> Figures:
    request_id = played(desk, "ETHBTC", "buy", 1000.0, "0.052", entry_price=0.05, stop_loss=0.049, take_profit=0.052)
    return told(desk, request_id, "BTC")


# 0.02 BTC at 0.04999 are 0.40008 ETH, so 0.40: 0.019996 BTC = 999.8 USD. Bought back at 0.04801: 0.00198 x 0.40 =
# 0.000792. Fees 0.019996 x 0.0005 = 0.000009998, kept 0.00001, and 0.019204 x 0.0005 = 0.000009602, kept 0.0000096. Net
# 0.0007724 x 50000 = 38.62.
@scenario(
    "1000 USD on ETHBTC, short to its target",
    ended="TP",
    quantity="0.4",
    entry="0.04999",
    exit="0.04801",
    gross="0.000792",
    fees="0.0000196",
    net="0.0007724",
    asset="BTC",
    index="50000",
    net_usd="38.62",
    margin_usd="199.96",
    event_usd="38.62",
    mirror_usd="38.62",
    wallet="0.1007724",
)
def short_in_btc(desk: Desk) -> Figures:
    request_id = played(desk, "ETHBTC", "sell", 1000.0, "0.048", entry_price=0.05, stop_loss=0.051, take_profit=0.048)
    return told(desk, request_id, "BTC")


# As the first, but bitcoin has risen to 60000 until the close: 0.00075231 x 60000 = 45.1386. The margin stays.
@scenario(
    "ETHBTC while bitcoin itself rises",
    net="0.00075231",
    index="60000",
    net_usd="45.1386",
    margin_usd="195.039",
    event_usd="45.1386",
    event_net="0.00075231",
    event_index="60000",
)
def index_of_the_close(desk: Desk) -> Figures:
    wanted: dict[str, Any] = {"entry_price": 0.05, "stop_loss": 0.049, "take_profit": 0.052}
    request_id = desk.trade_opened("ETHBTC", position_size_usd=1000.0, leverage=5, **wanted)
    desk.paper.set_price("BTCUSDT", "60000")
    desk.paper.set_price("ETHBTC", "0.052")
    # A process that has not read the index before: ours believes its own for five seconds.
    watch(desk.another())
    trade, closed = desk.trade(request_id), desk.event(request_id, "trade.closed")
    return {
        "net": trade.net_pnl,
        "index": trade.quote_index,
        "net_usd": trade.net_pnl_usd,
        "margin_usd": trade.margin_usd,
        "event_usd": Decimal(str(closed["pnl_usd"])),
        "event_net": Decimal(str(closed["net_pnl_quote"])),
        "event_index": Decimal(str(closed["quote_index"])),
    }


# 1000 USDC at 50000.1 are 0.01999 BTC, so 0.019: 950.0019. Sold at 50999.9: 999.8 x 0.019 = 18.9962. Fees 0.47500095
# and 968.9981 x 0.0005 = 0.48449905, both 0.9595.
@scenario(
    "1000 USD on BTCUSDC, long to its target",
    ended="TP",
    quantity="0.019",
    entry="50000.1",
    exit="50999.9",
    gross="18.9962",
    fees="0.9595",
    net="18.0367",
    asset="USDC",
    index="1",
    net_usd="18.0367",
    margin_usd="190.00038",
    event_usd="18.0367",
    mirror_usd="18.0367",
    wallet="5018.0367",
)
def long_in_usdc(desk: Desk) -> Figures:
    prices = {"entry_price": 50000.0, "stop_loss": 49000.0, "take_profit": 51000.0}
    return told(desk, played(desk, "BTCUSDC", "buy", 1000.0, "51000", **prices), "USDC")


# At 49999.9 exactly 0.020: 999.998. Bought back at 49000.1: 999.8 x 0.020 = 19.996. Fees 0.499999 and 980.002 x 0.0005
# = 0.490001, both 0.99.
@scenario(
    "1000 USD on BTCUSDC, short to its target",
    ended="TP",
    quantity="0.02",
    entry="49999.9",
    exit="49000.1",
    gross="19.996",
    fees="0.99",
    net="19.006",
    asset="USDC",
    index="1",
    net_usd="19.006",
    margin_usd="199.9996",
    event_usd="19.006",
    mirror_usd="19.006",
    wallet="5019.006",
)
def short_in_usdc(desk: Desk) -> Figures:
    prices = {"entry_price": 50000.0, "stop_loss": 51000.0, "take_profit": 49000.0}
    return told(desk, played(desk, "BTCUSDC", "sell", 1000.0, "49000", **prices), "USDC")


# ETHBTC is stopped at 0.049, sold at 0.04899: -0.00102 x 0.39 = -0.0003978; fees 0.00000975 and 0.0191061 x 0.0005 =
# 0.00000955305, kept 0.00000955. Net -0.0004171 BTC = -20.855 USD of the 25 that a day may lose. On BTCUSDT 100 USD buy
# 0.001 at 50000.1: with its stop at 45900 they may lose 4.1001, in all 24.9551; at 45800 it is 4.2001, in all 25.0551.
@scenario(
    "losses in BTC count in USD against the day's limit",
    net="-0.0004171",
    net_usd="-20.855",
    nearer="RECORDED",
    farther="DENIED",
    reason="DAILY_LOSS_EXCEEDS_LIMIT: expected<=25 actual=25.0551 lost=20.855 open_risk=0 this_risk=4.2001",
)
def losses_add_up(desk: Desk) -> Figures:
    stopped = played(desk, "ETHBTC", "buy", 1000.0, "0.049", entry_price=0.05, stop_loss=0.049, take_profit=0.052)
    set_policy_value(keys.MAX_DAILY_LOSS, Decimal(25), source="test", now=desk.clock())
    farther = desk.decide(position_size_usd=100.0, stop_loss=45_800.0)
    refused = desk.run(farther)
    nearer = desk.run(desk.decide(position_size_usd=100.0, stop_loss=45_900.0))
    return {
        "net": desk.trade(stopped).net_pnl,
        "net_usd": desk.trade(stopped).net_pnl_usd,
        "nearer": nearer,
        "farther": refused,
        "reason": desk.request(farther).reason,
    }


# The asset index does not answer: a dollar contract is sized as if USDT were one, and says so; any other is refused.
@scenario(
    "asset index that cannot be read",
    usdt="RECORDED",
    told_of_usdt="quote_index=USDTUSD 1 (assumed)",
    in_btc="DENIED",
    told_of_btc="QUOTE_ASSET_UNPRICED: quote_index=none quote_asset=BTC",
    in_usdc="DENIED",
    orders_sent="1",
)
def no_index(desk: Desk) -> Figures:
    desk.paper.add_fault(path="/fapi/v1/assetIndex", method="GET", action="drop_before", count=1000)
    in_usdt, in_btc, in_usdc = (desk.decide(symbol, **wish) for symbol, wish in UNPRICED.items())
    states = [desk.run(each) for each in (in_usdt, in_btc, in_usdc)]
    [approval] = [step for step in desk.story(in_usdt) if step.trigger == "guard_approved"]
    return {
        "usdt": states[0],
        "told_of_usdt": approval.details["rules"][0]["numbers"],
        "in_btc": states[1],
        "told_of_btc": desk.request(in_btc).reason,
        "in_usdc": states[2],
        "orders_sent": len(desk.ledger.entries_sent),
    }


# A LIMIT to buy at 52000 where the ask is 50000.1 takes the ask. Default stop 2.5 % below that: 48750.0975, on its tick
# outwards 48750; default target 6 % above, 53000.106, inwards 53000.1. Of the limit the stop would lie at 50700, above
# the market, and close the position at once.
@scenario(
    "LIMIT to buy above the ask",
    state="RECORDED",
    reference="50000.1",
    entry="50000.1",
    stops="0.01@48750",
    targets="0.01@53000.1",
    slippage_bps="0",
    still="OPEN",
)
def marketable_long(desk: Desk) -> Figures:
    return marketable(desk, side="buy", price="52000")


# The bid is 49999.9. Default stop 2.5 % above: 51249.8975, outwards 51249.9; target 6 % below: 46999.906, inwards
# 47000.
@scenario(
    "LIMIT to sell below the bid",
    state="RECORDED",
    reference="49999.9",
    entry="49999.9",
    stops="0.01@51249.9",
    targets="0.01@47000",
    slippage_bps="0",
    still="OPEN",
)
def marketable_short(desk: Desk) -> Figures:
    return marketable(desk, side="sell", price="48000")


# The exchange takes limits of up to 1.05 of the mark price to buy, 52500, and down to 0.95 to sell, 47500.
@scenario(
    "LIMIT beyond the exchange's band",
    bought="PRICE_OUT_OF_BOUNDS: expected<=52500 actual=52500.1 mark=50000",
    sold="PRICE_OUT_OF_BOUNDS: expected>=47500 actual=47499.9 mark=50000",
    orders_sent="0",
)
def beyond_the_band(desk: Desk) -> Figures:
    bought, sold = desk.signal(price="52500.1"), desk.signal(side="sell", price="47499.9")
    for request_id in (bought, sold):
        desk.run(request_id)
    return {
        "bought": desk.request(bought).reason,
        "sold": desk.request(sold).reason,
        "orders_sent": len(desk.ledger.entries_sent),
    }


def marketable(desk: Desk, **fields: Any) -> Figures:
    request_id = desk.signal(**fields)
    state = desk.run(request_id)
    watch(desk)
    trade = desk.trade(request_id)
    return {
        "state": state,
        "reference": trade.reference_price,
        "entry": trade.entry_price,
        "stops": stops(desk),
        "targets": targets(desk),
        "slippage_bps": trade.slippage_fraction * 10_000,
        "still": trade.state,
    }
