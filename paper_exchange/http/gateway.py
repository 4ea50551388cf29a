"""The way of a request: ledger, fault, limits, security, handler, answer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import orjson
from aiohttp import web

from paper_exchange.core.accounts import Account
from paper_exchange.core.exchange import Exchange
from paper_exchange.errors import ExchangeError, refuse
from paper_exchange.http import security
from paper_exchange.http.calls import PUBLIC, SIGNED, Route
from paper_exchange.http.faults import Fault, Faults
from paper_exchange.http.ledger import Entry, RequestLedger
from paper_exchange.http.limits import LimitError, Limits
from paper_exchange.http.params import Params, parse
from paper_exchange.http.routes import ROUTES
from paper_exchange.http.running import run

logger = logging.getLogger(__name__)
_JSON: Final = "application/json"
# What the HTTP library reads at most.
MAX_BODY: Final = 1 << 20
_LOOK_UPS: Final = frozenset({"/fapi/v1/order", "/fapi/v1/openOrder", "/fapi/v1/algoOrder"})
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "DELETE"})


@dataclass(slots=True)
class Request:
    """One HTTP request, read completely."""

    method: str
    path: str
    query: str
    body: bytes
    key: str | None
    address: str
    params: Params = field(default_factory=lambda: Params({}))


@dataclass(slots=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    code: int | None = None


def error_reply(error: ExchangeError, headers: dict[str, str] | None = None) -> Reply:
    headers = dict(headers or {})
    if isinstance(error, LimitError):
        headers["Retry-After"] = str(error.retry_after_s)
    return Reply(error.status, orjson.dumps({"code": error.code, "msg": error.msg}), headers, error.code)


class Gateway:
    """Serves the exchange's own paths; one instance per server."""

    def __init__(self, exchange: Exchange, limits: Limits, faults: Faults, ledger: RequestLedger) -> None:
        self.exchange = exchange
        self.limits = limits
        self.faults = faults
        self.ledger = ledger
        self._random = Random(f"latency/{exchange.config.seed}")  # noqa: S311 - chance, not secrets

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        arrived = time.time_ns()
        path, _, query = http.raw_path.partition("?")
        key = http.headers.get("X-MBX-APIKEY")
        entry = self.ledger.open(arrived, http.method, path, key, query)
        try:
            body = await http.read() if http.method in _METHODS_WITH_BODY and http.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            return _response(error_reply(refuse(-1010, limit=MAX_BODY)), entry)
        entry.body = body
        request = Request(http.method, path, query, body, key, http.remote or "")
        reply = await self._answer(request)
        if reply is None:
            return _hang_up(http)
        return _response(reply, entry)

    async def _answer(self, request: Request) -> Reply | None:
        """Return the reply, or None when the connection shall be closed without one."""
        try:
            request.params = parse(request.query, request.body)
        except ExchangeError as error:
            return error_reply(error)
        if latency := self._latency_s():
            await asyncio.sleep(latency)
        if not self.faults.rules:
            return self.execute(request)
        fault = self.faults.pick(request.method, request.path, request.key, request.params)
        return self.execute(request) if fault is None else await self._answer_faulty(request, fault)

    def _latency_s(self) -> float:
        config = self.exchange.config
        if not config.latency_jitter_ms:
            return config.latency_ms / 1000
        # Exponential: most answers come soon, a few very late.
        return (config.latency_ms + self._random.expovariate(1 / config.latency_jitter_ms)) / 1000

    async def _answer_faulty(self, request: Request, fault: Fault) -> Reply | None:
        if fault.ms:
            await asyncio.sleep(fault.ms / 1000)
        if fault.action == "drop_before":
            return None
        if fault.action == "drop_after":
            self.execute(request)
            return None
        if fault.action == "hide" and request.method == "GET":
            return self._blind(request)
        if fault.action == "reply":
            if fault.execute:
                self.execute(request)
            return _scripted(fault)
        return self.execute(request)

    def _blind(self, request: Request) -> Reply:
        """Answer a read as if what it asks for did not exist."""
        reply = self.execute(request)
        if reply.status != 200:
            return reply
        if request.path in _LOOK_UPS:
            return error_reply(refuse(-2013), reply.headers)
        return Reply(200, b"[]", reply.headers) if reply.body.startswith(b"[") else reply

    def execute(self, request: Request) -> Reply:
        """Run a request to its answer; synchronous, so nothing happens in between."""
        route = ROUTES.get((request.method, request.path))
        if route is None:
            return error_reply(refuse(-5000, path=request.path, method=request.method))
        now = self.exchange.clock.now_ms()
        headers: dict[str, str] = {}
        try:
            used = self.limits.use_weight(request.address, route.weigh(request.params), now)
            headers["X-MBX-USED-WEIGHT-1M"] = str(used)
            account = self._admit(route, request, now)
            if route.orders is not None and account is not None:
                self._count_orders(account, route.orders, now, headers)
            answer = run(self.exchange, request.method, request.path, request.params, account)
        except ExchangeError as error:
            return error_reply(error, headers)
        except Exception:
            logger.exception("Handler failed: %s %s", request.method, request.path)
            return Reply(500, orjson.dumps({"code": -1000, "msg": refuse(-1000).msg}), headers, -1000)
        return Reply(200, orjson.dumps(answer), headers)

    def _admit(self, route: Route, request: Request, now: int) -> Account | None:
        if route.security == PUBLIC:
            return None
        account = security.account_of(self.exchange.state.accounts, request.key)
        if route.security == SIGNED:
            security.check_signed(
                account, request.params, request.query, request.body, now, self.exchange.clock.wall_ms()
            )
        return account

    def _count_orders(self, account: Account, cost: tuple[int, int], now: int, headers: dict[str, str]) -> None:
        short, long = self.limits.use_orders(account, *cost, now)
        headers["X-MBX-ORDER-COUNT-10S"] = str(short)
        headers["X-MBX-ORDER-COUNT-1M"] = str(long)


def _response(reply: Reply, entry: Entry) -> web.Response:
    entry.status, entry.code = reply.status, reply.code
    return web.Response(body=reply.body, status=reply.status, headers=reply.headers, content_type=_JSON)


def _scripted(fault: Fault) -> Reply:
    """Answer with what the rule says: an object as JSON, a text as it is."""
    body = fault.body.encode() if isinstance(fault.body, str) else orjson.dumps(fault.body)
    code = fault.body.get("code") if isinstance(fault.body, dict) else None
    return Reply(fault.status, body, dict(fault.headers), code)


def _hang_up(http: web.BaseRequest) -> web.Response:
    """Close the connection at once; the response object is never sent."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=500)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
