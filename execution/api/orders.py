"""An operator's order over HTTP: checked, handed to the pipeline, and followed for a moment."""

import re
import time
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid4

import structlog
from django.db import DataError
from kombu.exceptions import OperationalError
from pydantic import ValidationError as SchemaError
from rest_framework.exceptions import ValidationError

from execution import wiring
from execution.api.errors import ConflictError, by_schema_field
from execution.crash_points import CrashPoint, reached
from execution.domain.states import RequestState
from execution.domain.trading import Direction, OrderType, Source
from execution.queries.requests import Progress, progress_of
from execution.signals.inbox import accept_order
from execution.signals.schemas import RestOrder
from execution.workflow import start_chain

log = structlog.get_logger(__name__)

KEY_HEADER = "Idempotency-Key"
KEY_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
SHORTEST_WAIT, LONGEST_WAIT = 0.025, 0.1

R = RequestState
STATUSES = {
    R.ACCEPTED: "placed",
    R.FILLED: "filled",
    R.PROTECTED: "filled",
    R.FLATTENED: "filled",
    R.RECORDED: "filled",
    R.CANCELED: "canceled",
    R.DENIED: "failed",
    R.REJECTED: "failed",
    R.EXPIRED: "failed",
    R.NOT_ACCEPTED: "failed",
    R.WRITTEN_OFF: "failed",
}
PENDING = "pending"
ACCEPTED_BY_EXCHANGE = frozenset({"placed", "filled"})
# How long an answer waits for more once a request is here: a fill or its price may be milliseconds away. Any other
# state is either on its way, which is waited for to the end, or over (0).
PATIENCE_SECONDS = {R.ACCEPTED: 1.0, R.FILLED: 2.0, R.PROTECTED: 2.0, R.FLATTENED: 2.0}
RESTING_PATIENCE_SECONDS = 0.25
ON_THE_WAY = frozenset({R.RECEIVED, R.CLEARED, R.APPROVED, R.SUBMITTING})


def place_rest_order(payload: object, key: str | None, *, now: datetime, answer_seconds: float) -> Progress:
    """Store an order, start its chain, and return what has become of it within `answer_seconds`.

    Raises:
        ValidationError: the order or the key breaks a rule; nothing is stored.
        ConflictError: the key was used for a different order.

    """
    if not isinstance(payload, Mapping):
        raise ValidationError({"request": ["must be a JSON object"]})
    order = read_order(payload)
    identity = identity_of(key, order.request_id)
    try:
        intake = accept_order(
            order, source=Source.REST, identity=identity, payload=payload, rules=wiring.intake_rules(), now=now
        )
    except DataError:
        # The bounds have let something pass that the database does not take: a fault of the order all the same.
        log.exception("order_not_storable")
        raise ValidationError({"request": ["contains a value that cannot be stored"]}) from None
    if not intake.same_payload:
        used = "request_id" if key is None else KEY_HEADER
        raise ConflictError(f"{used} was used for a different order.", reason_code="IDEMPOTENCY_KEY_REUSED")
    if not intake.duplicate:
        reached(CrashPoint.ORDER_STORED)
        _start(intake.request_id)
        reached(CrashPoint.ORDER_STARTED)
    return wait_for_outcome(intake.request_id, answer_seconds)


def read_order(payload: Mapping[str, object]) -> RestOrder:
    """Return the order, checked by the rules of `signal.execute`."""
    try:
        return RestOrder.model_validate(payload)
    except SchemaError as error:
        raise ValidationError(by_schema_field(error, RestOrder)) from None


def identity_of(key: str | None, request_id: str) -> str:
    """Return the identity that is stored once only: the header's, else the order's own.

    An order without either is an order of its own at every call.
    """
    if key is None:
        return f"request:{request_id}" if request_id else str(uuid4())
    if not KEY_PATTERN.fullmatch(key):
        raise ValidationError({KEY_HEADER: ["must have 1 to 100 characters of A-Z a-z 0-9 _ . : -"]})
    return f"key:{key}"


def wait_for_outcome(request_id: UUID, seconds: float) -> Progress:
    """Poll the request's row until its state is worth an answer or the time is up."""
    deadline = time.monotonic() + seconds
    wait, state, since = SHORTEST_WAIT, "", time.monotonic()
    while True:
        progress, moment = progress_of(request_id), time.monotonic()
        if progress.request.state != state:
            state, since = progress.request.state, moment
        remaining = min(deadline, since + _patience(progress)) - moment
        if remaining <= 0:
            return progress
        time.sleep(min(wait, remaining))
        wait = min(wait * 1.5, LONGEST_WAIT)


def order_answer(progress: Progress) -> dict[str, object]:
    """Return the answer's fields. A price is the average of fills, or the limit of an order that rests."""
    request, entry, trade = progress.request, progress.entry, progress.trade
    status = STATUSES.get(RequestState(request.state), PENDING)
    accepted = status in ACCEPTED_BY_EXCHANGE
    filled = entry.executed_quantity if entry and entry.executed_quantity else None
    return {
        "success": accepted,
        "order_id": (entry.exchange_order_id if entry else "") or None,
        "trade_id": str(request.pk) if accepted else None,
        "symbol": request.symbol,
        "side": Direction(request.direction).lower(),
        "quantity": filled or request.quantity or request.base_quantity_asked,
        "price": trade.entry_price if trade else request.limit_price if status == "placed" else None,
        "status": status,
        "message": _message(progress, status),
        "timestamp": request.moved_at,
        "request_id": request.pk,
        "reason_code": request.reason_code or None,
        "client_order_id": entry.client_order_id if entry else None,
    }


def _start(request_id: UUID) -> None:
    try:
        start_chain(request_id)
    except OperationalError:
        # The order is stored: the monitor resumes it when the broker is back, or lets it expire.
        log.exception("chain not started", request_id=str(request_id))


def _patience(progress: Progress) -> float:
    state = RequestState(progress.request.state)
    if state in ON_THE_WAY:
        return float("inf")
    # A limit order usually rests; a market order is on its way to its fill.
    if state is R.ACCEPTED and progress.request.order_type == OrderType.LIMIT:
        return RESTING_PATIENCE_SECONDS
    return PATIENCE_SECONDS.get(state, 0.0)


def _message(progress: Progress, status: str) -> str | None:
    request = progress.request
    if status != PENDING:
        return request.reason or None
    look = f"see GET /api/execution/requests/{request.pk}"
    return f"{request.reason}; {look}" if request.reason else f"Not decided yet; {look}"
