"""Behind a proxy that ends TLS: people sign in, and nobody but the named proxies says who calls."""

import re
from typing import Any

import pytest
import requests
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from execution_project.proxies import PASSED_ON, TrustedProxies
from tests.support.proxy import proxy_before

PASSWORD = "a sentence that nobody guesses"
PUBLIC = "https://desk.example.org"


@pytest.fixture
def _behind_a_proxy(settings: LazySettings) -> None:
    """What a desk sets: the public address and its proxy."""
    settings.ENV = settings.ENV.model_copy(update={"public_url": PUBLIC, "trusted_proxies": "127.0.0.1"})
    settings.ALLOWED_HOSTS = settings.ENV.hosts
    settings.CSRF_TRUSTED_ORIGINS = [PUBLIC]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def sign_in(address: str, *, origin: str) -> requests.Response:
    """Sign in as a browser does that sees the public address; returns the answer to the form."""
    headers = {"Host": "desk.example.org", "Origin": origin, "Referer": f"{origin}/admin/login/"}
    page = requests.get(f"{address}/admin/login/", headers=headers, timeout=10)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token, page.text[:300]
    form = {"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
    # The browser's cookies are for https; this client speaks plainly to the proxy and has to be told to send them.
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in page.cookies)
    return requests.post(
        f"{address}/admin/login/",
        data=form,
        headers={**headers, "Cookie": cookies},
        allow_redirects=False,
        timeout=10,
    )


@pytest.mark.usefixtures("_behind_a_proxy")
def test_a_person_signs_in_through_the_proxy(live_server: Any) -> None:
    User.objects.create_superuser("anna", password=PASSWORD)

    with proxy_before(live_server.url) as address:
        answer = sign_in(address, origin=PUBLIC)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    assert re.search(r"sessionid=\w+;.*Secure", answer.headers["Set-Cookie"])


@pytest.mark.usefixtures("_behind_a_proxy")
def test_another_page_cannot_post_through_the_proxy(live_server: Any) -> None:
    User.objects.create_superuser("anna", password=PASSWORD)

    with proxy_before(live_server.url) as address:
        answer = sign_in(address, origin="https://evil.example.org")

    assert answer.status_code == 403


def seen(trusted: str, settings: LazySettings, **meta: str) -> HttpRequest:
    """Return a request as the application sees it behind the middleware."""
    settings.ENV = settings.ENV.model_copy(update={"trusted_proxies": trusted})
    found: list[HttpRequest] = []

    def application(request: HttpRequest) -> HttpResponse:
        found.append(request)
        return HttpResponse()

    TrustedProxies(application)(RequestFactory().get("/", **meta))  # type: ignore[arg-type]
    [request] = found
    return request


FORWARDED = {"HTTP_X_FORWARDED_FOR": "203.0.113.7", "HTTP_X_FORWARDED_PROTO": "https"}


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "caller"),
    [
        ("10.0.0.5", "10.0.0.5", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.0/24", "10.0.0.5", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.0/24, 10.1.0.1", "10.1.0.1", "203.0.113.7, 10.0.0.9", "203.0.113.7"),
        ("::1", "::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.5", "::ffff:10.0.0.5", "203.0.113.7", "203.0.113.7"),
        # What stands in front of the proxy's own entry is the caller's word.
        ("10.0.0.5", "10.0.0.5", "127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.5", "10.0.0.5", "", "10.0.0.5"),
    ],
)
def test_a_named_proxy_says_who_calls(
    settings: LazySettings, trusted: str, peer: str, forwarded_for: str, caller: str
) -> None:
    request = seen(trusted, settings, REMOTE_ADDR=peer, **(FORWARDED | {"HTTP_X_FORWARDED_FOR": forwarded_for}))

    assert request.META["REMOTE_ADDR"] == caller
    assert request.is_secure()
    # It should be a caller behind a proxy, wherever that runs.
    assert request.META[PASSED_ON] is True


@pytest.mark.parametrize(("trusted", "peer"), [("", "127.0.0.1"), ("10.0.0.5", "10.0.0.6"), ("10.0.0.5", "nonsense")])
@pytest.mark.parametrize(
    "header",
    [
        *("X_FORWARDED_FOR", "X_FORWARDED_PROTO", "X_FORWARDED_HOST", "X_FORWARDED_PORT"),
        "X_REAL_IP",
        "FORWARDED",
        "VIA",
    ],
)
def test_other_peers_are_not_trusted(settings: LazySettings, trusted: str, peer: str, header: str) -> None:
    request = seen(trusted, settings, REMOTE_ADDR=peer, **{f"HTTP_{header}": "https"})

    assert request.META["REMOTE_ADDR"] == peer
    assert not request.is_secure()
    assert f"HTTP_{header}" not in request.META
    # It should be no caller of this machine.
    assert request.META[PASSED_ON] is True


def test_who_forwards_nothing_claims_nothing(settings: LazySettings) -> None:
    assert seen("", settings, REMOTE_ADDR="127.0.0.1").META[PASSED_ON] is False
