"""A trader on the bare core: short calls for orders, and the wallet identity that must always hold."""

from decimal import Decimal
from typing import Any

from paper_exchange.config import Config
from paper_exchange.core.accounts import Account, Position
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import AlgoOrder, AlgoTicket, Order, PositionSide, Ticket
from paper_exchange.errors import ExchangeError
from paper_exchange.http.params import Params
from paper_exchange.http.running import run

D = Decimal
BTC = "BTCUSDT"


class Trader:
    def __init__(self, config: Config, clock: SteppedClock) -> None:
        self.clock = clock
        self.exchange = Exchange(config, clock)

    @property
    def account(self) -> Account:
        return self.exchange.state.accounts["paper"]

    @property
    def market(self) -> Market:
        return self.exchange.state.markets[BTC]

    def position(self, side: PositionSide = "BOTH") -> Position:
        return self.account.position(self.market.symbol, side)

    def price(self, price: str) -> None:
        self.exchange.set_price(BTC, D(price), hold=True)

    def send(self, side: Any, kind: str, quantity: str, price: str = "0", **terms: Any) -> Order:
        ticket = Ticket(symbol=BTC, side=side, type=kind, quantity=D(quantity), price=D(price), **terms)
        return self.exchange.orders.place(self.account, ticket)

    def buy(self, quantity: str, **terms: Any) -> Order:
        return self.send("BUY", "MARKET", quantity, **terms)

    def sell(self, quantity: str, **terms: Any) -> Order:
        return self.send("SELL", "MARKET", quantity, **terms)

    def bid(self, quantity: str, price: str, **terms: Any) -> Order:
        return self.send("BUY", "LIMIT", quantity, price, **terms)

    def ask(self, quantity: str, price: str, **terms: Any) -> Order:
        return self.send("SELL", "LIMIT", quantity, price, **terms)

    def condition(self, side: Any, kind: str, quantity: str = "0", trigger: str = "0", **terms: Any) -> AlgoOrder:
        ticket = AlgoTicket(symbol=BTC, side=side, type=kind, quantity=D(quantity), trigger_price=D(trigger), **terms)
        return self.exchange.algos.place(self.account, ticket)

    def get(self, path: str, **params: object) -> Any:
        """Return what a GET answers."""
        values = Params({name: str(value) for name, value in params.items()})
        return run(self.exchange, "GET", f"/fapi/v1/{path}", values, self.account)

    def code(self, path: str, **params: object) -> int:
        """Return the code with which a GET is refused; 0 when it is not."""
        try:
            self.get(path, **params)
        except ExchangeError as error:
            return error.code
        return 0

    def check_identity(self) -> None:
        """Wallet = deposits + published income, and the fills say the same as the income rows."""
        account = self.account
        assert account.wallet == account.deposits + sum(
            (row.amount for row in account.income if row.asset == account.asset), ZERO
        )
        fills = [fill for rows in account.fills.values() for fill in rows]
        own = [row for row in account.income if row.asset == account.asset]
        booked = {kind: sum((r.amount for r in own if r.type == kind), ZERO) for kind in _FILL_INCOME}
        assert booked["REALIZED_PNL"] == sum((fill.realized for fill in fills), ZERO)
        assert booked["COMMISSION"] == -sum(
            (fill.commission for fill in fills if fill.commission_asset == account.asset), ZERO
        )


_FILL_INCOME = ("REALIZED_PNL", "COMMISSION")
