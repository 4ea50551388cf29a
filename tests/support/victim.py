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

    def kill(self) -> None:
        """End it as `kill -9` does, without any chance to clean up."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_SECONDS)


def say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 -- the test listens


def run_step(name: str, request_id: str) -> None:
    """Run one step of the chain as its task does."""
    from execution import tasks, wiring  # noqa: PLC0415 -- Django must be set up first

    # Read what never changes before the start counts.
    wiring.exchange().rules("BTCUSDT")
    say("ready")
    getattr(tasks, name).apply(kwargs={"request_id": request_id}, throw=True)


def read_bus() -> None:
    """Read the bus, and die between the commit of an entry and its acknowledgement."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.pipeline.read_events import Starters, read_slice  # noqa: PLC0415

    def never_returns(_argument: Any) -> None:
        say("committed")
        time.sleep(START_SECONDS)

    def starters(_request_id: UUID) -> None:
        never_returns(_request_id)

    say("ready")
    read_slice(
        wiring.event_bus(),
        Starters(start_chain=starters, apply_policy=never_returns),
        rules=wiring.intake_rules(),
        length=timedelta(seconds=START_SECONDS),
        clock=wiring.clock,
    )


def relay() -> None:
    """Send one batch of the outbox."""
    from execution import wiring  # noqa: PLC0415 -- Django must be set up first
    from execution.pipeline.send_events import send_batch  # noqa: PLC0415

    say("ready")
    send_batch(wiring.event_bus(), wiring.trade_mirror(), clock=wiring.clock)


def main(work: str, *arguments: str) -> None:
    import django  # noqa: PLC0415 -- the class above is imported by tests, which have it set up

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
    django.setup()
    works: dict[str, Callable[..., None]] = {"step": run_step, "read_bus": read_bus, "relay": relay}
    works[work](*arguments)
    say("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
