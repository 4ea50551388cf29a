"""Requests: decisions on their way through the pipeline."""

from uuid import UUID

from execution.domain.states import RequestTrigger
from execution.models import AuditEvent, ExecutionRequest, InboxEvent
from execution.store.named_sql import NamedSql

REQUEST = NamedSql("request", request=ExecutionRequest)


def load_request(request_id: UUID) -> ExecutionRequest:
    """Return a request.

    Raises:
        ExecutionRequest.DoesNotExist: there is none with this id.

    """
    found = REQUEST.row(request=request_id)
    if found is None:
        raise ExecutionRequest.DoesNotExist(f"there is no request {request_id}")
    request: ExecutionRequest = found[0]
    return request


def request_of_event(inbox: InboxEvent | None) -> ExecutionRequest:
    """Return the request that an inbox event became, with the event.

    Raises:
        ExecutionRequest.DoesNotExist: the event became none.

    """
    return ExecutionRequest.objects.select_related("inbox").get(inbox=inbox)


def save_policy_version(request: ExecutionRequest, version: int) -> None:
    """Write the version of the policy that a request is approved with, in the row and in `request`."""
    ExecutionRequest.objects.filter(pk=request.pk).update(policy_version=version)
    request.policy_version = version


def approval_line(request: ExecutionRequest) -> AuditEvent | None:
    """Return the journal's last line of this request's approval by the guard."""
    lines = AuditEvent.objects.filter(entity="request", entity_id=str(request.pk))
    return lines.filter(trigger=RequestTrigger.GUARD_APPROVED).last()
