"""The running server: exchange, HTTP and control API on one port, and the heartbeat that moves prices."""

import asyncio
import contextlib
import logging
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from paper_exchange.config import Config
from paper_exchange.control.api import PREFIX, Control
from paper_exchange.control.request import Levers
from paper_exchange.core.clock import SystemClock
from paper_exchange.core.exchange import Exchange
from paper_exchange.errors import ExchangeError
from paper_exchange.http.faults import Faults
from paper_exchange.http.gateway import Gateway
from paper_exchange.http.holding import is_held
from paper_exchange.http.ledger import RequestLedger
from paper_exchange.http.limits import Limits
from paper_exchange.http.params import Params
from paper_exchange.http.running import run
from paper_exchange.mirror import Mirror
from paper_exchange.store import Store
from paper_exchange.ws.api import PATH as API_PATH
from paper_exchange.ws.api import WsApi
from paper_exchange.ws.endpoint import StreamServer, read_address
from paper_exchange.ws.feed import make_publisher
from paper_exchange.ws.hub import Hub
from paper_exchange.ws.user_stream import UserStream

logger = logging.getLogger(__name__)
_KEEPALIVE_S: Final = 75.0
# A thousand stream names fit into one address.
_MAX_LINE: Final = 65_536
_STEPPED_AT_ONCE: Final = 12
_SHORTEST_PAUSE_MS: Final = 5
_PUBLISH_EVERY_S: Final = 0.05


class PaperServer:
    """Async context manager: listening inside, gone outside."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._store = Store(Path(config.state_file)) if config.state_file else None
        if self._store is not None:
            self._store.lock()
        saved = self._store.load() if self._store else None
        self.exchange = saved or Exchange(config, SystemClock())
        self.exchange.adopt(config)
        self.port = config.port
        ledger, faults = RequestLedger(), Faults(config.seed, lambda key, params: is_held(self.exchange, key, params))
        limits = Limits(enforced=config.limits)
        self._gateway = Gateway(self.exchange, limits, faults, ledger)
        self._api = WsApi(self.exchange, limits, ledger)
        self._hub = Hub(lambda stream: make_publisher(self.exchange, stream), legacy=config.legacy_streams)
        self._users = UserStream(self.exchange, self._hub)
        self.exchange.state.listener = self._users
        self._mirror = Mirror(self.exchange, config.mirror) if config.mirror else None
        levers = Levers(
            exchange=self.exchange,
            faults=faults,
            limits=limits,
            ledger=ledger,
            users=self._users,
            mirror=self._mirror,
        )
        self._control = Control(levers)
        self._streams = StreamServer(
            self._hub,
            self.exchange.clock,
            enforce_limits=config.limits,
            life_ms=config.stream_life_s * 1000,
            is_path_silent=lambda: self.exchange.state.assumptions.user_path_silent,
        )
        self._runner = web.ServerRunner(
            web.Server(self._dispatch, access_log=None, keepalive_timeout=_KEEPALIVE_S, max_line_size=_MAX_LINE),
            shutdown_timeout=0.5,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        host = self.config.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        # Only now: a process that cannot listen must not touch the files of one that does.
        if self._store is not None:
            self._recover(self._store)
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._publish())]
        if self._mirror is not None:
            self._tasks.append(asyncio.create_task(self._mirror.run()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._streams.close_all()
        await self._runner.cleanup()
        if self._store is not None:
            self._store.save(self.exchange)
            self._store.release()

    def _recover(self, store: Store) -> None:
        """Repeat what was done after the last snapshot, then keep a journal of our own."""
        for note in store.notes():
            self.exchange.clock.pin(note["t"])
            self._repeat(note)
        self.exchange.clock.pin(None)
        store.save(self.exchange)
        self.exchange.journal = store.record

    def _repeat(self, note: dict[str, Any]) -> None:
        match note["k"]:
            case "step":
                self.exchange.step(note["f"], note["n"])
            case "expire":
                self.exchange.expire()
            case "mirror":
                first, second = map(Decimal, note["v"])
                self.exchange.mirror(note["e"], note["s"], first, second)
            case "control":
                self._control.repeat(note["m"], note["p"], note["b"])
            case "call":
                account = self.exchange.state.accounts.get(note["a"])
                with contextlib.suppress(ExchangeError):
                    run(self.exchange, note["m"], note["p"], Params(note["q"]), account)

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.startswith(PREFIX):
            return await self._control.handle(request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if request.raw_path.partition("?")[0] == API_PATH:
                return await self._api.serve(request)
            address = read_address(request.raw_path)
            if address is not None:
                return await self._streams.serve(request, address)
        return await self._gateway.handle(request)

    async def _beat(self) -> None:
        """Step the markets a few at a time, evenly over the period, so that no order waits for all of them."""
        period, part = self.config.step_ms, 0
        while True:
            # The listing changes while it trades.
            markets = len(self.exchange.state.markets)
            parts = max(1, min(markets // _STEPPED_AT_ONCE, period // _SHORTEST_PAUSE_MS))
            size, part = -(-markets // parts), (part + 1) % parts
            await asyncio.sleep(period / parts / 1000)
            try:
                self._step(part * size, size)
                if self._store is not None and self._store.is_full:
                    self._store.save(self.exchange)
            except Exception:
                # One faulty step must not stop time for good.
                logger.exception("Price step failed")

    def _step(self, first: int, count: int) -> None:
        note: dict[str, object] = {"k": "step", "f": first, "n": count}
        self.exchange.perform(note, lambda: self.exchange.step(first, count))

    async def _publish(self) -> None:
        while True:
            await asyncio.sleep(_PUBLISH_EVERY_S)
            now = self.exchange.clock.now_ms()
            try:
                if self.exchange.is_due():
                    self.exchange.perform({"k": "expire"}, self.exchange.expire)
                await self._hub.poll(now)
                self._users.expire_keys(now)
                await self._streams.tend(now)
            except Exception:
                logger.exception("Publishing failed")
