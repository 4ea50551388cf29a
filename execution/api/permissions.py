"""Who may use the API: holders of the service key; without a configured key, on paper and loopback only, anybody."""

from hmac import compare_digest

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

BEARER = "Bearer "
SERVICE_KEY = "service key"


class ServiceKeyAuthentication(BaseAuthentication):
    """Compares `X-API-Key` or `Authorization: Bearer` with EXECUTION_API_KEY, in constant time."""

    def authenticate(self, request: Request) -> tuple[None, str] | None:
        """Return that the key is held, or None when nobody is asked for one.

        Raises:
            NotAuthenticated: a key is asked for and none was sent.
            AuthenticationFailed: another key was sent.

        """
        if not key_is_asked_for():
            return None
        given = given_key(request)
        if not given:
            raise NotAuthenticated("Send the service key in the header X-API-Key, or as Authorization: Bearer.")
        # Without a configured key nobody holds it; an empty one must not match.
        expected = settings.ENV.execution_api_key.get_secret_value()
        if not expected or not compare_digest(given.encode(), expected.encode()):
            raise AuthenticationFailed("The service key is wrong.")
        return None, SERVICE_KEY

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 -- the framework's signature
        return 'Bearer realm="execution"'


class HoldsServiceKey(BasePermission):
    """The second lock behind the first: a view that lost its authentication stays closed."""

    def has_permission(self, request: Request, view: object) -> bool:  # noqa: ARG002 -- the framework's signature
        return request.auth == SERVICE_KEY or not key_is_asked_for()


def key_is_asked_for() -> bool:
    return settings.ENV.api_key_required or bool(settings.ENV.execution_api_key.get_secret_value())


def given_key(request: Request) -> str:
    bearer = request.headers.get("Authorization", "")
    return request.headers.get("X-API-Key", "") or (bearer[len(BEARER) :] if bearer.startswith(BEARER) else "")
