"""What these tests share: programs to start, and waiting with a deadline."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from local_stack.lease import fingerprint

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = sys.executable
Found = TypeVar("Found")


def wait_for(check: Callable[[], Found], seconds: float = 10) -> Found:
    """Return the first true answer of `check`, or fail."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return bool(fingerprint(pid))


def descendants(pid: int) -> set[int]:
    """Return the numbers of all processes below `pid` (Linux)."""
    children = {
        int(child) for task in Path(f"/proc/{pid}/task").glob("*") for child in (task / "children").read_text().split()
    }
    return children.union(*map(descendants, children))
