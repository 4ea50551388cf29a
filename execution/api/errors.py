"""One shape for every error of the API.

`detail` is in words, `errors` names the rules by field for wrong fields, `error_id` comes with a fault of the service.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypedDict, TypeVar
from uuid import uuid4

import structlog
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from pydantic import BaseModel
from pydantic import ValidationError as SchemaError
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError

from execution.signals.schemas import schema_errors

log = structlog.get_logger(__name__)
A = TypeVar("A", bound=HttpResponse)

INVALID = "The request is not valid."
UNEXPECTED = "An unexpected error happened; its id stands in the service's log."
NO_DATABASE = "The database cannot be reached; the error's id stands in the service's log."
NO_ROOM = "The database has no room: nothing was stored or sent. The error's id stands in the service's log."
# PostgreSQL's code for it.
DISK_FULL = "53100"

DJANGO_ERRORS = (
    (Http404, status.HTTP_404_NOT_FOUND, "Not found"),
    (PermissionDenied, status.HTTP_403_FORBIDDEN, "Not permitted"),
    (RequestDataTooBig, status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "The body is too large."),
    (SuspiciousOperation, status.HTTP_400_BAD_REQUEST, INVALID),
    (BadRequest, status.HTTP_400_BAD_REQUEST, INVALID),
)


class ConflictError(APIException):
    """The request contradicts what is stored already."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, detail: str, *, reason_code: str) -> None:
        super().__init__(detail)
        self.reason_code = reason_code


class TooLargeError(APIException):
    """The body is larger than we read."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


class ErrorContext(TypedDict):
    """What is read of the framework's context of an error."""

    request: HttpRequest


def explain(error: Exception, context: ErrorContext) -> HttpResponse:
    """Answer any error of a view, as the REST framework's exception handler."""
    if isinstance(error, ValidationError):
        return problem(error.status_code, INVALID, errors=by_field(error.detail))
    if isinstance(error, APIException):
        return _explain_known(error)
    for kind, code, detail in DJANGO_ERRORS:
        if isinstance(error, kind):
            return problem(code, detail)
    return _explain_surprise(error, context["request"])


def problem(code: int, detail: str, **more: object) -> JsonResponse:
    """Return an error answer without what is empty."""
    return JsonResponse({"detail": detail} | {name: value for name, value in more.items() if value}, status=code)


def logged(answer: A) -> A:
    """Mark an answer so that Django does not log it as one more error.

    The view has logged it already, or it needs no log line.
    """
    # Django's own mark; without it every answer from 500 on is logged, a probe's 503 once a second.
    answer._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return answer


def by_field(detail: object) -> dict[str, list[str]]:
    """Flatten the framework's nested error lists into field -> rules."""
    return gathered(_rules("", detail))


def by_schema_field(error: SchemaError, schema: type[BaseModel]) -> dict[str, list[str]]:
    """Return field -> rules of a schema."""
    return gathered(schema_errors(error, schema))


def gathered(broken: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return field -> rules of pairs of both. Rules of no field stand under `request`."""
    rules: dict[str, list[str]] = {}
    for name, rule in broken:
        rules.setdefault(name or "request", []).append(rule)
    return rules


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:  # noqa: ARG001 -- Django's signature
    """Answer a malformed request outside of the API (`handler400`)."""
    return problem(status.HTTP_400_BAD_REQUEST, INVALID)


def forbidden(request: HttpRequest, exception: Exception) -> JsonResponse:  # noqa: ARG001 -- Django's signature
    """Answer a forbidden request outside of the API (`handler403`)."""
    return problem(status.HTTP_403_FORBIDDEN, "Not permitted")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:  # noqa: ARG001 -- Django's signature
    """Answer an address that does not exist (`handler404`)."""
    return problem(status.HTTP_404_NOT_FOUND, "Not found")


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer a surprise outside of the API (`handler500`). Django logs its traceback on the next line."""
    error_id = str(uuid4())
    log.error("request failed", error_id=error_id, method=request.method, path=request.path)
    return problem(status.HTTP_500_INTERNAL_SERVER_ERROR, UNEXPECTED, error_id=error_id)


def _explain_known(error: APIException) -> JsonResponse:
    answer = problem(error.status_code, str(error.detail), reason_code=getattr(error, "reason_code", None))
    # The framework puts the way to authenticate on the error.
    if header := getattr(error, "auth_header", None):
        answer["WWW-Authenticate"] = header
    return answer


def _explain_surprise(error: Exception, request: HttpRequest) -> HttpResponse:
    """Log the error once with its traceback, and show the caller only its id."""
    error_id = str(uuid4())
    log.error("request failed", error_id=error_id, method=request.method, path=request.path, exc_info=error)
    if isinstance(error, OperationalError | InterfaceError):
        detail = NO_ROOM if getattr(error.__cause__, "sqlstate", "") == DISK_FULL else NO_DATABASE
        return logged(problem(status.HTTP_503_SERVICE_UNAVAILABLE, detail, error_id=error_id))
    return logged(problem(status.HTTP_500_INTERNAL_SERVER_ERROR, UNEXPECTED, error_id=error_id))


def _rules(name: str, detail: object) -> Iterator[tuple[str, str]]:
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            yield from _rules(f"{name}.{key}" if name else str(key), value)
    elif isinstance(detail, list | tuple):
        for value in detail:
            yield from _rules(name, value)
    else:
        yield name, str(detail)
