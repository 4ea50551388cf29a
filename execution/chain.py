"""Sends a request on its way: which steps follow from where it stands, how urgent each is, and when it is worthless.

Tasks are named, not imported, so that whoever starts a chain needs none of what its steps need.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from celery import chain, signature
from celery.canvas import Signature
from kombu.exceptions import OperationalError as BrokerAwayError

from execution import wiring
from execution.domain.states import RequestState
from execution.stream.hand_over import BrokerSilentError, Starters

log = structlog.get_logger(__name__)
# Redis serves the lower number first: a step further on goes before a new signal, protection before everything.
PRIORITIES = {"check_ess": 6, "guard_safety": 5, "place_order": 4, "record_trade": 2, "protect_position": 0}
# A cycle that was asked for and not begun by then has been overtaken by beat's.
CYCLE_EXPIRES_SECONDS = 5
STEPS = {
    RequestState.RECEIVED: ("check_ess", "guard_safety", "place_order", "protect_position", "record_trade"),
    RequestState.CLEARED: ("guard_safety", "place_order", "protect_position", "record_trade"),
    RequestState.APPROVED: ("place_order", "protect_position", "record_trade"),
    RequestState.FILLED: ("protect_position", "record_trade"),
    RequestState.PROTECTED: ("record_trade",),
    RequestState.FLATTENED: ("record_trade",),
}
# Steps that open risk are worthless when late; those that cover and book it are never dropped.
PERISHABLE = frozenset({"check_ess", "guard_safety", "place_order"})


def start_chain(request_id: UUID) -> None:
    """Send a new request on its way."""
    resume_chain(request_id, RequestState.RECEIVED)


def resume_chain(request_id: UUID, state: RequestState) -> None:
    """Send a request on its way from where it stands."""
    chain(*(_step(name, request_id) for name in STEPS[state])).apply_async()


def cover(request_id: UUID) -> None:
    """Let a position's orders follow its plan at once; a broker that is away leaves it to the protector and monitor."""
    try:
        _step("protect_position", request_id).apply_async()
    except BrokerAwayError as error:
        log.warning("cover_not_started", request_id=str(request_id), error=str(error))


def resume_or_leave(request_id: UUID, state: RequestState) -> None:
    """Resume a request; a broker that is away must not keep the monitor from its other repairs."""
    try:
        resume_chain(request_id, state)
    except BrokerAwayError as error:
        log.warning("request_not_resumed", request_id=str(request_id), state=state, error=str(error))


def stream_starters() -> Starters:
    """Return what the user-data stream starts: the same tasks as the chain and the monitor, protection first."""
    return Starters(
        cover_and_record=lambda request_id: _handed(lambda: resume_chain(request_id, RequestState.FILLED)),
        cover=lambda request_id: _handed(_step("protect_position", request_id).apply_async),
        book_exits=lambda trade_id: _handed(
            _task("book_exits", kwargs={"trade_id": str(trade_id)}, priority=PRIORITIES["record_trade"]).apply_async
        ),
        run_cycle=lambda: _handed(_task("run_monitor_cycle", expires=CYCLE_EXPIRES_SECONDS).apply_async),
    )


def call_protector() -> None:
    """Let the protector run now.

    Raises:
        BrokerSilentError: the broker does not take it.

    """
    _handed(_task("ensure_cover", expires=CYCLE_EXPIRES_SECONDS).apply_async)


def _handed(start: Callable[[], Any]) -> None:
    try:
        start()
    except BrokerAwayError as error:
        raise BrokerSilentError(str(error)) from error


def _step(name: str, request_id: UUID) -> Signature:
    options: dict[str, Any] = {"priority": PRIORITIES[name], "queue": "orders"}
    if name in PERISHABLE:
        options["expires"] = wiring.intake_rules().signal_max_age.total_seconds()
    return _task(name, kwargs={"request_id": str(request_id)}, immutable=True, **options)


def _task(name: str, **options: Any) -> Signature:
    return signature(f"execution.tasks.{name}", **options)
