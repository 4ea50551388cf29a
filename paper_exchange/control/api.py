"""The control API under /paper: moves prices, injects faults, reads the ledger. For local programs."""

import contextlib
from typing import Final
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from paper_exchange.control import accounts, faulting, markets, reading, ways
from paper_exchange.control.callers import refusal
from paper_exchange.control.request import Actions, Body, ControlError, ControlRequest, Levers
from paper_exchange.errors import ExchangeError
from paper_exchange.http.faults import FaultError
from paper_exchange.http.keys import KeyTextError

PREFIX: Final = "/paper/"
ACTIONS: Final[Actions] = {**markets.ACTIONS, **accounts.ACTIONS, **faulting.ACTIONS, **reading.ACTIONS, **ways.ACTIONS}


class Control:
    def __init__(self, levers: Levers) -> None:
        self._levers = levers

    async def handle(self, http: web.BaseRequest) -> web.Response:
        if refused := refusal(http.remote, http.headers, has_body=http.can_read_body):
            status, sentence = refused
            return _json({"error": sentence}, status)
        path, _, query = http.raw_path.partition("?")
        try:
            return self._answer(http.method, path, _request(await http.read(), query))
        except (ControlError, FaultError, KeyTextError) as error:
            return _json({"error": str(error)}, 400)
        except ExchangeError as error:
            return _json({"error": error.msg, "code": error.code}, 400)

    def repeat(self, method: str, path: str, body: Body) -> None:
        """Repeat a call of the journal. A call that was refused is refused again."""
        with contextlib.suppress(ControlError, KeyTextError, ExchangeError):
            ACTIONS[method, path].run(self._levers, ControlRequest(body, {}))

    def _answer(self, method: str, path: str, request: ControlRequest) -> web.Response:
        action = ACTIONS.get((method, path))
        if action is None:
            return _json({"error": f"no control call {method} {path}"}, 404)
        if not action.changes:
            return _json(action.run(self._levers, request))
        note: Body = {"k": "control", "m": method, "p": path, "b": request.body}
        return _json(self._levers.exchange.perform(note, lambda: action.run(self._levers, request)))


def _request(body: bytes, query: str) -> ControlRequest:
    try:
        read = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise ControlError("the body must be JSON") from error
    if not isinstance(read, dict):
        raise ControlError("the body must be a JSON object")
    return ControlRequest(read, {name: values[-1] for name, values in parse_qs(query).items()})


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(answer), status=status, content_type="application/json")
