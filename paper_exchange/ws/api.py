"""The WebSocket API (ws-fapi): requests and answers on one socket, by the handlers of the REST routes."""

import logging
import time
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import WSMsgType, web

from paper_exchange.core.accounts import Account
from paper_exchange.core.exchange import Exchange
from paper_exchange.errors import ExchangeError, missing, refuse
from paper_exchange.http import security
from paper_exchange.http.calls import PUBLIC, SIGNED, Route
from paper_exchange.http.keys import is_ed25519
from paper_exchange.http.ledger import RequestLedger
from paper_exchange.http.limits import ORDERS_1M, ORDERS_10S, WEIGHT_LIMIT, Limits
from paper_exchange.http.params import Params
from paper_exchange.http.routes import ROUTES
from paper_exchange.http.running import run

logger = logging.getLogger(__name__)
PATH: Final = "/ws-fapi/v1"
HANDSHAKE_WEIGHT: Final = 5
SESSION_WEIGHT: Final = 2
SESSION_METHODS: Final = frozenset({"session.logon", "session.status", "session.logout"})
Json = dict[str, object]

METHODS: Final[dict[str, tuple[str, str]]] = {
    "ping": ("GET", "/fapi/v1/ping"),
    "time": ("GET", "/fapi/v1/time"),
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "ticker.price": ("GET", "/fapi/v1/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "depth": ("GET", "/fapi/v1/depth"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}


@dataclass(slots=True, kw_only=True)
class Session:
    """One connection, and the account that it has logged in."""

    connected: int
    account: Account | None = None
    since: int | None = None


class WsApi:
    def __init__(self, exchange: Exchange, limits: Limits, ledger: RequestLedger) -> None:
        self._exchange = exchange
        self._limits = limits
        self._ledger = ledger

    async def serve(self, http: web.BaseRequest) -> web.WebSocketResponse:
        """Answer the requests of one connection in their order."""
        socket = web.WebSocketResponse(max_msg_size=1 << 18)
        await socket.prepare(http)
        address = http.remote or ""
        try:
            self._limits.use_weight(address, HANDSHAKE_WEIGHT, self._exchange.clock.now_ms())
        except ExchangeError as error:
            await socket.send_str(_dumps({"id": None, "status": error.status, "error": _body(error)}))
            await socket.close()
            return socket
        session = Session(connected=self._exchange.clock.now_ms())
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(_dumps(self.answer(message.data, address, session)))
        return socket

    def answer(self, text: str, address: str, session: Session) -> Json:
        """Return the answer to one request. Its id is given back as it came."""
        identity: object = None
        limits: list[Json] = []
        with_limits = True
        try:
            message = _decode(text)
            identity = message.get("id")
            params = _params(message)
            with_limits = params.flag("returnRateLimits") is not False
            result = self._perform(str(message.get("method")), params, address, limits, session)
            answer: Json = {"id": identity, "status": 200, "result": result}
        except ExchangeError as error:
            answer = {"id": identity, "status": error.status, "error": _body(error)}
        except Exception:
            logger.exception("Request over WebSocket failed")
            answer = {"id": identity, "status": 500, "error": _body(refuse(-1000))}
        return answer | {"rateLimits": limits} if with_limits else answer

    def _perform(self, method: str, params: Params, address: str, limits: list[Json], session: Session) -> object:
        arrived, known = time.time_ns(), session.account.key if session.account else None
        key = params.text("apiKey") or known
        entry = self._ledger.open(arrived, "WS", method, key, "&".join(_pairs(params)))
        try:
            if method in SESSION_METHODS:
                result = self._run_session(method, params, address, limits, session)
            else:
                result = self._run(method, params, address, limits, session)
        except ExchangeError as error:
            entry.status, entry.code = error.status, error.code
            raise
        entry.status = 200
        return result

    def _run_session(self, method: str, params: Params, address: str, limits: list[Json], session: Session) -> object:
        """Log the connection in or out, or return its status. Only Ed25519 keys log in."""
        now = self._exchange.clock.now_ms()
        used = self._limits.use_weight(address, SESSION_WEIGHT, now)
        limits.append(_limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_LIMIT, used))
        if method == "session.logon":
            account = security.account_of(self._exchange.state.accounts, params.text("apiKey"))
            if not is_ed25519(account.public_key):
                raise refuse(-4056)
            self._check_signed(account, params)
            session.account, session.since = account, now
        elif method == "session.logout":
            session.account, session.since = None, None
        return {
            "apiKey": session.account and session.account.key,
            "authorizedSince": session.since,
            "connectedSince": session.connected,
            "returnRateLimits": True,
            "serverTime": self._exchange.clock.shown_ms(),
        }

    def _run(self, method: str, params: Params, address: str, limits: list[Json], session: Session) -> object:
        if method not in METHODS:
            raise refuse(-1130, name="method")
        route, now = ROUTES[METHODS[method]], self._exchange.clock.now_ms()
        used = self._limits.use_weight(address, route.weigh(params), now)
        limits.append(_limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_LIMIT, used))
        account = self._admit(route, params, session)
        if route.orders is not None and account is not None:
            short, long = self._limits.use_orders(account, *route.orders, now)
            limits.append(_limit("ORDERS", "SECOND", 10, ORDERS_10S, short))
            limits.append(_limit("ORDERS", "MINUTE", 1, ORDERS_1M, long))
        return run(self._exchange, *METHODS[method], params, account)

    def _admit(self, route: Route, params: Params, session: Session) -> Account | None:
        if route.security == PUBLIC:
            return None
        if session.account is not None and not params.has("apiKey"):
            return self._admit_known(route, params, session.account)
        account = security.account_of(self._exchange.state.accounts, params.text("apiKey"))
        if route.security == SIGNED:
            self._check_signed(account, params)
        return account

    def _admit_known(self, route: Route, params: Params, known: Account) -> Account:
        """Let the logged-in account in without a signature, but not with an old timestamp."""
        account = security.account_of(self._exchange.state.accounts, known.key)
        if route.security == SIGNED:
            timestamp = params.required_integer("timestamp")
            security.check_window(timestamp, params.integer("recvWindow"), *self._exchange.clock.accepted_ms())
        return account

    def _check_signed(self, account: Account, params: Params) -> None:
        """Refuse what is not signed over all other parameters in alphabetical order."""
        timestamp, given = params.required_integer("timestamp"), params.required("signature")
        security.check_window(timestamp, params.integer("recvWindow"), *self._exchange.clock.accepted_ms())
        if not security.is_signature_of(account, "&".join(_pairs(params)), given):
            raise refuse(-1022)


def _decode(text: str) -> Json:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refuse(-1130, name="request") from error
    if not isinstance(message, dict):
        raise refuse(-1130, name="request")
    return message


def _params(message: Json) -> Params:
    values = message.get("params", {})
    if not isinstance(values, dict):
        raise missing("params")
    return Params({str(name): _text(value) for name, value in values.items() if value is not None})


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pairs(params: Params) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(params.values.items()) if name != "signature"]


def _body(error: ExchangeError) -> Json:
    return {"code": error.code, "msg": error.msg}


def _limit(kind: str, interval: str, number: int, limit: int, count: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit, "count": count}


def _dumps(answer: Json) -> str:
    return orjson.dumps(answer).decode()
