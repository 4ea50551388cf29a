"""Which peers may say who called and how: X-Forwarded headers count from TRUSTED_PROXIES only.

Anybody can send such headers. They are removed unless the connection itself comes from a proxy that the settings name;
then the caller's address is the last one in X-Forwarded-For that is not itself such a proxy.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from execution_project.networks import is_within, networks

FORWARDED_FOR, FORWARDED_PROTO = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"
# A proxy adds one of these; a client of this machine that calls us itself has no reason to.
HEADERS = (
    *(FORWARDED_FOR, FORWARDED_PROTO, "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT"),
    *("HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA"),
)
# Whether a request came through a proxy, named or not: such a one is never of this machine.
PASSED_ON = "execution.passed_on"


class TrustedProxies:
    """Middleware: believes the named proxies, and nobody else, about the caller's address and scheme."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.trusted = networks(settings.ENV.trusted_proxies)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        is_trusted = is_within(request.META.get("REMOTE_ADDR", ""), self.trusted)
        request.META[PASSED_ON] = is_trusted or any(name in request.META for name in HEADERS)
        if is_trusted:
            request.META["REMOTE_ADDR"] = self._caller(request)
        else:
            for name in HEADERS:
                request.META.pop(name, None)
        return self.get_response(request)

    def _caller(self, request: HttpRequest) -> str:
        """Return the last address that no trusted proxy has; a caller may have put anything in front of it."""
        hops = [hop.strip() for hop in request.META.get(FORWARDED_FOR, "").split(",") if hop.strip()]
        others = [hop for hop in hops if not is_within(hop, self.trusted)]
        return others[-1] if others else str(request.META["REMOTE_ADDR"])
