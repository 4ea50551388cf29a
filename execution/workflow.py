"""Starts tasks: the steps that follow a request's state, with priority and expiry, and what else is asked for.

Tasks are named, not imported, so that a process that starts a chain needs none of the imports of its steps.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict, Unpack
from uuid import UUID

import structlog
from celery import chain, signature
from celery.canvas import Signature
from kombu.exceptions import OperationalError as BrokerAwayError

from execution import wiring
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.domain.states import RequestState
from execution.queries.kill_switch import RELEASED
from execution.risk import kill_switch
from execution.signals.accept import AcceptedEvent
from execution.user_stream.dispatch import BrokerSilentError, Starters

log = structlog.get_logger(__name__)
# Redis serves the lower number first: a step further on goes before a new signal, protection before everything.
PRIORITIES = {"check_ess": 6, "guard_safety": 5, "place_order": 4, "record_trade": 2, "protect_position": 0}
# A requested cycle that has not begun by then has been overtaken by the scheduled one.
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
# Steps that open risk are worthless when late; steps that protect and book it are never dropped.
PERISHABLE = frozenset({"check_ess", "guard_safety", "place_order"})


def start_chain(request_id: UUID) -> None:
    """Start all steps of a new request."""
    resume_chain(request_id, RequestState.RECEIVED)


def resume_chain(request_id: UUID, state: RequestState) -> None:
    """Start the steps that follow a request's state."""
    chain(*(_step(name, request_id) for name in STEPS[state])).apply_async()


def start_accepted(accepted: AcceptedEvent) -> bool:
    """Start the tasks of an accepted event.

    Returns:
        False while the broker does not answer; the monitor starts them then.

    """
    try:
        if accepted.request_id:
            start_chain(accepted.request_id)
        if accepted.policy_inbox_id:
            _task("apply_policy", kwargs={"inbox_id": accepted.policy_inbox_id}).apply_async()
        if accepted.tripped:
            _task("work_off_trip").apply_async()
    except BrokerAwayError:
        log.exception("accepted_event_not_started", request_id=str(accepted.request_id))
        return False
    return True


def apply_kill_switch(level: str, authorization: Authorization, *, now: datetime) -> None:
    """Move the kill switch and start its enforcement.

    Raises:
        KillSwitchError: it cannot be moved so; nothing was changed.

    """
    kill_switch.set_kill_switch(None if level == RELEASED else KillLevel(level), authorization, now=now)
    if level != RELEASED:
        try:
            _task("work_off_kill_switch").apply_async()
        except BrokerAwayError:
            # The row blocks already; the next monitor cycle enforces the rest.
            log.exception("kill_switch_work_not_started")


def cover(request_id: UUID) -> None:
    """Let a position's orders follow its plan at once.

    While the broker does not answer, protector and monitor do it later.
    """
    try:
        _step("protect_position", request_id).apply_async()
    except BrokerAwayError as error:
        log.warning("cover_not_started", request_id=str(request_id), error=str(error))


def resume_or_leave(request_id: UUID, state: RequestState) -> bool:
    """Resume a request, and return whether the broker took it.

    The broker's outage must not keep the monitor from its repairs.
    """
    try:
        resume_chain(request_id, state)
    except BrokerAwayError as error:
        log.warning("request_not_resumed", request_id=str(request_id), state=state, error=str(error))
        return False
    return True


def stream_starters() -> Starters:
    """Return the callbacks by which the user-data stream starts tasks of chain and monitor.

    Protection goes first.
    """
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
    """Return a function that makes the protector run now, for one thread.

    The function raises BrokerSilentError when the broker does not take the task.

    """
    line = BrokerLine()
    return lambda: line.hand(_task("ensure_cover", expires=CYCLE_EXPIRES_SECONDS).apply_async)


class BrokerLine:
    """Hands tasks to the broker, and pauses ever longer while the broker takes none.

    Each try may last the broker's whole time-out. For one thread, which has more to do than to wait.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._pause, self._again_at = FIRST_SILENT_PAUSE_SECONDS, 0.0

    def hand(self, start: Callable[[], object]) -> None:
        """Start a task.

        Raises:
            BrokerSilentError: the broker does not take it, or has just not taken the last one.

        """
        if self._monotonic() < self._again_at:
            raise BrokerSilentError("the broker has just been found silent")
        try:
            start()
        except BrokerAwayError as error:
            # The pause begins with the end of the try.
            self._again_at = self._monotonic() + self._pause
            self._pause = min(LONGEST_SILENT_PAUSE_SECONDS, 2 * self._pause)
            raise BrokerSilentError(str(error)) from error
        self._pause = FIRST_SILENT_PAUSE_SECONDS


class _Options(TypedDict, total=False):
    """Options of a Celery signature."""

    kwargs: dict[str, object]
    priority: int
    queue: str
    expires: float
    immutable: bool


def _step(name: str, request_id: UUID) -> Signature:
    options: _Options = {
        "kwargs": {"request_id": str(request_id)},
        "immutable": True,
        "priority": PRIORITIES[name],
        "queue": "orders",
    }
    if name in PERISHABLE:
        options["expires"] = wiring.intake_rules().signal_max_age.total_seconds()
    return _task(name, **options)


def _task(name: str, **options: Unpack[_Options]) -> Signature:
    return signature(f"execution.tasks.{name}", **options)
