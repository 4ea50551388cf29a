"""A lock file that one live owner holds and that lists the owner's children, so that a later owner can end leftovers.

The kernel drops the lock with its owner, however that dies. Whoever gets the lock therefore knows that every process
still listed in the file is a leftover (children outlive a killed owner on systems without PR_SET_PDEATHSIG).
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

LEFTOVER_GRACE_SECONDS = 10.0


class InUseError(RuntimeError):
    """Another live process holds the lease."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The held lock; keep it referenced for as long as the children live."""

    file: TextIO

    @classmethod
    def take(cls, path: Path) -> Self:
        """Lock `path` and end what a dead owner left; raises InUseError when the owner lives."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise InUseError(f"{path} is held by another process that is still running") from None
        file.seek(0)
        for line in file.read().splitlines():
            end_leftover(line)
        file.truncate(0)
        return cls(file=file)

    def record(self, pid: int) -> None:
        print(pid, fingerprint(pid), file=self.file, flush=True)

    @contextmanager
    def unless_it_fails(self) -> Iterator[Self]:
        """Keep the lease after a good start, give it back after a failed one."""
        try:
            yield self
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Forget the children, who are gone by now, and unlock."""
        if not self.file.closed:
            self.file.truncate(0)
            self.file.close()


def fingerprint(pid: int) -> str:
    """Tell a process from a later one with the same number: boot and start time; empty when it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "" if Path("/proc/self").exists() else _fingerprint_by_ps(pid)
    # A zombie has ended; only its parent has not yet asked.
    return "" if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _fingerprint_by_ps(pid: int) -> str:
    command = ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603 - a number
    return "" if not answer or answer[0].startswith("Z") else " ".join(answer[1:])


def end_leftover(line: str) -> None:
    """End the process of one recorded line with its group: SIGTERM, and SIGKILL after a grace."""
    number, _, recorded = line.partition(" ")
    pid = int(number)

    def lives() -> bool:
        return bool(recorded) and fingerprint(pid) == recorded

    for death_signal in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + LEFTOVER_GRACE_SECONDS
        if lives():
            signal_group(pid, death_signal)
        while lives() and time.monotonic() < deadline:
            time.sleep(0.02)


def signal_group(pid: int, number: int) -> None:
    """Signal the process group that `pid` leads; one that is gone already is what we want."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
