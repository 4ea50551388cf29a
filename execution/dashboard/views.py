"""The addresses of the dashboard."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET

from execution.api.views import ServiceView
from execution.dashboard.access import rights_of, staff_only, staff_only_in_background
from execution.dashboard.board import render_board
from execution.dashboard.live import Board
from execution.queries.events import certain_event_id
from execution_project.security_headers import DASHBOARD
from execution_project.web import MOST_STREAMS

HTML, JSON = "text/html", "application/json"
NO_CONTENT = 204
BOARD = Board(render=render_board, cursor=certain_event_id, most_streams=MOST_STREAMS)
service = ServiceView.as_view()


def root(request: HttpRequest) -> HttpResponseBase:
    """`GET /`: the dashboard for browsers, the service's identity in JSON for every other client."""
    wants_page = request.get_preferred_type([JSON, HTML]) == HTML
    answer = home(request) if wants_page and request.method in {"GET", "HEAD"} else service(request)
    patch_vary_headers(answer, ["Accept"])
    return answer


@staff_only()
def home(request: HttpRequest) -> HttpResponse:
    rights = rights_of(request)
    context = {"board": BOARD.html(rights), "mode": settings.ENV.mode, "title": "Dashboard"}
    answer = render(request, "dashboard/home.html", context)
    # Where this address answers in JSON it has another one.
    answer.headers["Content-Security-Policy"] = DASHBOARD
    return answer


@require_GET
@staff_only_in_background
def board(request: HttpRequest) -> HttpResponse:
    """`GET /dashboard/board`: the live part alone, for pages without a stream."""
    return HttpResponse(BOARD.html(rights_of(request)))


@require_GET
@staff_only_in_background
def stream(request: HttpRequest) -> HttpResponseBase:
    """`GET /dashboard/stream`: the live part as server-sent events.

    204, after which a browser does not connect again, when as many streams are open as may be: such a page polls.
    """
    events = BOARD.subscribe(rights_of(request))
    if events is None:
        return HttpResponse(status=NO_CONTENT)
    # A proxy that collects an answer before it passes it on would hold the news back.
    return StreamingHttpResponse(events, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
