"""Reads a decision into the request that it would become, without storing it."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import ValidationError

from execution.domain.trading import Source
from execution.models import ExecutionRequest
from execution.signals.accept import AI_DECISION, MANUAL_SIGNAL
from execution.signals.envelope import WRAPPERS, MalformedEventError
from execution.signals.inbox import IntakeRules, request_of, request_of_order
from execution.signals.schemas import AiDecision, ManualOrder, RestOrder, schema_errors

ORDERS: Mapping[str | None, tuple[type[ManualOrder], Source]] = {
    None: (RestOrder, Source.REST),
    MANUAL_SIGNAL: (ManualOrder, Source.SIGNAL),
}


def unsaved_request(body: Mapping[str, object], *, rules: IntakeRules, now: datetime) -> ExecutionRequest:
    """Return the request that a body would become.

    With an `event_type` it is read as that event, else as an order over HTTP. An event may be wrapped as on the bus.

    Raises:
        MalformedEventError: it breaks a rule, or asks for no order.

    """
    event_type = body.get("event_type")
    wrapper = next((name for name in WRAPPERS if event_type and name in body), None)
    payload = body[wrapper] if wrapper else body
    try:
        if event_type == AI_DECISION:
            return _of_decision(AiDecision.model_validate(payload), rules, now)
        if event_type is None or event_type == MANUAL_SIGNAL:
            schema, source = ORDERS[event_type]
            return request_of_order(schema.model_validate(payload), source, rules, now, now)
    except ValidationError as error:
        raise MalformedEventError.by_field(schema_errors(error, RestOrder)) from None
    raise MalformedEventError.by_field([("event_type", f"must be {AI_DECISION} or {MANUAL_SIGNAL}")])


def _of_decision(decision: AiDecision, rules: IntakeRules, now: datetime) -> ExecutionRequest:
    if decision.side is None:
        raise MalformedEventError.by_field([("side", "hold is a decision not to trade")])
    return request_of(decision, rules=rules, published_at=now, now=now)
