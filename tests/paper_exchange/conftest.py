"""Fixtures: the core on a stepped clock without sockets, and the server as a process with the real connector."""

from collections.abc import Iterator

import pytest
from binance.um_futures import UMFutures

from paper_exchange.config import Config
from paper_exchange.core.clock import SteppedClock
from tests.paper_exchange.trader import Trader
from tests.support.paper import PaperExchange

NOON = 1_790_000_000_000


@pytest.fixture
def trader() -> Trader:
    """An account on a core whose prices and clock stand still."""
    return Trader(Config(static_prices=True, queue_position=False), SteppedClock(NOON))


@pytest.fixture(scope="session")
def paper_process() -> Iterator[PaperExchange]:
    with PaperExchange() as running:
        yield running


@pytest.fixture
def paper(paper_process: PaperExchange) -> PaperExchange:
    """The running server, with fresh accounts, no faults and an empty ledger."""
    paper_process.reset()
    return paper_process


@pytest.fixture
def client(paper: PaperExchange) -> UMFutures:
    """The connector as users construct it, on the paper account."""
    found = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=5)
    found.session.trust_env = False
    return found
