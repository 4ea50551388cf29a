"""Fixtures: one paper exchange and one stand-in risk-safety service for the session, both fresh for every test."""

import os
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlsplit

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import TransactionTestCase
from redis import Redis

from execution.adapters.redis_bus import redis_connection
from execution.signals import consumer
from execution_project import waits
from tests.support.desk import Desk
from tests.support.emptied import empty_tables
from tests.support.paper import PaperExchange
from tests.support.passing_time import PassingTime, pauses_pass_at_once
from tests.support.risk import RiskSafetyStandIn
from tests.support.roles import with_rights
from tests.support.victim import Victim

# A database number of its own: whatever else uses the server keeps its keys.
REDIS_DATABASE = 9


@pytest.fixture(scope="session", autouse=True)
def _emptied_quickly() -> Iterator[None]:
    """Empty the tables that a test has filled, where Django would truncate them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: empty_tables())
        yield


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
    monkeypatch.setattr(consumer, "BLOCK_MS", 20)


@pytest.fixture(autouse=True)
def passing_time(request: pytest.FixtureRequest) -> Iterator[PassingTime | None]:
    """Let pauses between two tries pass at once, save where somebody else acts meanwhile.

    `real_pauses` marks tests in which the exchange does; rows that are seen by others may be waited for.
    """
    marker = request.node.get_closest_marker("django_db")
    if request.node.get_closest_marker("real_pauses") or (marker and marker.kwargs.get("transaction")):
        yield None
        return
    with pauses_pass_at_once() as passing:
        yield passing


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see what another one has counted, nor as which program it has loaded its modules."""
    cache.clear()
    monkeypatch.setattr(waits, "_held", waits.Kind.OPERATOR)


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
    desk = Desk(paper=paper, risk=risk, redis=redis)
    desk.start()
    return desk


@pytest.fixture
def victim(desk: Desk, redis_url: str) -> Callable[..., Victim]:
    """Start a process of the service on this test's database, Redis and exchange."""
    database = settings.DATABASES["default"]
    name = connection.settings_dict["NAME"]
    address = f"{database['HOST']}:{database['PORT']}/{quote(str(name))}"
    env = {
        "DATABASE_URL": with_rights(f"postgresql://{database['USER']}@{address}"),
        "REDIS_URL": redis_url,
        "BINANCE_BASE_URL": desk.paper.url,
        "RISK_SAFETY_SERVICE_URL": desk.risk.url,
        "BINANCE_RATE_LIMIT_RPM": "1000000",
        "LOG_LEVEL": "CRITICAL",
    }
    return lambda *arguments, **further: Victim(env | further, *arguments)
