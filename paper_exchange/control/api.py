"""The control API under /paper: moves prices, injects faults, and reads the ledger; for loopback callers only."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from paper_exchange.config import AccountConfig
from paper_exchange.control import views
from paper_exchange.control.report import fills_report
from paper_exchange.core.accounts import Account
from paper_exchange.core.book import LEVELS
from paper_exchange.core.exchange import Exchange
from paper_exchange.errors import ExchangeError
from paper_exchange.http.faults import FaultError, Faults
from paper_exchange.http.ledger import RequestLedger
from paper_exchange.mirror import Mirror
from paper_exchange.ws.user_stream import UserStream

PREFIX: Final = "/paper/"
Body = dict[str, object]
# Calls that change the exchange itself, not only how requests are answered.
CHANGES: Final = frozenset(
    ("POST", f"/paper/{name}")
    for name in (
        "price",
        "prices/freeze",
        "clock",
        "funding",
        "close",
        "accounts",
        "liquidity",
        "streams/expire",
        "reset",
    )
)


class ControlError(ValueError):
    """A control call that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One control call: its JSON body and its query."""

    body: Body
    query: dict[str, str]

    def text(self, name: str) -> str:
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise ControlError(f"{name} must be a text")
        return value

    def decimal(self, name: str) -> Decimal:
        try:
            value = Decimal(str(self.body.get(name)))
        except InvalidOperation as error:
            raise ControlError(f"{name} must be a decimal number") from error
        if not value.is_finite():
            raise ControlError(f"{name} must be a finite number")
        return value

    def integer(self, name: str) -> int:
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ControlError(f"{name} must be an integer")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.body.get(name, default)
        if not isinstance(value, bool):
            raise ControlError(f"{name} must be true or false")
        return value

    def number(self, name: str, default: int) -> int:
        try:
            return int(self.query.get(name, default))
        except ValueError as error:
            raise ControlError(f"{name} must be an integer") from error


class Control:
    def __init__(
        self,
        exchange: Exchange,
        faults: Faults,
        ledger: RequestLedger,
        users: UserStream,
        mirror: Mirror | None = None,
    ) -> None:
        self._exchange = exchange
        self._mirror = mirror
        self._users = users
        self._faults = faults
        self._ledger = ledger
        self._routes: dict[tuple[str, str], Callable[[Wish], object]] = {
            ("POST", "/paper/price"): self.set_price,
            ("POST", "/paper/prices/freeze"): self.freeze,
            ("POST", "/paper/clock"): self.advance_clock,
            ("POST", "/paper/funding"): self.settle_funding,
            ("POST", "/paper/close"): self.force_close,
            ("GET", "/paper/ledger"): self.read_ledger,
            ("DELETE", "/paper/ledger"): self.clear_ledger,
            ("GET", "/paper/status"): self.status,
            ("GET", "/paper/summary"): self.summary,
            ("GET", "/paper/fills-report"): self.report_fills,
            ("POST", "/paper/accounts"): self.add_account,
            ("POST", "/paper/faults"): self.add_fault,
            ("GET", "/paper/faults"): self.list_faults,
            ("DELETE", "/paper/faults"): self.remove_faults,
            ("POST", "/paper/streams/faults"): self.add_stream_fault,
            ("GET", "/paper/streams/faults"): self.list_stream_faults,
            ("DELETE", "/paper/streams/faults"): self.remove_stream_faults,
            ("POST", "/paper/streams/drop"): self.drop_streams,
            ("POST", "/paper/streams/expire"): self.expire_listen_key,
            ("POST", "/paper/liquidity"): self.set_liquidity,
            ("POST", "/paper/reset"): self.reset,
        }

    async def handle(self, http: web.BaseRequest) -> web.Response:
        if not _is_loopback(http.remote):
            return _json({"error": "the control API answers loopback callers only"}, 403)
        path, _, query = http.raw_path.partition("?")
        handler = self._routes.get((http.method, path))
        if handler is None:
            return _json({"error": f"no control call {http.method} {path}"}, 404)
        try:
            wish = _wish(await http.read(), query)
            if (http.method, path) not in CHANGES:
                return _json(handler(wish))
            note: Body = {"k": "control", "m": http.method, "p": path, "b": wish.body}
            return _json(self._exchange.perform(note, lambda: handler(wish)))
        except (ControlError, FaultError) as error:
            return _json({"error": str(error)}, 400)
        except ExchangeError as error:
            return _json({"error": error.msg, "code": error.code}, 400)

    def repeat(self, method: str, path: str, body: Body) -> None:
        """Do again what the journal tells; what was refused is refused again."""
        with contextlib.suppress(ControlError, ExchangeError):
            self._routes[method, path](Wish(body, {}))

    def set_price(self, wish: Wish) -> object:
        price = wish.decimal("price")
        market = self._exchange.state.market(wish.text("symbol"))
        if not market.symbol.min_price <= price <= market.symbol.max_price or price % market.symbol.tick:
            raise ControlError(f"price must be a multiple of {market.symbol.tick} within the symbol's limits")
        volume = wish.decimal("volume") if "volume" in wish.body else None
        if volume is not None and (volume <= 0 or volume % market.symbol.step):
            raise ControlError(f"volume must be a multiple of {market.symbol.step}")
        self._exchange.set_price(
            market.symbol.name,
            price,
            hold=wish.flag("hold", default=market.held),
            anchor=wish.flag("anchor"),
            volume=volume,
        )
        return {"symbol": market.symbol.name, "price": str(market.last), "mark": str(market.mark), "hold": market.held}

    def freeze(self, wish: Wish) -> object:
        """Stop or restart all prices; restarting also lets go of held symbols."""
        frozen = wish.flag("frozen", default=True)
        self._exchange.state.frozen = frozen
        if not frozen:
            for market in self._exchange.state.markets.values():
                market.held = False
        return {"frozen": frozen}

    def advance_clock(self, wish: Wish) -> object:
        """Move the exchange's time forward, with funding and expiries on the way."""
        milliseconds = wish.integer("advance_ms")
        if milliseconds < 0:
            raise ControlError("advance_ms must not be negative")
        self._exchange.clock.advance(milliseconds)
        self._exchange.step()
        return {"now_ms": self._exchange.clock.now_ms()}

    def settle_funding(self, wish: Wish) -> object:
        """Pay funding of one symbol or all at once; a rate given here stays."""
        state = self._exchange.state
        markets = [state.market(wish.text("symbol"))] if "symbol" in wish.body else list(state.markets.values())
        rate = wish.decimal("rate") if "rate" in wish.body else None
        for market in markets:
            market.funding_rate = market.funding_rate if rate is None else rate
            self._exchange.funding.settle(market, self._exchange.clock.now_ms())
        return {"settled": [market.symbol.name for market in markets]}

    def force_close(self, wish: Wish) -> object:
        """Close a position by liquidation or automatic deleveraging, now."""
        account, market = self._account(wish.body.get("key", "paper")), self._exchange.state.market(wish.text("symbol"))
        kind = wish.body.get("kind", "LIQUIDATION")
        if kind not in {"LIQUIDATION", "ADL"}:
            raise ControlError("kind must be LIQUIDATION or ADL")
        positions = [p for p in account.held() if p.symbol is market.symbol]
        orders = [self._exchange.liquidation.close(position, account, str(kind)) for position in positions]
        return {"orders": [views.order(order) for order in orders]}

    def _account(self, key: object) -> Account:
        account = self._exchange.state.accounts.get(str(key))
        if account is None:
            raise ControlError("no account with this key")
        return account

    def read_ledger(self, wish: Wish) -> object:
        state = self._exchange.state
        return {
            "requests": self._ledger.since(wish.number("since", 0)),
            "orders": [views.order(order) for order in state.orders],
            "algo_orders": [views.algo(algo) for algo in state.algos],
            "fills": [views.fill(fill) for fill in state.fills],
            "balances": [views.balance(change) for change in state.balances],
        }

    def clear_ledger(self, _: Wish) -> object:
        self._ledger.clear()
        return {"cleared": True}

    def summary(self, wish: Wish) -> object:
        return views.summary(self._account(wish.query.get("key", "paper")), self._exchange.state.markets)

    def status(self, _: Wish) -> object:
        """Tell the exchange's time and where its prices come from."""
        return {
            "now_ms": self._exchange.clock.now_ms(),
            "frozen": self._exchange.state.frozen,
            "mirror": self._mirror and self._mirror.status(),
        }

    def report_fills(self, wish: Wish) -> object:
        """Compare fills with the book at the arrival of their orders, of one account or of all."""
        account = self._account(wish.query["key"]) if "key" in wish.query else None
        fills = self._exchange.state.fills
        return fills_report([fill for fill in fills if account in {None, fill.order.account}])

    def add_account(self, wish: Wish) -> object:
        key = wish.text("key")
        if key in self._exchange.state.accounts:
            raise ControlError("an account with this key exists")
        balance = wish.decimal("balance") if "balance" in wish.body else Decimal(10_000)
        self._exchange.state.add_account(AccountConfig(key=key, secret=wish.text("secret"), balance=balance))
        return {"key": key, "balance": str(balance)}

    def add_fault(self, wish: Wish) -> object:
        return self._faults.add(wish.body).view()

    def list_faults(self, _: Wish) -> object:
        return {"faults": [fault.view() for fault in self._faults.rules]}

    def remove_faults(self, wish: Wish) -> object:
        return {"removed": self._faults.remove(wish.query.get("id"))}

    def add_stream_fault(self, wish: Wish) -> object:
        return self._users.faults.add(wish.body).view()

    def list_stream_faults(self, _: Wish) -> object:
        return {"faults": [fault.view() for fault in self._users.faults.rules]}

    def remove_stream_faults(self, _: Wish) -> object:
        return {"removed": self._users.faults.clear()}

    def drop_streams(self, wish: Wish) -> object:
        return {"dropped": self._users.drop_connections(self._account(wish.body.get("key", "paper")).key)}

    def expire_listen_key(self, wish: Wish) -> object:
        account = self._account(wish.body.get("key", "paper"))
        self._exchange.listen_keys.expire(account.key)
        return {"key": account.key}

    def set_liquidity(self, wish: Wish) -> object:
        """Make a market thin: fewer levels for takers, smaller fills for resting orders; null is plenty."""
        market = self._exchange.state.market(wish.text("symbol"))
        if "levels" in wish.body:
            market.book.levels = LEVELS if wish.body["levels"] is None else max(0, wish.integer("levels"))
        if "resting_fill" in wish.body:
            limit = None if wish.body["resting_fill"] is None else wish.decimal("resting_fill")
            if limit is not None and (limit <= 0 or limit % market.symbol.step):
                raise ControlError(f"resting_fill must be a multiple of {market.symbol.step}")
            market.resting_fill = limit
        fill = market.resting_fill
        return {"symbol": market.symbol.name, "levels": market.book.levels, "resting_fill": fill and str(fill)}

    def reset(self, _: Wish) -> object:
        self._exchange.reset()
        self._faults.remove()
        self._users.faults.clear()
        self._ledger.clear()
        return {"reset": True}


def _wish(body: bytes, query: str) -> Wish:
    try:
        read = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise ControlError("the body must be JSON") from error
    if not isinstance(read, dict):
        raise ControlError("the body must be a JSON object")
    return Wish(read, {name: values[-1] for name, values in parse_qs(query).items()})


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(answer), status=status, content_type="application/json")


def _is_loopback(address: str | None) -> bool:
    try:
        return ip_address(address or "").is_loopback
    except ValueError:
        return False
