"""Headers that limit in a browser what a page of ours may do: load nothing from elsewhere, send nothing elsewhere.

Answers of the API are data and get a policy that allows nothing. The pages of the API and the admin bring their scripts
as files, and no script that stands in a page runs. The admin's theme evaluates expressions in attributes (Alpine makes
functions of them), so its policy must allow evaluation in scripts of ours; it hides a page until that has run, that of
the sign-in too. It writes its colours into each page, and sizes into attributes: so styles may stand in a page.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
OWN_PAGES = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:; manifest-src 'self'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'; "
)
# Neither scripts nor styles stand in a page of the dashboard.
DASHBOARD = (
    "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
DOCS = f"{OWN_PAGES}script-src 'self'"
ADMIN = f"{OWN_PAGES}script-src 'self' 'unsafe-eval'; script-src-attr 'none'"
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class SecurityHeadersMiddleware:
    """Adds the headers to every answer, to errors and static files too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy_for(request.path))
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if not request.path.startswith("/static/"):
            # Positions and keys of sessions do not belong into the cache of a browser or a proxy.
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def policy_for(path: str) -> str:
    """Return the Content-Security-Policy of an address."""
    if path.startswith("/admin/"):
        return ADMIN
    if path.startswith("/dashboard/"):
        return DASHBOARD
    return DOCS if path.startswith("/docs") else NOTHING
