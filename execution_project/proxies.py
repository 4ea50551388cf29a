"""Which peers may say who called and how: X-Forwarded headers count from TRUSTED_PROXIES only.

Anybody can send such headers. They are removed unless the connection itself comes from a proxy that the settings name;
then the caller's address is the last one in X-Forwarded-For that is not itself such a proxy.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from execution_project.networks import is_within, networks

FORWARDED_FOR, FORWARDED_PROTO = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"
HEADERS = (FORWARDED_FOR, FORWARDED_PROTO, "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_FORWARDED")
# Set for a caller who claims to speak for others and may not: such a connection is never "from this machine".
CLAIMED = "execution.claims_to_be_a_proxy"


class TrustedProxies:
    """Middleware: believes the named proxies, and nobody else, about the caller's address and scheme."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.trusted = networks(settings.ENV.trusted_proxies)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_within(request.META.get("REMOTE_ADDR", ""), self.trusted):
            request.META["REMOTE_ADDR"] = self._caller(request)
        else:
            request.META[CLAIMED] = any(name in request.META for name in HEADERS)
            for name in HEADERS:
                request.META.pop(name, None)
        return self.get_response(request)

    def _caller(self, request: HttpRequest) -> str:
        """Return the last address that no trusted proxy has; a caller may have put anything in front of it."""
        hops = [hop.strip() for hop in request.META.get(FORWARDED_FOR, "").split(",") if hop.strip()]
        others = [hop for hop in hops if not is_within(hop, self.trusted)]
        return others[-1] if others else str(request.META["REMOTE_ADDR"])
