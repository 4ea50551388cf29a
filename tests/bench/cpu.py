"""Processor time by program: the one figure that a busy machine does not blur. Linux only; empty elsewhere."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
# Fields of /proc/PID/stat after the name: parent, then user and system time of the process and its ended children.
PARENT, TIMES = 1, slice(11, 15)


def seconds_by_program(roots: Mapping[str, int]) -> dict[str, float]:
    """Return the processor seconds that each program, given by the pid of its first process, has used so far."""
    if not PROC.is_dir():
        return {}
    own, children = _read_processes()
    return {name: _with_descendants(pid, own, children) for name, pid in roots.items()}


def waited_seconds(pid: int) -> float:
    """Return how long a process was ready to run and had no processor: what others on the machine took from it."""
    try:
        return int((PROC / str(pid) / "schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _read_processes() -> tuple[dict[int, float], dict[int, list[int]]]:
    tick = os.sysconf("SC_CLK_TCK")
    own: dict[int, float] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It ended between the listing and the look.
            continue
        own[int(entry.name)] = sum(map(int, fields[TIMES])) / tick
        children[int(fields[PARENT])].append(int(entry.name))
    return own, children


def _with_descendants(pid: int, own: Mapping[int, float], children: Mapping[int, list[int]]) -> float:
    return own.get(pid, 0.0) + sum(_with_descendants(child, own, children) for child in children.get(pid, ()))
