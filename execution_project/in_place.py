"""Runs what follows in a chain of tasks where its predecessor has run, instead of sending it through the broker.

It is the same task under its own name and id, with Celery's signals, retries and events: Flower shows each step with
its duration. The broker is left with the message of the chain's first task, which is acknowledged when the last step
has ended. So a process that is killed in between leaves what it would leave in any case: a state that another resumes.

What follows is sent on where it would run for too long here, and where another queue has to do it.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from celery import Celery, Task
from celery.app.trace import TraceInfo
from celery.canvas import Signature
from celery.exceptions import Retry
from celery.utils.saferepr import saferepr
from kombu.exceptions import OperationalError as BrokerAwayError
from kombu.utils.uuid import uuid

log = structlog.get_logger(__name__)
# Of a task's time limit, which holds for all steps together: after that the next one is sent on.
LONGEST_SHARE = 1 / 3


class _Here(threading.local):
    """What this thread is about to run: the rest of a chain, last step first, as Celery keeps it."""

    rest: "list[dict[str, Any]] | None" = None
    runs = False


_here = _Here()


class StepTask(Task):  # type: ignore[misc]
    """A task whose chain goes on in its process, once it has called `go_on_here`."""

    abstract = True

    def on_success(self, retval: object, task_id: str, args: Sequence[object], kwargs: Mapping[str, object]) -> None:  # noqa: ARG002 -- Celery's signature
        """Run the rest of the chain: by now this step has ended, and its duration is measured."""
        if _here.rest and not _here.runs:
            _run_rest(self)


def go_on_here(task: Task) -> None:
    """Take the rest of a task's chain out of the broker's hands; it runs when the task has succeeded."""
    request = task.request
    if request.chain and not request.called_directly and not request.is_eager:
        _here.rest, request.chain = request.chain, None


def _run_rest(first: Task) -> None:
    parent, until = first.request, time.monotonic() + LONGEST_SHARE * first.app.conf.task_time_limit
    events: list[dict[str, Any]] = []
    _here.runs = True
    try:
        parent_id = parent.id
        while rest := _here.rest:
            _here.rest = None
            following, left = Signature.from_dict(dict(rest[-1]), app=first.app), rest[:-1]
            if time.monotonic() > until or not _is_ours(following, parent):
                following.apply_async(chain=left or None, parent_id=parent_id, root_id=parent.root_id)
                return
            parent_id = _run_step(following, left, parent_id, parent, events)
    finally:
        _here.rest, _here.runs = None, False
        _send(first.app, parent.hostname, events)


def _is_ours(following: Signature, parent: Any) -> bool:
    queue = following.options.get("queue")
    return queue is None or queue == (parent.delivery_info or {}).get("routing_key")


def _run_step(
    following: Signature, left: list[dict[str, Any]], parent_id: str, parent: Any, events: list[dict[str, Any]]
) -> str:
    """Run one task as a worker does; what it raises is logged, counted and retried by Celery's own tracer."""
    task, step_id = following.type, following.options.get("task_id") or uuid()
    kwargs = dict(following.kwargs)
    request = {
        "id": step_id,
        "task": task.name,
        "args": (),
        "kwargs": kwargs,
        "root_id": parent.root_id,
        "parent_id": parent_id,
        "chain": left or None,
        "delivery_info": dict(parent.delivery_info or {}),
        "hostname": parent.hostname,
        "ignore_result": True,
        "retries": 0,
        "headers": {},
    }
    names = {"uuid": step_id, "name": task.name, "root_id": parent.root_id, "parent_id": parent_id}
    received = {"args": "()", "kwargs": saferepr(kwargs), "retries": 0, "eta": None, "expires": None}
    events.append({"type": "task-received", "timestamp": time.time(), **names, **received})
    events.append({"type": "task-started", "timestamp": time.time(), "uuid": step_id})
    ended: TraceInfo = task.__trace__(step_id, (), kwargs, request)
    events.append({"uuid": step_id, "timestamp": time.time(), **_outcome(ended)})
    return str(step_id)


def _outcome(ended: Any) -> dict[str, Any]:
    if ended.info is None:
        return {"type": "task-succeeded", "result": ended.retstr, "runtime": ended.runtime}
    error = getattr(ended.info.retval, "exc", None) or ended.info.retval
    kind = "task-retried" if isinstance(ended.info.retval, Retry) else "task-failed"
    return {"type": kind, "exception": repr(error), "traceback": ""}


def _send(app: Celery, hostname: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Publish them in one message; monitoring only, so a broker that is away loses them."""
    if not events or not app.conf.worker_send_task_events:
        return
    try:
        with app.events.default_dispatcher(hostname=hostname) as dispatcher:
            dispatcher.buffer_group = frozenset({"task"})
            for event in events:
                dispatcher.send(event["type"], **{name: value for name, value in event.items() if name != "type"})
            dispatcher.flush()
    except BrokerAwayError as error:
        log.info("step_events_not_sent", error=str(error))
