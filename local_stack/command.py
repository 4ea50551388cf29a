"""What `make run` and `make demo` share as commands: settings, signals, and one clear sentence for each failure."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from execution_project.env import describe_refusal
from execution_project.secret_files import SecretFileError
from local_stack.console import Console
from local_stack.lease import InUseError
from local_stack.server import StartError
from local_stack.settings import Settings
from local_stack.stack import remove_state
from local_stack.supervisor import StackError
from local_stack.tether import die_with_parent

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Command = Callable[[Settings, Console], Coroutine[None, None, int]]


def execute(command: Command, console: Console, *, exit_code_when_stopped: int) -> int:
    """Run a command to its end or to Ctrl-C, SIGTERM or SIGHUP, and return its exit code."""
    _end_with_make()
    try:
        return asyncio.run(_stoppable(command(Settings.read(), console)))
    except asyncio.CancelledError:
        return exit_code_when_stopped
    except (ValidationError, SecretFileError) as error:
        return _fail("The settings do not fit together:\n  " + "\n  ".join(describe_refusal(error)))
    except InUseError:
        return _fail("The stack is running already. Stop it with Ctrl-C there, or start a second one with PORT=0.")
    except (StackError, StartError) as error:
        return _fail(str(error))


def _fail(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - a command speaks to its user
    return 1


def _end_with_make() -> None:
    """Stop when the `make` above us is killed, as a script with a time limit does: it would not reach us."""
    if "MAKELEVEL" in os.environ:
        die_with_parent(os.getppid(), signal.SIGTERM)


async def _stoppable(work: Coroutine[None, None, int]) -> int:
    """Turn the first stop signal into a cancellation; later ones change nothing, so that the clean stop completes."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def stop(number: int) -> None:
        if not asked:
            task.cancel()
        asked.append(number)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop, number)
    return await task


@contextmanager
def temporary_state(name: str, console: Console) -> Iterator[Path]:
    """Give a stack a folder of its own, deleted at the end, or kept and named when it failed."""
    state = Path(tempfile.mkdtemp(prefix=f"execution-{name}-"))
    try:
        yield state
    except (StackError, StartError):
        console.line(f"Kept for a look: {state}")
        raise
    except BaseException:
        _forget(state, console)
        raise
    _forget(state, console)


def _forget(state: Path, console: Console) -> None:
    console.progress(f"Deleting {state} ...")
    remove_state(state)
    console.end_progress()
