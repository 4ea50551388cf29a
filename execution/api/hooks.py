"""`POST /hooks/{token}`: alerts of charting and signal services. The token is the only key.

The answer waits for one short transaction and for nothing else: tasks are started by a thread behind it. An unknown
token, a revoked one, a disabled webhook and a caller from another network get one and the same answer.
"""

from contextlib import suppress
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse, JsonResponse, UnreadablePostError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from execution import wiring
from execution.api.background import BackgroundStarter
from execution.api.base import JsonView
from execution.api.errors import INVALID, gathered, logged, problem
from execution.api.preview import preview_ports
from execution.api.schema import problems
from execution.api.serializers.hooks import TakenAlertOut
from execution.api.serializers.preview import PreviewOut
from execution.domain.call_rate import CallRate
from execution.domain.reasons import Reason
from execution.models import Webhook
from execution.queries.preview import preview_entry
from execution.signals.accept import MANUAL_SIGNAL
from execution.signals.envelope import MalformedEventError
from execution.signals.unsaved import unsaved_request
from execution.store.webhooks import count_refused, webhook_of
from execution.webhooks.alert_body import MAX_BODY_BYTES
from execution.webhooks.intake import Signal, signal_of, take_alert
from execution.webhooks.manage import digest_of
from execution.workflow import start_accepted
from execution_project.networks import is_within, networks

log = structlog.get_logger(__name__)
# Calls with unknown tokens that one address may make in a minute. Its calls with known ones go on.
MOST_GUESSES = 30
STATUSES = {
    Reason.SECRET_WRONG: status.HTTP_403_FORBIDDEN,
    Reason.IDENTITY_REUSED: status.HTTP_409_CONFLICT,
    Reason.SIGNAL_TOO_OLD: status.HTTP_422_UNPROCESSABLE_ENTITY,
    Reason.VERB_NOT_ALLOWED: status.HTTP_422_UNPROCESSABLE_ENTITY,
}
NOT_FOUND = "Not found"
calls, guesses = CallRate(), CallRate()
starter = BackgroundStarter(start_accepted)


class HookView(JsonView):
    """Takes alerts in. It asks for no key but the token in its address."""

    authentication_classes = ()
    permission_classes = ()

    def query_parameters(self) -> frozenset[str]:
        return frozenset({"dry_run"})

    @extend_schema(
        operation_id="hook",
        auth=[],
        request={"application/json": OpenApiTypes.OBJECT, "text/plain": OpenApiTypes.STR},
        parameters=[
            OpenApiParameter(
                "dry_run",
                type={"type": "string", "enum": ["0", "1"]},
                description="1: preview the alert, take nothing.",
            )
        ],
        responses={200: PreviewOut, 202: TakenAlertOut, **problems(400, 403, 404, 409, 413, 422, 429)},
    )
    def post(self, request: Request, token: str) -> HttpResponse:
        """Take an alert in, or preview it with `dry_run=1`."""
        dry_run = request.query_params.get("dry_run", "0")
        if dry_run not in {"0", "1"}:
            raise ValidationError({"dry_run": ["must be 0 or 1"]})
        webhook = _webhook_for(request, token)
        if webhook is None:
            return _unknown(request)
        # Counted before the body is read: a flood must cost little.
        if wait := calls.take(webhook.pk, most=webhook.calls_per_minute):
            return _too_many(f"calls expected<={webhook.calls_per_minute} a minute", wait)
        call = _Call(webhook=webhook, token=token, request=request)
        return call.preview() if dry_run == "1" else call.take()


@dataclass(frozen=True, kw_only=True)
class _Call:
    """One call of a known webhook."""

    webhook: Webhook
    token: str
    request: Request

    def take(self) -> HttpResponse:
        try:
            taken = take_alert(self.webhook, self._signal(), rules=wiring.intake_rules(), now=wiring.clock())
        except MalformedEventError as error:
            self._count(error)
            return _refusal(error)
        if not taken.accepted.repeated:
            starter.start(taken.accepted)
        return Response(TakenAlertOut(taken).data, status=status.HTTP_202_ACCEPTED)

    def preview(self) -> HttpResponse:
        """Answer what would become of the alert. Not even the refusal is counted."""
        try:
            signal = self._signal()
            if not signal.verb.opens:
                rule = f"dry_run previews entries, not {signal.verb}"
                raise MalformedEventError.by_field([("action", rule)])
            event = {"event_type": MANUAL_SIGNAL, "payload": signal.payload}
            decision = unsaved_request(event, rules=wiring.intake_rules(), now=wiring.clock())
        except MalformedEventError as error:
            return _refusal(error)
        return Response(PreviewOut(preview_entry(decision, preview_ports())).data)

    def _signal(self) -> Signal:
        try:
            raw = self.request.body
        except UnreadablePostError:
            raise MalformedEventError.by_field([("body", "ended before its announced length")]) from None
        kind = self.request.content_type or ""
        return signal_of(self.webhook, raw, kind, token=self.token, now=wiring.clock())

    def _count(self, error: MalformedEventError) -> None:
        log.info("alert_refused", webhook=self.webhook.name, code=error.code.value, reason=error.sentence)
        # The refusal stands whether or not it can be counted.
        with suppress(DatabaseError, InterfaceError):
            count_refused(self.webhook.pk, f"{error.code}: {error.sentence}", now=wiring.clock())


def _webhook_for(request: Request, token: str) -> Webhook | None:
    """Return the webhook that this caller may use, by one statement whatever the token is."""
    webhook = webhook_of(digest_of(token))
    if webhook is None or webhook.revoked_at or not webhook.enabled:
        return None
    allowed = networks(webhook.networks)
    if allowed and not is_within(str(request.META.get("REMOTE_ADDR", "")), allowed):
        log.warning("webhook_called_from_elsewhere", webhook=webhook.name, peer=request.META.get("REMOTE_ADDR"))
        return None
    return webhook


def _unknown(request: Request) -> JsonResponse:
    peer = str(request.META.get("REMOTE_ADDR", ""))
    if wait := guesses.take(peer, most=MOST_GUESSES):
        return _too_many(f"calls with unknown tokens expected<={MOST_GUESSES} a minute", wait)
    log.warning("webhook_unknown", peer=peer)
    return logged(problem(status.HTTP_404_NOT_FOUND, NOT_FOUND))


def _too_many(numbers: str, wait: float) -> JsonResponse:
    answer = problem(status.HTTP_429_TOO_MANY_REQUESTS, f"Too many calls: {numbers}.", reason_code="TOO_MANY_CALLS")
    answer["Retry-After"] = str(int(wait) + 1)
    return logged(answer)


def _refusal(error: MalformedEventError) -> JsonResponse:
    code = STATUSES.get(error.code, status.HTTP_400_BAD_REQUEST)
    if any(name == "body" and rule.startswith(f"must be at most {MAX_BODY_BYTES}") for name, rule in error.broken):
        code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    errors = gathered(error.broken) or {"request": [error.sentence]}
    return logged(problem(code, INVALID, reason_code=error.code.value, errors=errors))
