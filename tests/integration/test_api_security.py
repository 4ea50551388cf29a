"""Who may do what at the API: every address is tried, so that one that is added later cannot be forgotten."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pydantic import SecretStr

from execution.models import ExecutionRequest
from tests.support import builders

pytestmark = pytest.mark.django_db

KEY = "a-key-that-is-long-enough"
# What they answer where nothing runs beside the web process: it lives, and neither is it ready nor well.
# A webhook has a token of its own; what it answers is in test_webhooks.py.
HOOK = "/hooks/<str:token>"
OPEN = {"/health": 503, "/health/live": 200, "/health/ready": 503}


PK = re.compile(r"\(\?P<pk>\[\^/\]\+\)|<uuid:pk>")


def addresses(patterns: list[Any], prefix: str = "/") -> Iterator[str]:
    """Every address of the project but the admin's, which has a sign-in of its own."""
    for pattern in patterns:
        route = str(pattern.pattern).lstrip("^").rstrip("$").replace("\\Z", "")
        if isinstance(pattern, URLResolver) and route != "admin/":
            yield from addresses(pattern.url_patterns, prefix + route)
        elif isinstance(pattern, URLPattern):
            named = route.replace("(?P<table>[^/]+)", "trades")
            yield prefix + PK.sub("0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11", named)


ALL = sorted(set(addresses(get_resolver().url_patterns)))
# The dashboard's pages ask for a sign-in instead.
PAGES = [address for address in ALL if address.startswith("/dashboard/")]
GUARDED = [address for address in ALL if address not in {*OPEN, *PAGES, HOOK}]


@pytest.fixture(autouse=True)
def _fresh_health() -> None:
    cache.clear()


@pytest.fixture
def _key_is_set(settings: LazySettings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"execution_api_key": SecretStr(KEY)})


@pytest.fixture
def _key_is_required_and_missing(settings: LazySettings) -> None:
    """An environment that refuses to start; should it ever run, it must stay closed."""
    settings.ENV = settings.ENV.model_copy(update={"host": "0.0.0.0"})


def test_the_list_of_addresses_is_complete() -> None:
    assert ALL == [
        "/",
        "/api/execution/equity",
        "/api/execution/events",
        "/api/execution/exports/trades",
        "/api/execution/kill-switch",
        "/api/execution/metrics",
        "/api/execution/order",
        "/api/execution/positions",
        "/api/execution/preview",
        "/api/execution/requests/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11",
        "/api/execution/requests/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11/write-off",
        "/api/execution/tca",
        "/api/execution/trades",
        "/api/execution/trades/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11",
        "/api/execution/trades/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11/protection",
        "/api/execution/trades/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11/write-off",
        "/dashboard/board",
        "/dashboard/decisions",
        "/dashboard/decisions/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11",
        "/dashboard/stream",
        "/dashboard/trades/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11",
        "/dashboard/trades/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11/chart",
        "/dashboard/trades/0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11/stop",
        "/docs",
        "/health",
        "/health/live",
        "/health/ready",
        HOOK,
        "/metrics",
        "/schema",
    ]


@pytest.mark.usefixtures("_key_is_set")
@pytest.mark.parametrize("address", GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": "ключ".encode().decode("latin-1")},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
    ],
)
def test_without_the_key_everything_but_health_is_closed(client: Client, address: str, headers: dict[str, str]) -> None:
    for method in ("get", "post", "put", "patch", "delete", "options"):
        answer = getattr(client, method)(address, content_type="application/json", headers=headers)

        assert answer.status_code == 401, method
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="execution"'
        assert list(answer.json()) == ["detail"]
    assert not ExecutionRequest.objects.exists()


@pytest.mark.usefixtures("_key_is_set")
@pytest.mark.parametrize("address", GUARDED)
@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_with_the_key_every_address_opens(client: Client, address: str, headers: dict[str, str]) -> None:
    answer = client.get(address, headers=headers)

    only_posted = address in {"/api/execution/order", "/api/execution/preview"} or address.endswith("/write-off")
    assert answer.status_code == (405 if only_posted else 404 if "0b0e4b06" in address else 200)


@pytest.mark.usefixtures("_key_is_set")
@pytest.mark.parametrize("address", sorted(OPEN))
def test_health_asks_nobody_for_a_key(client: Client, address: str) -> None:
    assert client.get(address).status_code == OPEN[address]


@pytest.mark.usefixtures("_key_is_set")
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": f"Basic {KEY}"}])
def test_health_without_the_key_shows_only_the_verdict(client: Client, headers: dict[str, str]) -> None:
    builders.heartbeat("monitor", details={"larger": {"ETHUSDT": "is larger than its trade"}})

    health = client.get("/health", headers=headers).json()
    ready = client.get("/health/ready", headers=headers).json()

    assert set(health) == {"service", "version", "status", "healthy", "running", "timestamp", "components"}
    assert {tuple(part) for part in health["components"].values()} == {("healthy",)}
    assert set(ready) == {"service", "version", "status", "healthy"}
    # It should say as much as that something is wrong, and to holders of the key what.
    assert health["components"]["positions"] == {"healthy": False}
    full = client.get("/health", headers={"X-API-Key": KEY}).json()
    assert full["components"]["positions"]["error"] == "ETHUSDT is larger than its trade"
    assert "reasons" in client.get("/health/ready", headers={"X-API-Key": KEY}).json()


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": KEY}, {"Accept": "text/html"}])
@pytest.mark.parametrize("address", PAGES)
def test_the_dashboards_pages_open_by_sign_in_alone(client: Client, address: str, headers: dict[str, str]) -> None:
    for method in ("get", "head", "post", "put", "patch", "delete"):
        answer = getattr(client, method)(address, headers=headers)

        to_the_sign_in = answer.headers.get("Location", "").startswith("/admin/login/?next=/dashboard/")
        assert (answer.status_code, to_the_sign_in) in {(302, True), (401, False), (405, False)}, method


@pytest.mark.usefixtures("_key_is_required_and_missing")
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"X-API-Key": "anything"}])
def test_a_required_key_that_is_not_set_opens_nothing(client: Client, headers: dict[str, str]) -> None:
    assert client.get("/api/execution/positions", headers=headers).status_code == 401


@pytest.mark.parametrize("address", GUARDED)
def test_paper_on_loopback_without_a_configured_key_asks_nobody(client: Client, address: str) -> None:
    assert client.get(address).status_code != 401


@pytest.mark.parametrize("address", ["/api/execution/positions", "/api/execution/trades", "/health"])
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "nonsense", "text/html;q=0.9,*/*;q=0.1"])
def test_a_browser_gets_json_and_no_form(client: Client, address: str, accept: str) -> None:
    answer = client.get(address, headers={"Accept": accept})

    assert answer.status_code == OPEN.get(address, 200)
    assert answer.headers["Content-Type"] == "application/json"


def test_the_service_names_itself(client: Client) -> None:
    assert client.get("/").json() == {
        "service": "execution",
        "version": "1.0.0",
        "status": "running",
        "mode": "paper",
        "docs": "/docs",
    }


def test_the_page_of_the_api_needs_nothing_from_outside(client: Client) -> None:
    page = client.get("/docs").content.decode()

    assert "drf_spectacular_sidecar/swagger-ui-dist" in page
    assert "cdn" not in page
    assert 'src="http' not in page


def test_health_and_errors_leak_no_key(client: Client, settings: LazySettings) -> None:
    settings.ENV = settings.ENV.model_copy(
        update={"binance_api_key": "canary-key", "execution_api_key": SecretStr(KEY)}
    )
    builders.heartbeat("monitor")

    for address in ALL:
        for headers in ({}, {"X-API-Key": KEY}):
            answer = client.get(address, headers=headers)
            body = (answer.getvalue() if answer.streaming else answer.content).decode()
            assert "canary" not in body
            assert KEY not in body
