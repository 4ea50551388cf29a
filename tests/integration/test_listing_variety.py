"""Contracts of every kind of the venue's listing, each carried from a decision to its booked end, long and short."""

from decimal import Decimal

import pytest

from tests.support.desk import Desk

D = Decimal
# Contract and a quantity above its minimum notional: coarse ticks, whole lots, thousands, Chinese, another asset.
CONTRACTS = [
    ("BTCUSDT", "0.002"),
    ("ETHUSDT", "0.040"),
    ("XRPUSDT", "220.3"),
    ("ADAUSDT", "260"),
    ("1000PEPEUSDT", "12001"),
    ("1000SATSUSDT", "1700000"),
    ("币安人生USDT", "700"),
    ("AUCTIONUSDT", "10.25"),
    ("LSKUSDT", "170"),
    ("XAUUSDT", "0.025"),
    ("BTCUSDC", "0.003"),
    ("WLDUSDC", "50.1"),
]


@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
@pytest.mark.parametrize(("symbol", "quantity"), CONTRACTS)
def test_contract_is_opened_protected_closed_and_booked(
    desk: Desk, symbol: str, quantity: str, side: str, sign: int
) -> None:
    rules = desk.exchange.rules(symbol)
    assert rules is not None
    tick, price = rules.tick_size, D(desk.person.ticker_price(symbol)["price"])
    stop, target = ((price * (1 + far * sign) / tick).to_integral_value() * tick for far in (D("-0.03"), D("0.03")))
    before = balances(desk)

    targets = [{"price": format(target, "f"), "share": "1"}]
    request_id = desk.signal(symbol, side, quantity=quantity, stop_loss=format(stop, "f"), take_profits=targets)
    assert desk.run(request_id) == "RECORDED", desk.request(request_id).reason

    # It should stand under one stop and one target for all of it, on the contract's grid.
    legs = {row["orderType"]: (D(row["triggerPrice"]), D(row["quantity"])) for row in desk.ledger.live("", symbol)}
    assert legs == {"STOP_MARKET": (stop, D(quantity)), "TAKE_PROFIT_MARKET": (target, D(quantity))}

    desk.paper.set_price(symbol, format(target, "f"))
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason) == ("CLOSED", "TP")
    # It should be booked with what the exchange booked in the contract's own asset, and in no other.
    after = balances(desk)
    assert {asset: after[asset] - before[asset] for asset in after if after[asset] != before[asset]} == {
        rules.margin_asset: trade.net_pnl
    }
    desk.check()


def balances(desk: Desk) -> dict[str, Decimal]:
    return {row["asset"]: D(row["balance"]) for row in desk.person.balance()}
