"""Contracts that end: reducing only in the last minutes, then settled at the mark price, then gone from the listing."""

from typing import Any

import pytest

from paper_exchange.config import Config
from paper_exchange.core.accounts import Account
from paper_exchange.core.assumptions import Assumptions
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.market import Market
from paper_exchange.core.orders import AlgoTicket, Order, Ticket
from paper_exchange.core.settings import change_margin_type, change_position_mode
from paper_exchange.core.symbols import Symbol
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.conftest import NOON
from tests.paper_exchange.trader import D, Trader

CURRENT, NEXT, AFTER = "BTCUSDT_260925", "BTCUSDT_261225", "BTCUSDT_270326"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


class News:
    """Hears what is told of contracts and orders."""

    def __init__(self, trader: Trader) -> None:
        self.contracts: list[tuple[str, str]] = []
        self.orders: list[tuple[str, str]] = []
        listener: Any = trader.exchange.state.listener
        listener.contract_changed = self._contract
        listener.order_changed = self._order

    def _contract(self, symbol: Symbol, *, with_brackets: bool = False) -> None:
        del with_brackets
        self.contracts.append((symbol.name, symbol.status))

    def _order(self, order: Order, execution: str, _: object) -> None:
        self.orders.append((order.client_id, execution))


def market(trader: Trader, name: str = CURRENT) -> Market:
    return trader.exchange.state.past_market(name)


def send(trader: Trader, side: Any, quantity: str, name: str = CURRENT, price: str = "", **terms: Any) -> Order:
    kind = "LIMIT" if price else "MARKET"
    ticket = Ticket(symbol=name, side=side, type=kind, quantity=D(quantity), price=D(price or 0), **terms)
    return trader.exchange.orders.place(trader.account, ticket)


def go_to(trader: Trader, time: int) -> None:
    trader.clock.advance(time - trader.clock.now_ms())
    trader.exchange.step()


def incomes(account: Account) -> list[tuple[str, str, Any, int]]:
    return [(row.type, row.asset, row.amount, row.time) for row in account.income]


@pytest.mark.parametrize(("side", "opposite", "sign"), [("BUY", "SELL", 1), ("SELL", "BUY", -1)])
@pytest.mark.parametrize("mode", ["cross", "isolated", "hedge"])
def test_delivery_settles_what_is_held(trader: Trader, side: Any, opposite: str, sign: int, mode: str) -> None:
    account, end = trader.account, market(trader).symbol.delivery_ms
    if mode == "isolated":
        change_margin_type(trader.exchange.state, account, market(trader), isolated=True)
    terms: dict[str, Any] = {}
    if mode == "hedge":
        change_position_mode(account, dual=True)
        terms = {"position_side": "LONG" if sign > 0 else "SHORT"}
    opened = send(trader, side, "0.500", **terms)
    trader.exchange.set_price(CURRENT, D("50600"), hold=True)
    wallet = account.wallet

    go_to(trader, end)

    [fill] = account.fills[CURRENT][len(opened.fills) :]
    order = fill.order
    assert order.client_id == f"delivery_autoclose-{end}"
    assert (order.side, order.status, order.executed, order.reduce_only) == (opposite, "FILLED", D("0.500"), True)
    assert (fill.price, fill.time, fill.maker) == (D(50600), end, False)
    realized = (D(50600) - opened.average_price) * sign * D("0.500")
    # The taker's fee on 25,300.
    assert (fill.realized, fill.commission, fill.commission_asset) == (realized, D("12.65"), "USDT")
    assert account.wallet == wallet + realized - D("12.65")
    assert incomes(account)[-2:] == [("REALIZED_PNL", "USDT", realized, end), ("COMMISSION", "USDT", D("-12.65"), end)]
    assert account.held() == []
    assert account.isolated("USDT") == 0
    trader.check_identity()


def test_statuses_on_the_way_out(trader: Trader) -> None:
    news, end = News(trader), market(trader).symbol.delivery_ms
    send(trader, "BUY", "0.500")
    go_to(trader, end - 10 * MINUTE - 1)
    assert market(trader).symbol.status == "TRADING"

    go_to(trader, end - 10 * MINUTE)
    assert market(trader).symbol.status == "PRE_DELIVERING"
    with pytest.raises(ExchangeError) as caught:
        send(trader, "BUY", "0.010")
    assert caught.value.code == -4140
    assert send(trader, "SELL", "0.100", reduce_only=True).status == "FILLED"

    go_to(trader, end)
    assert market(trader).symbol.status == "DELIVERING"
    with pytest.raises(ExchangeError) as caught:
        send(trader, "SELL", "0.010", reduce_only=True)
    assert caught.value.code == -4141

    go_to(trader, end + MINUTE)
    assert market(trader).symbol.status == "DELIVERED"
    assert CURRENT in trader.exchange.state.markets

    go_to(trader, end + HOUR)
    assert CURRENT not in trader.exchange.state.markets
    with pytest.raises(ExchangeError) as caught:
        send(trader, "BUY", "0.010")
    assert caught.value.code == -1121
    assert [status for name, status in news.contracts if name == CURRENT] == [
        "PRE_DELIVERING",
        "DELIVERING",
        "DELIVERED",
        "DELIVERED",
    ]


def test_orders_end_before_the_position_does(trader: Trader) -> None:
    news, end = News(trader), market(trader).symbol.delivery_ms
    send(trader, "BUY", "0.100")
    resting = send(trader, "BUY", "0.100", price="49000", client_id="bid")
    stop = trader.exchange.algos.place(
        trader.account,
        AlgoTicket(
            symbol=CURRENT,
            side="SELL",
            type="STOP_MARKET",
            quantity=D("0.1"),
            trigger_price=D(49000),
            reduce_only=True,
            client_id="stop",
        ),
    )
    go_to(trader, end)
    assert (resting.status, stop.status) == ("EXPIRED", "EXPIRED")
    assert not trader.account.has_open_orders()
    assert news.orders[-2:] == [("bid", "EXPIRED"), (f"delivery_autoclose-{end}", "TRADE")]


def test_next_quarter_follows(trader: Trader) -> None:
    state, end = trader.exchange.state, market(trader).symbol.delivery_ms
    trader.exchange.set_price(NEXT, D(61000), hold=True)
    go_to(trader, end)
    assert state.symbols[NEXT].contract_type == "CURRENT_QUARTER"
    fresh = state.symbols[AFTER]
    assert (fresh.contract_type, fresh.status, fresh.onboard_ms) == ("NEXT_QUARTER", "TRADING", end)
    # It should begin where the market of its pair is.
    assert state.markets[AFTER].last == D(61000)
    assert send(trader, "BUY", "0.010", AFTER).status == "FILLED"


def test_a_year_in_one_step_goes_in_order(trader: Trader) -> None:
    send(trader, "BUY", "0.100", NEXT)
    trader.exchange.state.markets["BTCUSDT"].funding_rate = D("0.00000001")
    trader.buy("0.010")
    end = market(trader, NEXT).symbol.delivery_ms
    go_to(trader, NOON + 365 * DAY)
    # The account's own rows of so long ago are forgotten, the arbiter's ledger is not.
    assert not [row for row in trader.account.income if row.symbol == NEXT]
    ledger = trader.exchange.state.balances
    assert [row.time for row in ledger] == sorted(row.time for row in ledger)
    delivered = [fill for fill in trader.exchange.state.fills if fill.order.symbol.name == NEXT][-1]
    assert delivered.time == end
    paid = [row.time for row in ledger if row.type == "FUNDING_FEE"]
    assert len(paid) == 365 * 3
    assert {time % (8 * HOUR) for time in paid} == {0}
    # It should say what the wallet is made of, also when the rows are gone.
    assert trader.account.wallet == trader.account.deposits + sum(trader.account.booked.values())


@pytest.mark.parametrize(("side", "sign"), [("BUY", 1), ("SELL", -1)])
def test_delisting_of_a_perpetual(trader: Trader, side: Any, sign: int) -> None:
    name, state = "XMRUSDT", trader.exchange.state
    symbol = state.symbols[name]
    opened = send(trader, side, "1.000", name)
    symbol.delivery_ms = NOON + DAY
    trader.exchange.calendar.change()
    go_to(trader, NOON + DAY - MINUTE)
    assert symbol.status == "PRE_SETTLE"
    trader.exchange.set_price(name, D(150), hold=True)
    go_to(trader, NOON + DAY)
    assert symbol.status == "SETTLING"
    fill = trader.account.fills[name][-1]
    assert fill.order.client_id == f"settlement_autoclose-{NOON + DAY}"
    assert fill.realized == (D(150) - opened.average_price) * sign
    go_to(trader, NOON + DAY + HOUR)
    assert (name in state.markets, symbol.status) == (False, "CLOSE")


def test_announced_contract_begins(trader: Trader) -> None:
    symbol = trader.exchange.state.symbols["我踏马来了USDT"]
    go_to(trader, symbol.onboard_ms - 1)
    assert symbol.status == "PENDING_TRADING"
    go_to(trader, symbol.onboard_ms)
    assert symbol.status == "TRADING"
    assert send(trader, "BUY", "500", symbol.name).status == "FILLED"


def test_assumptions_are_switches() -> None:
    config = Config(
        static_prices=True,
        assumptions=Assumptions(delivery_id="settlement_autoclose", delivery_income="DELIVERED_SETTELMENT"),
        delivery_rate=D("0.0001"),
    )
    trader = Trader(config, SteppedClock(NOON))
    send(trader, "BUY", "0.100")
    end = market(trader).symbol.delivery_ms
    go_to(trader, end)
    fill = trader.account.fills[CURRENT][-1]
    assert fill.order.client_id == f"settlement_autoclose-{end}"
    assert [row.type for row in trader.account.income][-2:] == ["DELIVERED_SETTELMENT", "COMMISSION"]
    assert fill.commission == D("0.501")


@pytest.mark.parametrize(("name", "hours"), [("BTCUSDT", 8), ("WLDUSDT", 4), ("AUCTIONUSDT", 1), (CURRENT, 0)])
def test_funding_is_paid_at_each_contracts_hours(trader: Trader, name: str, hours: int) -> None:
    symbol = trader.exchange.state.symbols[name]
    quantity = format(max(D(100) / symbol.price // symbol.step, D(2)) * symbol.step, "f")
    send(trader, "BUY", quantity, name)
    for _ in range(48):
        trader.clock.advance(HOUR)
        trader.exchange.step()
    paid = [row for row in trader.account.income if row.type == "FUNDING_FEE"]
    assert len(paid) == (48 // hours if hours else 0)
    assert all(row.time % (hours * HOUR) == 0 and row.amount < 0 for row in paid)


def test_interval_that_changes_pays_at_the_new_hours(trader: Trader) -> None:
    trader.buy("0.010")
    symbol = trader.market.symbol
    go_to(trader, NOON // (8 * HOUR) * 8 * HOUR + 8 * HOUR)
    symbol.funding_hours = 1
    trader.exchange.calendar.change()
    start = trader.clock.now_ms()
    go_to(trader, start + 3 * HOUR)
    paid = [row.time for row in trader.account.income if row.type == "FUNDING_FEE"]
    assert paid == [start, start + HOUR, start + 2 * HOUR, start + 3 * HOUR]
