"""What these tests share: where things are, and who is alive."""

import sys
from pathlib import Path

from local_stack.lease import fingerprint

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return bool(fingerprint(pid))


def descendants(pid: int) -> set[int]:
    """Return the numbers of all processes below `pid` (Linux)."""
    children = {
        int(child) for task in Path(f"/proc/{pid}/task").glob("*") for child in (task / "children").read_text().split()
    }
    return children.union(*map(descendants, children))
