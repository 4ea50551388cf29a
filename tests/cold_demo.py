"""`python -m tests.cold_demo`: `make demo` on a fresh clone and once more, with a clock on every line.

Cold it may take 60 s where packages are cached, warm 15 s; nobody waits longer than 5 s for a line that says what is
waited for, and the stop takes less than 5 s. It exits 1 when one of them is missed.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SILENCE_SECONDS, STOP_SECONDS = 5.0, 5.0
BOUNDS = {"cold": 60.0, "warm": 15.0}
LAST_OF_THE_TRADE, STOPPED = "equal to the last digit.", "Everything is stopped."


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One run of the demo: its lines with their seconds since the start."""

    name: str
    lines: list[tuple[float, str]]

    @property
    def seconds(self) -> float:
        return self.lines[-1][0]

    @property
    def longest_silence(self) -> tuple[float, str]:
        return max((after - before, line) for (before, _), (after, line) in pairwise([(0.0, ""), *self.lines]))

    @property
    def stop_seconds(self) -> float:
        times = {mark: at for at, line in self.lines for mark in (LAST_OF_THE_TRADE, STOPPED) if line.endswith(mark)}
        return times[STOPPED] - times[LAST_OF_THE_TRADE]

    def misses(self) -> list[str]:
        """Return what is over its bound, in words."""
        silence, line = self.longest_silence
        figures = {
            f"{self.name}: {self.seconds:.1f} s in all": (self.seconds, BOUNDS[self.name]),
            f"{self.name}: {silence:.1f} s without a line, before {line!r}": (silence, SILENCE_SECONDS),
            f"{self.name}: {self.stop_seconds:.1f} s to stop": (self.stop_seconds, STOP_SECONDS),
        }
        for text, (value, bound) in figures.items():
            print(f"{'ok' if value <= bound else 'OVER':<5}{text} (at most {bound:.0f} s)")  # noqa: T201 - a command speaks
        return [text for text, (value, bound) in figures.items() if value > bound]


def watch(name: str, folder: Path) -> Watched:
    """Run the demo in a clone.

    Raises:
        SystemExit: it failed; its lines have been printed.

    """
    began = time.monotonic()
    process = subprocess.Popen(
        ["make", "demo"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=own_environment()
    )
    if process.stdout is None:
        raise SystemExit("the demo has no output")
    lines = [(time.monotonic() - began, line.rstrip()) for line in process.stdout]
    if process.wait(60) != 0:
        raise SystemExit("\n".join(line for _, line in lines))
    return Watched(name=name, lines=lines)


def own_environment() -> dict[str, str]:
    """Leave out what belongs to the `make` that has started us."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV"))}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="execution-clone-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        missed = [miss for name in BOUNDS for miss in watch(name, clone).misses()]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
