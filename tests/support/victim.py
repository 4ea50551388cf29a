"""A process of the service that a test may kill: `python -m tests.support.victim WORK [ARGUMENT]`.

It does one piece of the service's work through the real wiring, with the settings of its environment. It says `ready`
when it begins, so that its start does not count, and `done` when it has ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from local_stack.server import tethered

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0


class Victim:
    """The process as its test sees it."""

    def __init__(self, env: Mapping[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            tethered([sys.executable, "-m", "tests.support.victim", *arguments]),
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self.hear("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._process.stdout:
            self._process.stdout.close()

    def hear(self, word: str) -> None:
        """Wait until the process says a word; its end without it is an error."""
        while self._process.stdout and (line := self._process.stdout.readline()):
            if line.strip() == word:
                return
        raise AssertionError(f"the process ended without saying {word!r}")

    @property
    def ended_by(self) -> int | None:
        """The number of the signal that ended it, 0 for an end of its own, None while it runs."""
        code = self._process.poll()
        return None if code is None else max(0, -code)

    @property
    def stopped(self) -> bool:
        """Whether it stands still, as after SIGSTOP."""
        status = Path(f"/proc/{self._process.pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    def go_on(self) -> None:
        """Wake it up."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as `kill -9` does, without any chance to clean up."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_SECONDS)


def say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 -- the test listens


def begin() -> None:
    """Begin as after the first cycle. What never changes is read before the start counts."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.risk.entry_gate import renew_lease  # noqa: PLC0415

    wiring.exchange().rules("BTCUSDT")
    renew_lease(wiring.stack(), reconciled_at=wiring.clock(), now=wiring.clock())
    wiring.memory().mark_intact()
    say("ready")


def run_step(name: str, request_id: str) -> None:
    """Run one step of the chain as its task does."""
    begin()
    run_task(name, request_id)


def run_chain(request_id: str) -> None:
    """Send a chain to the broker, run its message as a worker does, and say how many messages that took in all."""
    from celery.app.trace import build_tracer  # noqa: PLC0415
    from celery.signals import before_task_publish  # noqa: PLC0415

    from execution import tasks, workflow  # noqa: PLC0415 -- Django must be set up first

    sent: list[tuple[dict[str, Any], Any]] = []

    def note(body: Any, headers: dict[str, Any], **_: object) -> None:
        sent.append((headers, body))

    before_task_publish.connect(note, weak=False)
    app = tasks.check_ess.app
    for step in workflow.PRIORITIES:
        task = app.tasks[f"execution.tasks.{step}"]
        task.__trace__ = build_tracer(task.name, task, app=app)
    begin()
    workflow.start_chain(UUID(request_id))
    headers, (arguments, options, following) = sent[0]
    request = {**headers, "chain": following["chain"], "hostname": "victim", "delivery_info": {"routing_key": "orders"}}
    app.tasks[headers["task"]].__trace__(headers["id"], arguments, options, request)
    say(f"messages {len(sent)}")


def run_task(name: str, request_id: str) -> None:
    from execution import tasks  # noqa: PLC0415 -- Django must be set up first

    getattr(tasks, name).apply(kwargs={"request_id": request_id}, throw=True)


def read_bus() -> None:
    """Read the bus, and die between the commit of an entry and its acknowledgement."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.signals.consumer import EventStarters, read_slice  # noqa: PLC0415

    def never_returns(_argument: Any) -> None:
        say("committed")
        time.sleep(START_SECONDS)

    def starters(_request_id: UUID) -> None:
        never_returns(_request_id)

    say("ready")
    read_slice(
        wiring.event_bus(),
        EventStarters(start_chain=starters, apply_policy=never_returns, work_off_trip=lambda: None),
        rules=wiring.intake_rules(),
        length=timedelta(seconds=START_SECONDS),
        clock=wiring.clock,
    )


def relay() -> None:
    """Send one batch of the outbox."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.outbox.relay import send_batch  # noqa: PLC0415

    say("ready")
    send_batch(wiring.event_bus(), wiring.trade_mirror(), clock=wiring.clock)


def live() -> None:
    """Be a whole service in one process: bridge, chain, relay and monitor in turns, until somebody ends it."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.domain.states import RequestState  # noqa: PLC0415
    from execution.models import ExecutionRequest  # noqa: PLC0415
    from execution.outbox.relay import send_batch  # noqa: PLC0415
    from execution.reconciliation.cycle import run_cycle  # noqa: PLC0415
    from execution.reconciliation.repair import Tools  # noqa: PLC0415
    from execution.signals.consumer import EventStarters, read_slice  # noqa: PLC0415
    from execution.workflow import STEPS  # noqa: PLC0415

    def run_chain(request_id: UUID, _state: RequestState = RequestState.RECEIVED) -> None:
        state = RequestState(ExecutionRequest.objects.get(pk=request_id).state)
        for name in STEPS.get(state, ()):
            run_task(name, str(request_id))

    def policy_is_not_asked_for(_inbox_id: int) -> None:
        raise AssertionError("no policy event was sent")

    starters = EventStarters(start_chain=run_chain, apply_policy=policy_is_not_asked_for, work_off_trip=lambda: None)
    rules = wiring.protection_rules()
    tools = Tools(
        exchange=wiring.exchange(),
        protection=rules,
        stack=wiring.stack(),
        memory=wiring.memory(),
        clock=wiring.clock,
        resume=run_chain,
    )
    wiring.exchange().rules("BTCUSDT")
    say("ready")
    while True:
        run_cycle(tools, wiring.trade_mirror(), patience=wiring.patience())
        slice_length = timedelta(seconds=0.1)
        read_slice(wiring.event_bus(), starters, rules=wiring.intake_rules(), length=slice_length, clock=wiring.clock)
        send_batch(wiring.event_bus(), wiring.trade_mirror(), clock=wiring.clock)


def order() -> None:
    """Take a person's order over HTTP's own function, without its answer."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.api.orders import place_rest_order  # noqa: PLC0415

    say("ready")
    payload = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.010", "leverage": 5}
    place_rest_order(payload, "key-of-this-order", now=wiring.clock(), answer_seconds=0)


def main(work: str, *arguments: str) -> None:
    import django  # noqa: PLC0415 -- the class above is imported by tests, which have it set up

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
    django.setup()
    works: dict[str, Callable[..., None]] = {
        "step": run_step,
        "chain": run_chain,
        "read_bus": read_bus,
        "relay": relay,
        "live": live,
        "order": order,
    }
    works[work](*arguments)
    say("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
