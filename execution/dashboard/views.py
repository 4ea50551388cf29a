"""The addresses of the dashboard."""

from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET, require_http_methods

from execution import wiring
from execution.admin.write_off_page import PERMISSION as WRITE_OFF_PERMISSION
from execution.admin.write_off_page import may_be_denied
from execution.api.views import ServiceView
from execution.dashboard.access import rights_of, staff_only, staff_only_in_background
from execution.dashboard.actions import MOVE_PERMISSION, StopForm, break_even_price, move_stop_by_hand
from execution.dashboard.board import render_board
from execution.dashboard.cells import address_of_decision, address_of_trade
from execution.dashboard.chart_json import chart_json
from execution.dashboard.live import Board
from execution.dashboard.search_page import SearchForm, search_context
from execution.dashboard.story_pages import decision_context, trade_context
from execution.domain.money import plain
from execution.domain.states import TRADE_OPEN
from execution.models import ExecutionRequest, Trade
from execution.queries.charts import levels_over_time
from execution.queries.events import certain_event_id
from execution.queries.trade_now import trade_now
from execution.trades.charts import candles_of
from execution_project.security_headers import DASHBOARD
from execution_project.web import MOST_STREAMS

HTML, JSON = "text/html", "application/json"
NO_CONTENT, FORBIDDEN = 204, 403
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
    answer = rendered(request, "home", {"board": BOARD.html(rights), "title": "Dashboard"})
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


@require_GET
@staff_only("execution.view_trade")
def trade(request: HttpRequest, pk: UUID) -> HttpResponse:
    """`GET /dashboard/trades/{id}`: everything about a trade, and what may be done with it."""
    found = get_object_or_404(Trade.objects.select_related("request__bracket"), pk=pk)
    return rendered(request, "trade", {**trade_context(found), **_offers(request, found)})


def _offers(request: HttpRequest, found: Trade) -> dict[str, object]:
    """Return what the reader may do with a trade."""
    return {
        "may_move": found.state in TRADE_OPEN and request.user.has_perm(MOVE_PERMISSION),
        "may_write_off": request.user.has_perm(WRITE_OFF_PERMISSION) and may_be_denied(found.pk),
    }


@require_GET
@staff_only_in_background
def chart(request: HttpRequest, pk: UUID) -> HttpResponse:
    """`GET /dashboard/trades/{id}/chart`: candles, fills, levels and mark price as JSON."""
    if not request.user.has_perm("execution.view_trade"):
        return JsonResponse({"note": "Not permitted."}, status=FORBIDDEN)
    found = get_object_or_404(Trade, pk=pk)
    now = timezone.now()
    shown = candles_of(found, wiring.exchange(), now=now)
    return JsonResponse(chart_json(shown, levels_over_time(found, now=now), trade_now(found)))


@require_http_methods(["GET", "POST"])
@staff_only(MOVE_PERMISSION)
def stop(request: HttpRequest, pk: UUID) -> HttpResponse:
    """`/dashboard/trades/{id}/stop`: the form that moves the stop, with the price of break-even at hand."""
    found = get_object_or_404(Trade.objects.select_related("request__bracket"), pk=pk)
    if found.state not in TRADE_OPEN:
        return HttpResponseRedirect(address_of_trade(pk))
    even = break_even_price(found)
    asked = {"price": plain(even), "reason": "break-even"} if "break-even" in request.GET else None
    form = StopForm(request.POST) if request.method == "POST" else StopForm(initial=asked)
    if request.method == "POST" and form.is_valid() and move_stop_by_hand(request, pk, form):
        return HttpResponseRedirect(address_of_trade(pk))
    context = trade_context(found)
    return rendered(
        request, "stop", {**context, "title": f"Move the stop of {found.symbol}", "form": form, "even": plain(even)}
    )


@require_GET
@staff_only("execution.view_executionrequest")
def decision(request: HttpRequest, pk: UUID) -> HttpResponse:
    """`GET /dashboard/decisions/{id}`: why a decision was taken or denied, rule by rule."""
    try:
        return rendered(request, "decision", decision_context(pk))
    except ExecutionRequest.DoesNotExist:
        raise Http404("There is no such decision.") from None


@require_GET
@staff_only("execution.view_executionrequest")
def decisions(request: HttpRequest) -> HttpResponse:
    """`GET /dashboard/decisions`: search by id, symbol, strategy, state, reason code and time."""
    form = SearchForm(request.GET)
    context = search_context(form)
    if isinstance(context, UUID):
        return HttpResponseRedirect(address_of_decision(context))
    return rendered(request, "decisions", {**context, "title": "Decisions", "form": form})


def rendered(request: HttpRequest, name: str, context: dict[str, object]) -> HttpResponse:
    """Return a page of the dashboard by its template's name."""
    return render(request, f"dashboard/{name}.html", {**context, "mode": settings.ENV.mode})
