"""Who may use the control API: programs of this machine, but no web page in a browser on it.

A page can make a browser post to loopback, and by DNS rebinding even read the answer. So the connection and the name
by which it was called must be loopback's, a body must be declared as JSON (no form can do that, and other pages may
not), and a page must be this server's own.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

JSON: Final = "application/json"


def is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def refusal(remote: str | None, headers: Mapping[str, str], *, has_body: bool) -> tuple[int, str] | None:
    """Return status and sentence for a caller who may not use the control API. None for one who may."""
    host = headers.get("Host", "")
    if not is_loopback(remote):
        return 403, "the control API answers loopback callers only"
    if not is_loopback(_hostname(host)):
        return 403, f"the control API is called by a loopback address or localhost, not by Host {host[:100]!r}"
    if headers.get("Origin", f"http://{host}") != f"http://{host}":
        return 403, "the control API answers no other web page"
    if has_body and headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        return 415, f"the body must be JSON and say so: Content-Type: {JSON}"
    return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
