"""The running server: exchange, HTTP and control API on one port, and the heartbeat that moves prices."""

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from paper_exchange.config import Config
from paper_exchange.control.api import PREFIX, Control
from paper_exchange.core.clock import SystemClock
from paper_exchange.core.exchange import Exchange
from paper_exchange.http.faults import Faults
from paper_exchange.http.gateway import Gateway
from paper_exchange.http.ledger import RequestLedger
from paper_exchange.http.limits import Limits

logger = logging.getLogger(__name__)
_KEEPALIVE_S: Final = 75.0


class PaperServer:
    """Async context manager: listening inside, gone outside."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.exchange = Exchange(config, SystemClock())
        self.port = config.port
        ledger, faults = RequestLedger(), Faults(config.seed)
        self._gateway = Gateway(self.exchange, Limits(enforced=config.limits), faults, ledger)
        self._control = Control(self.exchange, faults, ledger)
        self._runner = web.ServerRunner(
            web.Server(self._dispatch, access_log=None, keepalive_timeout=_KEEPALIVE_S), shutdown_timeout=0.5
        )
        self._heart: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.config.host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._heart = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._heart is not None:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart
        await self._runner.cleanup()

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.startswith(PREFIX):
            return await self._control.handle(request)
        return await self._gateway.handle(request)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.config.step_ms / 1000)
            try:
                self.exchange.step()
            except Exception:
                # One faulty step must not stop time for good.
                logger.exception("Price step failed")
