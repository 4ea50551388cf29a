"""Lets holders of the service key use the API.

Without a configured key, on paper only, callers of this machine may use it. The connection decides where the caller is,
not the setting HOST: a server may listen on more than that names. A request that a proxy has passed on comes from
elsewhere, whatever machine the proxy runs on.
"""

from hmac import compare_digest

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from execution_project.addresses import peer_is_this_machine
from execution_project.proxies import PASSED_ON

BEARER = "Bearer "
SERVICE_KEY = "service key"


class ServiceKeyAuthentication(BaseAuthentication):
    """Compares `X-API-Key` or `Authorization: Bearer` with EXECUTION_API_KEY, in constant time."""

    def authenticate(self, request: Request) -> tuple[None, str] | None:
        """Return that the key is held, or None when no key is asked for.

        Raises:
            NotAuthenticated: a key is asked for and none was sent.
            AuthenticationFailed: another key was sent.

        """
        if not key_is_asked_for(request):
            return None
        if not given_key(request):
            raise NotAuthenticated("Send the service key in the header X-API-Key, or as Authorization: Bearer.")
        if not holds_key(request):
            raise AuthenticationFailed("The service key is wrong.")
        return None, SERVICE_KEY

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 -- the framework's signature
        return 'Bearer realm="execution"'


class HoldsServiceKey(BasePermission):
    """The second lock behind the first: a view that lost its authentication stays closed."""

    def has_permission(self, request: Request, view: object) -> bool:  # noqa: ARG002 -- the framework's signature
        return request.auth == SERVICE_KEY or not key_is_asked_for(request)


def key_is_asked_for(request: Request) -> bool:
    """Whether this caller must hold the key: unless no key is set, on paper, for a caller of this machine."""
    key_is_set = bool(settings.ENV.execution_api_key.get_secret_value())
    return key_is_set or settings.ENV.api_key_required or not is_from_this_machine(request)


def holds_key(request: Request) -> bool:
    """Whether the request carries the service key."""
    # Without a configured key no caller holds it; an empty one must not match.
    expected = settings.ENV.execution_api_key.get_secret_value()
    return bool(expected) and compare_digest(given_key(request).encode(), expected.encode())


def may_see_details(request: Request) -> bool:
    """Whether an open address may answer this caller in full."""
    return not key_is_asked_for(request) or holds_key(request)


def is_from_this_machine(request: Request) -> bool:
    return not request.META[PASSED_ON] and peer_is_this_machine(str(request.META.get("REMOTE_ADDR", "")))


def given_key(request: Request) -> str:
    bearer = request.headers.get("Authorization", "")
    return request.headers.get("X-API-Key", "") or (bearer[len(BEARER) :] if bearer.startswith(BEARER) else "")
