"""Money in the asset of each contract: margin, profit, fees, funding and forced closing, in one asset or with all."""

from decimal import Decimal
from typing import Any

import pytest
import requests
from binance.um_futures import UMFutures

from paper_exchange.config import AccountConfig, Config
from paper_exchange.core.accounts import Account, Position
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.margin import account_figures, liquidation_price, total_figures
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import Order, Ticket
from paper_exchange.core.settings import change_assets_mode, change_leverage, change_margin_type
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.conftest import NOON
from tests.paper_exchange.trader import D, Trader
from tests.support.paper import PaperExchange

COINS = (("USDC", D(5_000)), ("BTC", D("0.1")))
# Contract, what it is margined in, a quantity that is worth about 5,000 dollars, and the price it stands at.
CASES = [("ETHUSDC", "USDC", "2.000", "2500"), ("ETHBTC", "BTC", "2.00", "0.05"), ("BNBBTC", "BTC", "8.00", "0.012")]
SIDES = [("BUY", "SELL", 1), ("SELL", "BUY", -1)]


@pytest.fixture
def rich() -> Trader:
    """An account with USDT, USDC and BTC on a core that stands still."""
    paper = AccountConfig(key="paper", secret="paper-secret", balance=D(10_000), coins=COINS)
    return Trader(Config(static_prices=True, queue_position=False, accounts=(paper,)), SteppedClock(NOON))


def send(trader: Trader, name: str, side: Any, quantity: str, **terms: Any) -> Order:
    ticket = Ticket(symbol=name, side=side, type="MARKET", quantity=D(quantity), **terms)
    return trader.exchange.orders.place(trader.account, ticket)


def held(trader: Trader, name: str) -> Position:
    return trader.account.position(trader.exchange.state.symbols[name], "BOTH")


def move(trader: Trader, name: str, price: Decimal) -> None:
    tick = trader.exchange.state.symbols[name].tick
    trader.exchange.set_price(name, price // tick * tick, hold=True)


def check_books(account: Account) -> None:
    """Each balance is what was deposited and what was booked of it, to the last digit."""
    for asset, deposit in (("USDT", account.deposits), *COINS):
        booked = sum((row.amount for row in account.income if row.asset == asset), ZERO)
        assert account.balance(asset) == deposit + booked, asset


@pytest.mark.parametrize(("side", "opposite", "sign"), SIDES)
@pytest.mark.parametrize(("name", "asset", "quantity", "price"), CASES)
def test_profit_and_fees_are_in_the_margin_asset(
    rich: Trader, side: str, opposite: str, sign: int, name: str, asset: str, quantity: str, price: str
) -> None:
    account, others = rich.account, {a: rich.account.balance(a) for a in ("USDT", "USDC", "BTC")}
    [opened] = send(rich, name, side, quantity).fills
    move(rich, name, D(price) * (1 + sign * D("0.01")))
    [closed] = send(rich, name, opposite, quantity, reduce_only=True).fills
    realized = ((closed.price - opened.price) * D(quantity) * sign).quantize(D("1e-8"))
    fees = sum((fill.price * D(quantity) * D("0.0005")).quantize(D("1e-8")) for fill in (opened, closed))
    assert closed.realized == realized > 0
    assert {opened.commission_asset, closed.commission_asset} == {asset}
    assert account.balance(asset) == others.pop(asset) + realized - fees
    assert {a: account.balance(a) for a in others} == others
    check_books(account)


@pytest.mark.parametrize(("name", "asset", "quantity", "price"), CASES)
def test_only_the_assets_own_balance_is_margin(rich: Trader, name: str, asset: str, quantity: str, price: str) -> None:
    markets = rich.exchange.state.markets
    free = account_figures(rich.account, markets, asset).available
    assert free == rich.account.balance(asset)
    most = free * 20 / D(price)
    step = rich.exchange.state.symbols[name].step
    with pytest.raises(ExchangeError) as caught:
        send(rich, name, "BUY", format(most * D("1.02") // step * step, "f"))
    assert caught.value.code == -2019
    send(rich, name, "BUY", quantity)
    figures = account_figures(rich.account, markets, asset)
    assert figures.position_initial == (D(quantity) * markets[name].mark / 20).quantize(D("1e-8"))
    # It should leave the other assets free.
    assert account_figures(rich.account, markets).available == D(10_000)
    assert total_figures(rich.account, markets).initial == 0


def test_contract_in_an_asset_that_is_not_there(trader: Trader) -> None:
    with pytest.raises(ExchangeError) as caught:
        send(trader, "BTCUSDC", "BUY", "0.010")
    assert caught.value.code == -2019
    assert trader.account.balance("USDC") == 0


@pytest.mark.parametrize(("side", "opposite", "sign"), SIDES)
@pytest.mark.parametrize(("name", "asset", "quantity", "price"), CASES)
@pytest.mark.parametrize("isolated", [False, True])
def test_forced_closing_takes_one_asset_only(
    rich: Trader,
    side: str,
    opposite: str,
    sign: int,
    name: str,
    asset: str,
    quantity: str,
    price: str,
    *,
    isolated: bool,
) -> None:
    del opposite, price
    state, account = rich.exchange.state, rich.account
    market = state.markets[name]
    if isolated:
        change_margin_type(state, account, market, isolated=True)
    # Nearly all of the balance, so that the price need not fall to nothing.
    times = D(10) if not isolated else D(1)
    send(rich, name, side, format(D(quantity) * times, "f"))
    other = send(rich, "BTCUSDT", "BUY", "0.100")
    limit = liquidation_price(account, state.markets, held(rich, name))
    assert limit > 0
    move(rich, name, limit * (1 + sign * D("0.002")))
    assert held(rich, name).amount
    move(rich, name, limit * (1 - sign * D("0.002")))
    assert not held(rich, name).amount
    # It should leave the position that another asset stands behind.
    assert held(rich, "BTCUSDT").amount == other.executed
    assert account.balance(asset) >= 0
    clearance = [row for row in account.income if row.type == "INSURANCE_CLEAR"]
    assert {row.asset for row in clearance} <= {asset}
    check_books(account)


def test_all_assets_stand_together_in_multi_assets_mode(rich: Trader) -> None:
    state, account = rich.exchange.state, rich.account
    change_assets_mode(state, account, multi=True)
    # 10,000 USDT, 5,000 USDC of which 99.95 % count, and 5,000 dollars in BTC of which 95 % do.
    assert account_figures(account, state.markets).available == D("19747.5")
    assert account_figures(account, state.markets, "BTC").available == D("0.39495")
    # More than the USDC alone would carry.
    send(rich, "ETHUSDC", "BUY", "60.000")
    limit = liquidation_price(account, state.markets, held(rich, "ETHUSDC"))
    move(rich, "ETHUSDC", limit * D("1.002"))
    assert held(rich, "ETHUSDC").amount == 60
    move(rich, "ETHUSDC", limit * D("0.99"))
    assert not held(rich, "ETHUSDC").amount
    assert all(account.balance(asset) >= 0 for asset in ("USDT", "USDC", "BTC"))
    check_books(account)


@pytest.mark.parametrize(("side", "sign"), [("BUY", 1), ("SELL", -1)])
@pytest.mark.parametrize(("name", "asset", "quantity", "price"), CASES)
def test_funding_is_in_the_margin_asset(
    rich: Trader, side: str, sign: int, name: str, asset: str, quantity: str, price: str
) -> None:
    send(rich, name, side, quantity)
    market = rich.exchange.state.markets[name]
    rich.exchange.funding.settle(market, NOON)
    row = rich.account.income[-1]
    paid = (-sign * D(quantity) * D(price) * D("0.0001")).quantize(D("1e-8"))
    assert (row.type, row.asset, row.symbol, row.amount) == ("FUNDING_FEE", asset, name, paid)
    check_books(rich.account)


def test_fee_in_bnb_for_any_margin_asset(rich: Trader) -> None:
    rich.account.coins["BNB"] = D(1)
    rich.account.fee_burn = True
    [in_dollars] = send(rich, "ETHUSDC", "BUY", "1.000").fills
    [in_coins] = send(rich, "ETHBTC", "BUY", "1.00").fills
    assert {in_dollars.commission_asset, in_coins.commission_asset} == {"BNB"}
    assert in_dollars.commission == (in_dollars.quote * D("0.0005") * D("0.9") / 600).quantize(D("1e-8"))
    assert in_coins.commission == (in_coins.quote * 50_000 * D("0.0005") * D("0.9") / 600).quantize(D("1e-8"))


def test_leverage_counts_the_margin_asset(rich: Trader) -> None:
    send(rich, "ETHUSDC", "BUY", "30.000")
    with pytest.raises(ExchangeError) as caught:
        change_leverage(rich.exchange.state, rich.account, rich.exchange.state.markets["ETHUSDC"], 5)
    assert caught.value.code == -2028


def test_summary_tells_what_each_balance_is_made_of(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order(symbol="ETHUSDC", side="BUY", type="MARKET", quantity="1.000")
    client.new_order(symbol="ETHBTC", side="SELL", type="MARKET", quantity="1.00")
    assets = paper.summary()["assets"]
    assert {name: row["deposits"] for name, row in assets.items()} == {
        "USDT": "10000.00000000",
        "USDC": "5000.00000000",
        "BTC": "0.10000000",
    }
    assert (assets["USDC"]["wallet"], assets["USDC"]["commission"]) == ("4998.74999500", "1.25000500")
    assert (assets["BTC"]["wallet"], assets["BTC"]["commission"]) == ("0.09997500", "0.00002500")
    assert assets["USDT"]["wallet"] == "10000.00000000"


def test_account_with_coins_of_its_own(paper: PaperExchange) -> None:
    paper.control("POST", "accounts", {"key": "two", "secret": "s", "coins": {"BTC": "0.5"}})
    assert paper.summary("two")["coins"] == {"BTC": "0.50000000"}
    for coins in ({"DOGE": "1"}, {"BTC": "-1"}, ["BTC"]):
        body = {"key": "three", "secret": "s", "coins": coins}
        answer = requests.post(f"{paper.url}/paper/accounts", json=body, timeout=5, proxies={"http": ""})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
