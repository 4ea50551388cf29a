"""The way of a signal, and the page to read first: a thin task for each step, then periodic duties.

accept_event (bridge or REST) -> check_ess -> guard_safety -> place_order -> protect_position -> record_trade ->
send_events. Only the request's id crosses the broker. Each task is safe to run twice: its step moves the request from
the state it expects, or does nothing. The chain is the fast path; the request's state is the truth, and the monitor
resumes a request that stands still. `execution/workflow.py` starts the chain.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypedDict
from uuid import UUID

import structlog
from celery import Task, shared_task
from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerAwayError

from execution import wiring
from execution.domain.ports import ExchangeUnavailableError
from execution.operations import retention
from execution.operations.single_flight import Duty, single_flight
from execution.outbox import relay
from execution.pipeline import check_ess as check_ess_step
from execution.pipeline import guard_safety as guard_safety_step
from execution.pipeline import place_order as place_order_step
from execution.pipeline import protect_position as protect_position_step
from execution.pipeline import record_trade as record_trade_step
from execution.reconciliation import enforce_ess_trip, enforce_kill_switch, stop_watchdog
from execution.reconciliation.cycle import run_cycle, swept_by_beat
from execution.reconciliation.repair import Tools, book_reported_exits
from execution.reconciliation.unfinished_entries import unbooked
from execution.risk import ess, policy_store
from execution.signals import consumer, policy_updates
from execution.store import journal_seal
from execution.store.heartbeats import WHOLE_READING_WANTED, beat, queue_part
from execution.store.inbox import pending_events
from execution.trades import equity, shortfalls
from execution.trades.charts import keep_next_chart
from execution.workflow import PRIORITIES, resume_or_leave, start_chain
from execution_project.celery import drop_broken_connections
from execution_project.in_place import StepTask, go_on_here

log = structlog.get_logger(__name__)
# Short enough that a stopping worker is soon done, long enough that starting anew costs nothing.
SLICE = timedelta(seconds=2)
# An announced policy value is applied within moments, unless its task was lost.
POLICY_PATIENCE = timedelta(seconds=15)
# Beat sends it every two seconds.
PROTECTOR_PATIENCE = timedelta(seconds=3)
# A run that follows sooner would find the clock where it was.
LEAST_COUNTDOWN = 0.05
# Well below the time limit of a task.
TIDYING = timedelta(seconds=20)
KEEPING = timedelta(seconds=5)
# How long to wait, attempt by attempt, until the list of fills shows a fill that the stream has reported.
FILLS_LAG_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0)


class RetryOptions(TypedDict):
    """Celery's options for the retries of a task, with times in seconds."""

    autoretry_for: tuple[type[Exception], ...]
    retry_backoff: float
    retry_backoff_max: float
    max_retries: int


# A database that restarts is back in moments; the wait stays far below the visibility timeout.
ON_LOST_DATABASE: RetryOptions = {
    "autoretry_for": (OperationalError, InterfaceError),
    "retry_backoff": 0.2,
    "retry_backoff_max": 5,
    "max_retries": 8,
}


@shared_task(base=StepTask, bind=True, **ON_LOST_DATABASE)
def check_ess(self: Task, request_id: str, **_: object) -> None:
    """Check the emergency stop."""
    _run(
        self,
        lambda: check_ess_step.check_ess(
            UUID(request_id), risk_safety=wiring.risk_safety(), rules=wiring.ess_rules(), clock=wiring.clock
        ),
    )


@shared_task(base=StepTask, bind=True, **ON_LOST_DATABASE)
def guard_safety(self: Task, request_id: str, **_: object) -> None:
    """Judge the entry and reserve the symbol."""
    _run(
        self,
        lambda: guard_safety_step.guard_safety(
            UUID(request_id),
            exchange=wiring.exchange(),
            stack=wiring.stack(),
            memory=wiring.memory(),
            clock=wiring.clock,
            lists=wiring.symbol_lists(),
        ),
    )


@shared_task(base=StepTask, bind=True, **ON_LOST_DATABASE)
def place_order(self: Task, request_id: str, **_: object) -> None:
    """Send the entry."""
    _run(
        self,
        lambda: place_order_step.place_order(
            UUID(request_id),
            exchange=wiring.exchange(),
            stack=wiring.stack(),
            recv_window_ms=wiring.protection_rules().recv_window_ms,
            clock=wiring.clock,
        ),
    )


@shared_task(base=StepTask, bind=True, **ON_LOST_DATABASE)
def protect_position(self: Task, request_id: str, **_: object) -> None:
    """Put stop and target at the exchange."""
    _run(
        self,
        lambda: protect_position_step.protect_position(
            UUID(request_id),
            exchange=wiring.exchange(),
            rules=wiring.protection_rules(),
            clock=wiring.clock,
            spare=wiring.pooled_exchange,
        ),
    )


@shared_task(base=StepTask, bind=True, **ON_LOST_DATABASE)
def record_trade(self: Task, request_id: str, **_: object) -> None:
    """Book the fills, open the trade, and let default exits follow the price of the fill."""
    _run(
        self,
        lambda: record_trade_step.record_trade(
            UUID(request_id), exchange=wiring.exchange(), rules=wiring.protection_rules(), clock=wiring.clock
        ),
    )


@shared_task
def read_events(**_: object) -> None:
    """Read the event bus for a few seconds, then send this task again.

    Beat sends it anew should the message be lost.
    """
    with single_flight(Duty.READ_EVENTS) as held:
        if not held:
            return
        starters = consumer.EventStarters(
            start_chain=start_chain, apply_policy=apply_policy.delay, work_off_trip=work_off_trip.delay
        )
        consumer.read_slice(wiring.event_bus(), starters, rules=wiring.intake_rules(), length=SLICE, clock=wiring.clock)
    read_events.delay()


@shared_task
def send_events(**_: object) -> None:
    """Relay the outbox for a few seconds, as `read_events` reads."""
    with single_flight(Duty.SEND_EVENTS) as held:
        if not held:
            return
        relay.relay_slice(wiring.event_bus(), wiring.trade_mirror(), length=SLICE, clock=wiring.clock)
    send_events.delay()


@shared_task(**ON_LOST_DATABASE)
def apply_policy(inbox_id: int, **_: object) -> None:
    """Fetch and apply an announced policy value."""
    policy_updates.apply_policy(inbox_id, risk_safety=wiring.risk_safety(), now=wiring.clock())


@shared_task(**ON_LOST_DATABASE)
def work_off_kill_switch(**_: object) -> None:
    """Cancel resting entries and close positions as the kill switch demands. The monitor repeats it."""
    _work_off_kill_switch()


@shared_task(**ON_LOST_DATABASE)
def work_off_trip(**_: object) -> None:
    """Cancel resting entries or close positions after a trip, by ESS_TRIP_ACTION. The monitor repeats it."""
    _work_off_trip()


@shared_task
def prove_queue(queue: str, **_: object) -> None:
    """Write that a worker of this queue finishes its tasks.

    Beat sends one to each queue, and health reads what they write.
    """
    beat(queue_part(queue), now=wiring.clock(), details={})


@shared_task
def tidy_up(**_: object) -> None:
    """Delete old rows for a while. The next run continues where this one ends."""
    with single_flight(Duty.TIDY_UP) as held:
        if held:
            wiring.event_bus().tidy()
            retention.apply_retention(wiring.retention_rules(), clock=wiring.clock, length=TIDYING)
            journal_seal.report_head()


@shared_task
def keep_figures(**_: object) -> None:
    """Keep what reports are made of: the equity history, and the shortfalls of closed trades."""
    with single_flight(Duty.KEEP_FIGURES) as held:
        if held:
            shortfalls.keep_shortfalls(length=KEEPING)
            equity.keep_equity(wiring.exchange(), clock=wiring.clock, length=KEEPING)


@shared_task(**ON_LOST_DATABASE)
def seal_journal(**_: object) -> None:
    """Continue the journal's hash chain over the lines that are final. Of two at once, one does the work."""
    journal_seal.keep_sealed(wiring.clock())


@shared_task
def run_monitor_cycle(*, by_beat: bool = False, **_: object) -> None:
    """Compare with the exchange and repair. While a cycle runs, the next ones are skipped.

    `by_beat`: sent by the scheduler. A second scheduler beside the first must not double the sweeps.
    """
    with single_flight(Duty.WATCH_POSITIONS) as held:
        if not held and not by_beat:
            # The cycle that runs may have read already what this one was asked for.
            beat(WHOLE_READING_WANTED, now=wiring.clock(), details={})
        if held and not (by_beat and swept_by_beat(wiring.clock(), within=wiring.shortest_sweep_period())):
            # The emergency stop is checked between orders too, so that health and admin show its state now.
            ess.decide(wiring.risk_safety(), wiring.ess_rules(), wiring.clock)
            run_cycle(_tools(), wiring.trade_mirror(), patience=wiring.patience(), by_beat=by_beat)
            _work_off_kill_switch()
            _work_off_trip()
            _apply_late_policies()
            # Last: a slow neighbour must not delay what protects positions.
            policy_store.refresh_policy(
                risk_safety=wiring.risk_safety(), now=wiring.clock(), older_than=wiring.policy_max_age()
            )
            # One a cycle: pictures must not use up the limit of requests. Silent for now: the next cycle tries again.
            with suppress(ExchangeUnavailableError):
                keep_next_chart(wiring.exchange(), now=wiring.clock())


@shared_task
def ensure_cover(**_: object) -> None:
    """Place missing stops, in a worker of its own that neither orders nor monitor can block.

    Then resume the requests that their worker has left between fill and books.
    """
    guarded = _cover()
    if guarded is None:
        return
    for request_id, state in unbooked(wiring.clock(), guarded.left_behind):
        if not resume_or_leave(request_id, state):
            break
    if (look_again_in := guarded.look_again_in) is not None:
        # A bound does not wait for the next beat.
        with suppress(BrokerAwayError):
            ensure_cover.apply_async(countdown=max(LEAST_COUNTDOWN, look_again_in.total_seconds()))


def cover_without_broker(at_start: bool) -> bool:  # noqa: FBT001 -- the only argument of a callback
    """Do the work of `ensure_cover` when it was not done lately, as when the broker is down.

    At the start of the process it is done in any case: the processes that did it last may have been killed with it.
    The protector's own clock (execution_project/own_clock.py) calls it every second. A reached software stop is closed
    here in any case: it waits neither for the broker nor for a run that waits for the exchange.

    Returns:
        True when the work was done after the start.

    """
    drop_broken_connections()
    _close_reached()
    if not at_start and stop_watchdog.ran_lately(wiring.clock(), within=PROTECTOR_PATIENCE):
        return False
    _cover()
    return not at_start


def _close_reached() -> None:
    with single_flight(Duty.CLOSE_REACHED) as held:
        if held:
            stop_watchdog.close_reached(_tools)


def _cover() -> stop_watchdog.Guarded | None:
    """Run the protector once and return what it did, or None when it runs already."""
    _close_reached()
    with single_flight(Duty.ENSURE_COVER) as held:
        if not held:
            return None
        return stop_watchdog.ensure_cover(
            _tools(), patience=wiring.patience(), monitor_silent_after=wiring.monitor_silent_after()
        )


@shared_task(**ON_LOST_DATABASE)
def book_exits(trade_id: str, attempt: int = 1, **_: object) -> None:
    """Book an exit that the user-data stream has reported, and protect what is left of the position."""
    try:
        booked = book_reported_exits(UUID(trade_id), _tools())
    except ExchangeUnavailableError:
        # The monitor books it when the exchange answers again.
        return
    # The list of fills lags behind the stream.
    if not booked and attempt < len(FILLS_LAG_SECONDS):
        book_exits.apply_async(
            kwargs={"trade_id": trade_id, "attempt": attempt + 1},
            countdown=FILLS_LAG_SECONDS[attempt],
            priority=PRIORITIES["record_trade"],
        )


def _tools() -> Tools:
    return Tools(
        exchange=wiring.exchange(),
        protection=wiring.protection_rules(),
        stack=wiring.stack(),
        memory=wiring.memory(),
        clock=wiring.clock,
        resume=resume_or_leave,
        spare=wiring.pooled_exchange,
        external=wiring.external_positions(),
    )


def _apply_late_policies() -> None:
    """Start the task again for announced policy values that were never applied.

    While the broker does not answer, the next cycle does.
    """
    for inbox_id in pending_events(before=wiring.clock() - POLICY_PATIENCE):
        try:
            apply_policy.delay(inbox_id)
        except BrokerAwayError:
            log.exception("policy_not_sent_on", inbox_id=inbox_id)
            return


def _work_off_kill_switch() -> None:
    # Silent for now: the next cycle tries again.
    with suppress(ExchangeUnavailableError):
        enforce_kill_switch.work_off_kill_switch(
            exchange=wiring.exchange(),
            rules=wiring.protection_rules(),
            clock=wiring.clock,
            spare=wiring.pooled_exchange,
        )


def _work_off_trip() -> None:
    with suppress(ExchangeUnavailableError):
        enforce_ess_trip.work_off_trip(
            wiring.trip_action(),
            exchange=wiring.exchange(),
            rules=wiring.protection_rules(),
            clock=wiring.clock,
            spare=wiring.pooled_exchange,
        )


def _run(task: Task, step: Callable[[], bool]) -> None:
    """Run a step. The chain ends here when nothing follows, or while the exchange does not answer."""
    try:
        goes_on = step()
    except ExchangeUnavailableError:
        goes_on = False
    if not goes_on:
        task.request.chain = None
    elif wiring.chain_in_place():
        go_on_here(task)
