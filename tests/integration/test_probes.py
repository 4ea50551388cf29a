"""Probes by a pod's address are answered whatever ALLOWED_HOSTS names; nothing else is opened by them."""

import pytest
from django.conf import settings
from django.test import Client

pytestmark = pytest.mark.django_db

PODS = ("10.42.0.17:8002", "10.42.0.17", "192.168.7.9:8000", "[fd00:10:244::5]:8002", "[fd00:10:244::5]")
PROBES = ("/health/live", "/health/ready")
STRANGE = (
    *("evil.example", "10.42.0.17.evil.example", "10.42.0.17.evil.example:8002", "kubernetes", "10.42.0.17:8002:1"),
    *("10.42.0.17@evil.example", "10.42.0.17/evil", "[fd00::5", "fd00::5", "0x0a2a0011", "167772161", "10.42", ""),
)


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("host", PODS)
@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_probe_by_address_is_answered(client: Client, method: str, path: str, host: str) -> None:
    answer = client.generic(method, path, HTTP_HOST=host)

    # Whatever is ready here: it should be the probe's own answer, not a refusal of the host.
    assert answer.status_code in ({200} if path == "/health/live" else {200, 503})
    if method == "GET":
        assert answer.json()["status"] in {"ok", "ready", "not_ready"}
        assert set(answer.json()) <= {"status", "service", "version", "healthy", "reasons"}


@pytest.mark.parametrize("host", STRANGE)
@pytest.mark.parametrize("path", PROBES)
def test_a_probe_by_any_other_name_is_refused(client: Client, path: str, host: str) -> None:
    assert client.get(path, HTTP_HOST=host).status_code == 400


@pytest.mark.parametrize("host", PODS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("/", "/health", "/metrics", "/docs", "/schema", "/admin/login/")),
        *(("GET", f"/api/execution/{name}") for name in ("positions", "trades", "events", "kill-switch", "metrics")),
        *(("POST", path) for path in ("/api/execution/order", "/api/execution/kill-switch", *PROBES)),
        *(("GET", path) for path in ("/health/live/", "/health/live/x", "/health/../metrics", "//health/live")),
        ("OPTIONS", "/health/live"),
    ],
)
def test_nothing_else_is_opened_by_an_address(client: Client, method: str, path: str, host: str) -> None:
    assert client.generic(method, path, HTTP_HOST=host).status_code == 400


@pytest.mark.parametrize("path", PROBES)
def test_an_allowed_name_is_answered_as_before(client: Client, path: str) -> None:
    assert "localhost" in settings.ALLOWED_HOSTS
    # Nothing of the service runs here, so it is alive and not ready.
    assert client.get(path, HTTP_HOST="localhost:8002").status_code == {"/health/live": 200}.get(path, 503)
