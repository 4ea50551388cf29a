"""Sends a request on its way: which steps follow from where it stands, how urgent each is, and when it is worthless.

Tasks are named, not imported, so that whoever starts a chain needs none of what its steps need.
"""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from celery import chain, signature
from celery.canvas import Signature
from kombu.exceptions import OperationalError as BrokerAwayError

from execution import wiring
from execution.domain.states import RequestState
from execution.user_stream.dispatch import BrokerSilentError, Starters

log = structlog.get_logger(__name__)
# Redis serves the lower number first: a step further on goes before a new signal, protection before everything.
PRIORITIES = {"check_ess": 6, "guard_safety": 5, "place_order": 4, "record_trade": 2, "protect_position": 0}
# A cycle that was asked for and not begun by then has been overtaken by beat's.
CYCLE_EXPIRES_SECONDS = 5
FIRST_SILENT_PAUSE_SECONDS, LONGEST_SILENT_PAUSE_SECONDS = 0.5, 8.0
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


def resume_or_leave(request_id: UUID, state: RequestState) -> bool:
    """Resume a request, and return whether the broker took it: one that is away must not keep others from repairs."""
    try:
        resume_chain(request_id, state)
    except BrokerAwayError as error:
        log.warning("request_not_resumed", request_id=str(request_id), state=state, error=str(error))
        return False
    return True


def stream_starters() -> Starters:
    """Return what the user-data stream starts: the same tasks as the chain and the monitor, protection first."""
    line = BrokerLine()
    return Starters(
        cover_and_record=lambda request_id: line.hand(lambda: resume_chain(request_id, RequestState.FILLED)),
        cover=lambda request_id: line.hand(_step("protect_position", request_id).apply_async),
        book_exits=lambda trade_id: line.hand(
            _task("book_exits", kwargs={"trade_id": str(trade_id)}, priority=PRIORITIES["record_trade"]).apply_async
        ),
        run_cycle=lambda: line.hand(_task("run_monitor_cycle", expires=CYCLE_EXPIRES_SECONDS).apply_async),
    )


def protector_caller() -> Callable[[], None]:
    """Return what lets the protector run now, for one thread.

    Raises:
        BrokerSilentError: when called, the broker does not take it.

    """
    line = BrokerLine()
    return lambda: line.hand(_task("ensure_cover", expires=CYCLE_EXPIRES_SECONDS).apply_async)


class BrokerLine:
    """Hands tasks to the broker; one that takes none is left alone for ever longer: each try may take its time-out.

    For one thread, which has more to do than to wait.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._pause, self._again_at = FIRST_SILENT_PAUSE_SECONDS, 0.0

    def hand(self, start: Callable[[], Any]) -> None:
        """Start a task.

        Raises:
            BrokerSilentError: the broker does not take it, or has not taken the last one a moment ago.

        """
        if self._monotonic() < self._again_at:
            raise BrokerSilentError("the broker has just been found silent")
        try:
            start()
        except BrokerAwayError as error:
            # From the end of the try on.
            self._again_at = self._monotonic() + self._pause
            self._pause = min(LONGEST_SILENT_PAUSE_SECONDS, 2 * self._pause)
            raise BrokerSilentError(str(error)) from error
        self._pause = FIRST_SILENT_PAUSE_SECONDS


def _step(name: str, request_id: UUID) -> Signature:
    options: dict[str, Any] = {"priority": PRIORITIES[name], "queue": "orders"}
    if name in PERISHABLE:
        options["expires"] = wiring.intake_rules().signal_max_age.total_seconds()
    return _task(name, kwargs={"request_id": str(request_id)}, immutable=True, **options)


def _task(name: str, **options: Any) -> Signature:
    return signature(f"execution.tasks.{name}", **options)
