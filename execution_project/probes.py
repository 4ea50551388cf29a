"""Lets an orchestrator ask for life and readiness by the address of a pod, which no setting can name beforehand.

Kubernetes calls `http://10.1.2.3:8002/health/live` with the address as `Host`. ALLOWED_HOSTS is there against web pages
that reach us under a name of their own; an address is no such name, and these two answers tell nothing but a verdict.
Every other address of ours, and every host that is a name, goes by ALLOWED_HOSTS as before.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port

from execution_project.addresses import as_ip

PROBES = frozenset({"/health/live", "/health/ready"})
READING = frozenset({"GET", "HEAD"})


class ProbesByAddress:
    """Middleware, before everything that asks for the host."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        host = request.META.get("HTTP_HOST", "")
        if request.method in READING and request.path_info in PROBES and _is_address(host):
            # Of this one request: Django asks it for its host, and nothing else.
            request.get_host = lambda: host  # type: ignore[method-assign]
        return self.get_response(request)


def _is_address(host: str) -> bool:
    """Whether a header is an IP address with or without a port, in the form that Django reads."""
    domain, _port = split_domain_port(host)
    return bool(domain) and as_ip(domain) is not None
