"""What a browser may do, and who must hold a key: by the connection, whatever the settings say."""

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from pydantic import SecretStr

pytestmark = pytest.mark.django_db

GUARDED = "/api/execution/positions"
PAGES = (
    "/",
    "/health",
    "/docs",
    "/docs?script",
    "/schema",
    "/metrics",
    GUARDED,
    "/nowhere",
    "/admin/login/",
    "/admin/",
)
ELSEWHERE = ("10.0.0.5", "192.168.1.2", "172.17.0.1", "8.8.8.8", "::ffff:8.8.8.8", "2001:db8::1", "", "unknown")
PASSED_ON = (
    *({"X-Forwarded-For": "8.8.8.8"}, {"X-Real-IP": "8.8.8.8"}, {"Forwarded": "for=8.8.8.8"}, {"Via": "1.1 proxy"}),
    *({"X-Forwarded-Proto": "https"}, {"X-Forwarded-Host": "trading.example"}, {"X-Forwarded-For": "127.0.0.1"}),
)


@pytest.fixture(autouse=True)
def _no_key_is_set(settings: LazySettings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"execution_api_key": SecretStr(""), "host": "127.0.0.1"})


@pytest.mark.parametrize("peer", ELSEWHERE)
def test_without_a_key_only_this_machine_is_answered(client: Client, peer: str) -> None:
    """HOST says loopback, but the server listens on more."""
    for method in ("get", "post", "delete"):
        answer = getattr(client, method)(GUARDED, REMOTE_ADDR=peer)

        assert answer.status_code == 401


@pytest.mark.parametrize("headers", PASSED_ON)
def test_what_a_proxy_passes_on_is_not_of_this_machine(client: Client, headers: dict[str, str]) -> None:
    assert client.get(GUARDED, headers=headers).status_code == 401


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "127.8.8.8", "::ffff:127.0.0.1"])
def test_this_machine_is_answered_on_paper(client: Client, peer: str) -> None:
    assert client.get(GUARDED, REMOTE_ADDR=peer).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_every_answer_forbids_what_it_does_not_need(client: Client, page: str) -> None:
    headers = client.get(page).headers

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    # It should load nothing from elsewhere.
    assert "http" not in policy
    assert "*" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert "no-store" in headers["Cache-Control"]


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(("/docs", "/admin"))])
def test_data_may_do_nothing_in_a_browser(client: Client, page: str) -> None:
    policy = client.get(page).headers["Content-Security-Policy"]

    assert policy == "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def test_the_page_of_the_api_has_no_script_in_it(client: Client) -> None:
    page = client.get("/docs")

    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"].partition("script-src")[2]
    scripts = page.content.decode().split("<script")[1:]
    assert scripts
    assert all(' src="/' in script.partition(">")[0] for script in scripts)


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password="a-long-word-of-the-test"))
    return client


def test_the_admin_sends_its_forms_nowhere_else(admin: Client) -> None:
    policy = admin.get("/admin/").headers["Content-Security-Policy"]

    assert "form-action 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "object-src 'none'" in policy


def test_the_admin_loads_nothing_from_elsewhere(admin: Client) -> None:
    page = admin.get("/admin/").content.decode()

    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page
