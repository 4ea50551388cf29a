"""Fixtures: one paper exchange and one stand-in risk-safety service for the session, both fresh for every test."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from redis import Redis

from execution.adapters.redis_bus import redis_connection
from execution.pipeline import read_events
from tests.support.desk import Desk
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn

# A database number of its own: whatever else uses the server keeps its keys.
REDIS_DATABASE = 9


@pytest.fixture(scope="session")
def redis_url() -> str:
    return urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{REDIS_DATABASE}").geturl()


@pytest.fixture(scope="session")
def paper_process() -> Iterator[PaperExchange]:
    with PaperExchange() as running:
        yield running


@pytest.fixture(scope="session")
def risk_process(redis_url: str) -> Iterator[RiskSafetyStandIn]:
    with RiskSafetyStandIn(redis_url) as running:
        yield running


@pytest.fixture
def redis(redis_url: str) -> Iterator["Redis"]:
    """The real Valkey, empty."""
    client = redis_connection(redis_url)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a slice of the bridge wait for news no longer than a test needs."""
    monkeypatch.setattr(read_events, "BLOCK_MS", 20)


@pytest.fixture
def paper(paper_process: PaperExchange) -> PaperExchange:
    """The paper exchange with fresh accounts, prices at rest, no faults and an empty ledger."""
    paper_process.reset()
    return paper_process


@pytest.fixture
def risk(risk_process: RiskSafetyStandIn) -> RiskSafetyStandIn:
    """The risk-safety service, armed and answering."""
    risk_process.restore()
    return risk_process


@pytest.fixture
def desk(db: None, paper: PaperExchange, risk: RiskSafetyStandIn, redis: "Redis") -> Desk:  # noqa: ARG001 -- the database first
    """One process of the service, on real adapters."""
    return Desk(paper=paper, risk=risk, redis=redis)
