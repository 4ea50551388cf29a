"""Where listing, leaps, retention, margin assets and held triggers meet: each at its own millisecond and asset."""

import io
import pickle
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from paper_exchange.config import AccountConfig, Config
from paper_exchange.core.accounts import Account
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.orders import AlgoOrder, AlgoTicket, Order, Ticket
from paper_exchange.core.symbols import Symbol
from paper_exchange.core.triggers import TriggerRule
from paper_exchange.store import StateUnpickler
from tests.paper_exchange.trader import D, Trader
from tests.support.paper import PaperExchange

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
# Twelve minutes and some before a full hour.
START: Final = 1_790_000_000_123
COINS: Final = (("USDC", D(50_000)), ("BTC", D(2)))
SIDES: Final = ("BUY", "SELL")
CURRENT, NEXT, AFTER = "BTCUSDT_260925", "BTCUSDT_261225", "BTCUSDT_270326"


class Market(Trader):
    """A trader of several contracts, with prices that move, or that stand still."""

    def __init__(self, *, static: bool = False, credited: bool = False) -> None:
        account = AccountConfig(key="paper", secret="paper-secret", balance=D(1_000_000), coins=COINS, credits=credited)
        config = Config(accounts=(account,), static_prices=static, queue_position=False, volatility=0.2)
        super().__init__(config, SteppedClock(START))

    def open(self, name: str, side: Any) -> Order:
        """Hold about 500 dollars of a contract."""
        symbol = self.exchange.state.symbols[name]
        dollar = D(50_000) if symbol.quote == "BTC" else D(1)
        quantity = (D(500) / dollar / symbol.price // symbol.step + 1) * symbol.step
        return self.exchange.orders.place(
            self.account, Ticket(symbol=name, side=side, type="MARKET", quantity=quantity)
        )

    def rows(self, name: str, kind: str = "FUNDING_FEE") -> list[Any]:
        return [row for row in self.account.income if (row.symbol, row.type) == (name, kind)]

    def restart(self) -> None:
        """Go on from a saved state."""
        data = io.BytesIO(pickle.dumps((self.exchange, self.clock)))
        self.exchange, self.clock = StateUnpickler(data).load()
        assert self.exchange.clock is self.clock


def booked(account: Account) -> dict[str, Any]:
    """Return what each asset ought to hold by its rows."""
    found = {account.asset: account.deposits, **dict(COINS)}
    for (asset, _), amount in account.booked.items():
        found[asset] += amount
    return found


# Contracts with the hours between their payments (0: none) and the asset that they are margined in.
FUNDED: Final = (
    ("AUCTIONUSDT", 1, "USDT"),
    ("WLDUSDT", 4, "USDT"),
    ("BTCUSDT", 8, "USDT"),
    ("ETHUSDC", 8, "USDC"),
    ("ETHBTC", 8, "BTC"),
    (CURRENT, 0, "USDT"),
)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("restarts", "credited"), [(0, False), (3, True)])
def test_a_leap_of_forty_days_pays_at_every_hour_of_each_contract(side: str, restarts: int, *, credited: bool) -> None:
    trader = Market(credited=credited)
    orders = {name: trader.open(name, side) for name, _, _ in FUNDED}
    for _ in range(restarts):
        trader.exchange.advance(10 * DAY)
        trader.restart()
    trader.exchange.advance((40 - 10 * restarts) * DAY)
    assert trader.clock.now_ms() == START + 40 * DAY
    for name, hours, asset in FUNDED:
        # In credits mode contracts in dollars pay credits, others their own asset.
        paid_in = "BNFCR" if credited and asset != "BTC" else asset
        check_funding(trader, name, hours, paid_in, orders[name].quantity if side == "BUY" else -orders[name].quantity)
    account = trader.account
    assert booked(account) == {name: account.balance(name) for name in account.assets()}


def check_funding(trader: Market, name: str, hours: int, asset: str, amount: Decimal) -> None:
    """Each payment is what is held, at the mark price and the rate of its hour."""
    end, every = trader.clock.now_ms(), hours * HOUR
    wanted = list(range((START // every + 1) * every, end + 1, every)) if hours else []
    rows = trader.rows(name)
    market = trader.exchange.state.past_market(name)
    rates = trader.exchange.funding.rates(market, START, end, 1000, newest=True)
    assert [row.time for row in rows] == [rate.time for rate in rates] == wanted
    assert [row.amount for row in rows] == [(-amount * rate.mark * rate.rate).quantize(D("1e-8")) for rate in rates]
    assert {row.asset for row in rows} == ({asset} if hours else set())


class News:
    """Hears of contracts, with the time."""

    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self.told: list[tuple[int, str, str]] = []
        trader.exchange.state.listener.contract_changed = self._note  # type: ignore[method-assign]

    def _note(self, symbol: Symbol, *, with_brackets: bool = False) -> None:
        del with_brackets
        self.told.append((self._trader.clock.now_ms(), symbol.name, symbol.status))


def announce_end(trader: Trader, name: str, time: int) -> None:
    trader.exchange.state.symbols[name].delivery_ms = time
    trader.exchange.calendar.change()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stride", [None, 6 * HOUR, 47 * MINUTE + 13])
def test_ends_within_a_leap_come_at_their_own_millisecond(side: str, stride: int | None) -> None:
    trader = Market()
    ends = {CURRENT: START + 3 * DAY + 4321, "XMRUSDT": START + 5 * DAY + 1, "ETHUSDC": START + 5 * DAY + 1}
    opened = {name: trader.open(name, side) for name in ends}
    resting = {name: rest(trader, opened[name]) for name in ends}
    for name, end in ends.items():
        announce_end(trader, name, end)
    news = News(trader)
    trader.exchange.advance(8 * DAY, stride)
    for name, end in ends.items():
        assert [(time - end, status) for time, found, status in news.told if found == name] == steps(
            opened[name].symbol
        )
        closing = trader.account.fills[name][-1]
        opposite = "SELL" if side == "BUY" else "BUY"
        assert (closing.time, closing.quantity, closing.order.side) == (end, opened[name].quantity, opposite)
        assert (resting[name].status, resting[name].updated) == ("EXPIRED", end)
        assert {row.asset for row in trader.rows(name, "REALIZED_PNL")} == {"USDC" if name == "ETHUSDC" else "USDT"}
        assert not [row for row in trader.rows(name) if row.time > end]
    account = trader.account
    assert booked(account) == {name: account.balance(name) for name in account.assets()}


def rest(trader: Trader, opened: Order) -> Order:
    """Let an order rest far below the market of one that was filled."""
    symbol = opened.symbol
    price = symbol.price * D("0.9") // symbol.tick * symbol.tick
    ticket = Ticket(symbol=symbol.name, side="BUY", type="LIMIT", quantity=opened.quantity, price=price)
    return trader.exchange.orders.place(trader.account, ticket)


def steps(symbol: Symbol) -> list[tuple[int, str]]:
    """Statuses of a contract that ends, by the time from its end."""
    if symbol.is_dated:
        last = [(0, "DELIVERING"), (MINUTE, "DELIVERED"), (HOUR, "DELIVERED")]
        return [(-10 * MINUTE, "PRE_DELIVERING"), *last]
    return [(-10 * MINUTE, "PRE_SETTLE"), (0, "SETTLING"), (HOUR, "CLOSE")]


def test_the_past_of_a_gone_contract_obeys_windows_and_retention() -> None:
    trader = Market(static=True)
    name, end = CURRENT, START + 2 * DAY
    opened = trader.open(name, "BUY")
    announce_end(trader, name, end)
    trader.exchange.advance(3 * DAY)
    assert trader.code("openOrders", symbol=name) == -1121
    assert [row["time"] for row in trader.get("userTrades", symbol=name)] == [START, end]
    assert next(row["orderId"] for row in trader.get("allOrders", symbol=name)) == opened.order_id
    # Ten days on, a call without times shows the last week: nothing.
    trader.exchange.advance(9 * DAY)
    assert trader.get("userTrades", symbol=name) == trader.get("allOrders", symbol=name) == []
    assert len(trader.get("userTrades", symbol=name, startTime=START)) == 2
    assert len(trader.get("userTrades", symbol=name, fromId=0)) == 2
    assert trader.code("userTrades", symbol=name, startTime=START, endTime=START + 8 * DAY) == -4165
    assert trader.get("order", symbol=name, orderId=opened.order_id)["status"] == "FILLED"
    # Ninety days after the first trade it alone is forgotten.
    trader.exchange.advance(START + 90 * DAY + 1 - trader.clock.now_ms())
    assert [row["time"] for row in trader.get("userTrades", symbol=name, fromId=0)] == [end]
    assert trader.code("order", symbol=name, orderId=opened.order_id) == -2013
    trader.exchange.advance(2 * DAY)
    assert trader.get("userTrades", symbol=name, fromId=0) == []
    # It should still be a contract that there was; one that never was is refused.
    assert trader.code("userTrades", symbol="NEVERUSDT") == -1121


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_quarter_rolls_within_a_leap(side: str, *, restarted: bool) -> None:
    trader = Market()
    state = trader.exchange.state
    end = state.symbols[CURRENT].delivery_ms
    kept = trader.open(NEXT, side)
    trader.open(CURRENT, side)
    if restarted:
        trader.exchange.advance(DAY)
        trader.restart()
    news = News(trader)
    trader.exchange.advance(end + 3 * DAY - trader.clock.now_ms())
    state = trader.exchange.state
    assert {(time, name) for time, name, _ in news.told if name in {NEXT, AFTER}} == {(end, NEXT), (end, AFTER)}
    assert [state.symbols[name].contract_type for name in (NEXT, AFTER)] == ["CURRENT_QUARTER", "NEXT_QUARTER"]
    assert (CURRENT in state.symbols, CURRENT in state.delisted) == (False, True)
    assert state.symbols[AFTER].onboard_ms == end
    # It should leave the other quarter's position alone, and trade the new contract.
    held = trader.account.position(state.symbols[NEXT], "BOTH")
    assert abs(held.amount) == kept.quantity
    assert trader.open(AFTER, side).status == "FILLED"
    [settled] = [fill for fill in trader.account.fills[CURRENT] if fill.order.client_id.startswith("delivery")]
    assert settled.time == end
    info = {row["symbol"]: row["contractType"] for row in trader.get("exchangeInfo")["symbols"]}
    assert (info[NEXT], info[AFTER], CURRENT in info) == ("CURRENT_QUARTER", "NEXT_QUARTER", False)


def books(trader: Market) -> Any:
    account = trader.account
    return {
        "income": [(row.symbol, row.type, row.asset, row.amount, row.time) for row in account.income],
        "orders": [(row.symbol.name, row.side, row.status, row.updated) for row in trader.exchange.state.orders],
        "listed": sorted(trader.exchange.state.symbols),
        "statuses": [row.status for row in trader.exchange.state.symbols.values()],
        "balances": {name: account.balance(name) for name in account.assets()},
    }


def pieces() -> Iterator[tuple[int, bool]]:
    """Parts of forty days, some of them with a restart after them."""
    for part in range(8):
        yield 5 * DAY - (1 if part % 2 else -1), part % 3 == 0


def test_restarts_between_leaps_change_nothing() -> None:
    whole, parted = Market(static=True), Market(static=True)
    for trader in (whole, parted):
        for place, name in enumerate(("AUCTIONUSDT", "WLDUSDT", "ETHUSDC", "ETHBTC", CURRENT, NEXT)):
            trader.open(name, SIDES[place % 2])
        announce_end(trader, "AUCTIONUSDT", START + 17 * DAY + 77)
    whole.exchange.advance(40 * DAY)
    for milliseconds, restarts in pieces():
        parted.exchange.advance(milliseconds)
        if restarts:
            parted.restart()
    assert whole.clock.now_ms() == parted.clock.now_ms() == START + 40 * DAY
    assert books(whole) == books(parted)
    assert CURRENT not in whole.exchange.state.symbols


def condition(trader: Trader, name: str, trigger: str, **terms: Any) -> AlgoOrder:
    ticket = AlgoTicket(symbol=name, side="SELL", type="STOP_MARKET", trigger_price=D(trigger), **terms)
    return trader.exchange.algos.place(trader.account, ticket)


def test_a_held_trigger_goes_on_at_its_own_millisecond_in_a_leap() -> None:
    trader = Market(static=True)
    opened = trader.open("BTCUSDT", "BUY")
    trader.exchange.state.triggers.add(TriggerRule(id="t", action="STICK", for_ms=31 * HOUR + 7))
    algo = condition(trader, "BTCUSDT", "49500", quantity=opened.quantity, reduce_only=True)
    trader.exchange.set_price("BTCUSDT", D(49_400), hold=True)
    assert algo.status == "TRIGGERING"
    trader.exchange.advance(10 * DAY)
    assert (trader.account.fills["BTCUSDT"][-1].time, algo.order is not None) == (START + 31 * HOUR + 7, True)


@pytest.mark.parametrize("name", [CURRENT, "XMRUSDT"])
def test_a_held_trigger_ends_with_its_contract(name: str) -> None:
    trader = Market(static=True)
    opened = trader.open(name, "BUY")
    trader.exchange.state.triggers.add(TriggerRule(id="t", action="STICK", for_ms=9 * DAY))
    symbol = opened.symbol
    trigger = (symbol.price * D("0.99") // symbol.tick) * symbol.tick
    algo = condition(trader, name, str(trigger), quantity=opened.quantity, reduce_only=True)
    trader.exchange.set_price(name, (symbol.price * D("0.98") // symbol.tick) * symbol.tick, hold=True)
    assert algo.status == "TRIGGERING"
    announce_end(trader, name, START + 3 * DAY)
    trader.exchange.advance(20 * DAY)
    assert (algo.status, algo.updated) == ("EXPIRED", START + 3 * DAY)
    assert not trader.exchange.state.triggers.held
    assert len(trader.account.fills[name]) == 2


def test_a_trigger_that_hangs_for_months_is_not_forgotten() -> None:
    trader = Market(static=True)
    opened = trader.open("BTCUSDT", "BUY")
    algo = condition(trader, "BTCUSDT", "49500", quantity=opened.quantity, reduce_only=True)
    trader.exchange.advance(100 * DAY)
    trader.exchange.state.triggers.add(TriggerRule(id="t", action="STICK"))
    trader.exchange.set_price("BTCUSDT", D(49_400), hold=True)
    trader.exchange.advance(10 * DAY)
    assert trader.account.algo_by_id[algo.algo_id].status == "TRIGGERING"
    assert [row["algoId"] for row in trader.get("openAlgoOrders")] == [algo.algo_id]


def test_the_default_exchange_leaps_over_a_kill(tmp_path: Path) -> None:
    with PaperExchange("--state-file", str(tmp_path / "state")) as paper:
        begun = paper.control("POST", "clock", {"advance_ms": 1})["now_ms"]
        paper.control("POST", "position", {"symbol": "AUCTIONUSDT", "amount": "10"})
        paper.control("POST", "position", {"symbol": "ETHUSDC", "amount": "0.1"})
        for _ in range(2):
            ended = paper.control("POST", "clock", {"advance_ms": 5 * DAY})["now_ms"]
            paper.kill()
            paper.start()
        ledger = paper.control("GET", "ledger")
        paid = [row for row in ledger["balances"] if row["type"] == "FUNDING_FEE"]
        # Each hour and each eighth hour from the beginning on, none left out and none twice.
        for asset, hours in (("USDT", 1), ("USDC", 8)):
            numbers = [row["time"] // (hours * HOUR) for row in paid if row["asset"] == asset]
            assert numbers == list(range(begun // (hours * HOUR) + 1, numbers[-1] + 1))
            assert numbers[-1] >= ended // (hours * HOUR)
