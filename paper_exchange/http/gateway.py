"""The way of a request: ledger, fault, limits, security, handler, answer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
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
from paper_exchange.http.hidden_orders import hide, ids_of
from paper_exchange.http.ledger import Entry, RequestLedger
from paper_exchange.http.limits import LimitError, Limits
from paper_exchange.http.params import Params, parse
from paper_exchange.http.routes import ROUTES
from paper_exchange.http.running import run

logger = logging.getLogger(__name__)
_JSON: Final = "application/json"
# What the HTTP library reads at most.
MAX_BODY: Final = 1 << 20
# Faults that change what the caller hears of a request, not whether it is handled.
_EXECUTING: Final = frozenset({"delay", "drop_after", "hide"})
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
    entry: Entry
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
    """Serves the exchange's own paths. One instance per server."""

    def __init__(self, exchange: Exchange, limits: Limits, faults: Faults, ledger: RequestLedger) -> None:
        self.exchange = exchange
        self.limits = limits
        self.faults = faults
        self.ledger = ledger
        self._late: set[asyncio.Task[None]] = set()
        self._random = Random(f"latency/{exchange.config.seed}")  # noqa: S311 - chance, not secrets

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        arrived = time.time_ns()
        path, _, query = http.raw_path.partition("?")
        key = http.headers.get("X-MBX-APIKEY")
        entry = self.ledger.open(arrived, http.method, path, key, query)
        try:
            body = await http.read() if http.method in _METHODS_WITH_BODY and http.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            return _response(error_reply(refuse(-1010, limit=MAX_BODY)), entry, self.exchange.clock.now_ms())
        entry.body = body
        request = Request(http.method, path, query, body, key, http.remote or "", entry)
        reply = await self._answer(request)
        if reply is None:
            return _hang_up(http)
        return _response(reply, entry, self.exchange.clock.now_ms())

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
        if fault.action == "late":
            task = asyncio.create_task(self._execute_late(request, fault.ms))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return None
        if fault.action == "hang":
            if fault.execute:
                self.execute(request)
            await fault.hold()
            return None
        era = self.faults.era
        if fault.ms:
            await asyncio.sleep(fault.ms / 1000)
        # A reset in between has begun a new exchange.
        return None if era != self.faults.era else self._distort(request, fault)

    def _distort(self, request: Request, fault: Fault) -> Reply | None:
        """Handle a request or not, and answer what the rule makes of it."""
        reply = self.execute(request) if fault.execute or fault.action in _EXECUTING else None
        match fault.action:
            case "drop_before" | "drop_after":
                return None
            case "reply" | "refuse" | "refuse_reducing":
                return _scripted(fault, self.exchange.clock.shown_ms())
            case "hide" if reply is not None and request.method == "GET":
                return self._blind(request, reply, fault)
            case _:
                return reply

    async def _execute_late(self, request: Request, wait_ms: int) -> None:
        """Handle a request whose client no longer waits. Its receive window goes on counting."""
        era = self.faults.era
        await asyncio.sleep(wait_ms / 1000)
        if era == self.faults.era:
            self.execute(request)

    def _blind(self, request: Request, reply: Reply, fault: Fault) -> Reply:
        """Answer a read as if what it asks for did not exist."""
        if reply.status != 200:
            return reply
        account = self.exchange.state.accounts.get(request.key or "")
        answer = hide(orjson.loads(reply.body), request.path, ids_of(account, fault.order))
        if answer is None:
            return error_reply(refuse(-2013), reply.headers)
        return Reply(200, orjson.dumps(answer), reply.headers)

    def execute(self, request: Request) -> Reply:
        """Run a request to its answer, and note what became of it."""
        reply = self._run(request)
        request.entry.done_status, request.entry.done_code = reply.status, reply.code
        return reply

    def _run(self, request: Request) -> Reply:
        """Do all of it without waiting, so that nothing happens in between."""
        route = ROUTES.get((request.method, request.path))
        if route is None:
            return error_reply(refuse(-5000, path=request.path, method=request.method))
        now = self.exchange.clock.now_ms()
        headers: dict[str, str] = {}
        try:
            used = self.limits.use_weight(request.address, route.weigh(request.params), now)
            headers["X-MBX-USED-WEIGHT-1M"] = str(used)
            if route.is_funding:
                self.limits.use_funding(request.address, now)
            account = self._admit(route, request)
            if route.orders is not None and account is not None:
                self._count_orders(account, route.orders, now, headers)
            answer = run(self.exchange, request.method, request.path, request.params, account)
        except ExchangeError as error:
            return error_reply(error, headers)
        except Exception:
            logger.exception("Handler failed: %s %s", request.method, request.path)
            return Reply(500, orjson.dumps({"code": -1000, "msg": refuse(-1000).msg}), headers, -1000)
        return Reply(200, orjson.dumps(answer), headers)

    def _admit(self, route: Route, request: Request) -> Account | None:
        if route.security == PUBLIC:
            return None
        account = security.account_of(self.exchange.state.accounts, request.key)
        if route.security == SIGNED:
            security.check_signed(
                account, request.params, request.query, request.body, *self.exchange.clock.accepted_ms()
            )
        return account

    def _count_orders(self, account: Account, cost: tuple[int, int], now: int, headers: dict[str, str]) -> None:
        short, long = self.limits.use_orders(account, *cost, now)
        headers["X-MBX-ORDER-COUNT-10S"] = str(short)
        headers["X-MBX-ORDER-COUNT-1M"] = str(long)


def _response(reply: Reply, entry: Entry, now_ms: int) -> web.Response:
    """Send an answer with the exchange's own time in its header, also where clients are shown another."""
    entry.status, entry.code = reply.status, reply.code
    headers = {"Date": formatdate(now_ms / 1000, usegmt=True), **reply.headers}
    return web.Response(body=reply.body, status=reply.status, headers=headers, content_type=_JSON)


def _scripted(fault: Fault, now_ms: int) -> Reply:
    """Answer with the body of the rule: an object as JSON, a text as it is."""
    body, headers = fault.scripted(now_ms)
    code = body.get("code") if isinstance(body, dict) else None
    return Reply(fault.status, body.encode() if isinstance(body, str) else orjson.dumps(body), headers, code)


def _hang_up(http: web.BaseRequest) -> web.Response:
    """Close the connection at once. The response object is never sent."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=500)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
