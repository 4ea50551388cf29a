"""Writes for the person who started the stack: log lines with their process, and one line of progress on a terminal."""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from threading import Event, RLock, Thread
from typing import TextIO

NAME_WIDTH = 16
# What programs put into their own lines to colour them.
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CLEAR_LINE = "\r\x1b[2K"
# How long a plain output may be silent while something is waited for, and how soon it need not say more.
SILENCE_SECONDS = 3.0
PAUSE_SECONDS = 2.0
LOOK_SECONDS = 0.5
COLOURS = ("36", "33", "32", "35", "34", "31", "96", "93", "92", "95", "94")


@dataclass(kw_only=True)
class Console:
    """Prints to `stream`; colours and the changing line only on a terminal."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    shows_logs: bool = True
    clock: Callable[[], float] = time.monotonic
    # What is waited for, since when, and when the last line was written.
    _waits_for: str = ""
    _since: float = 0.0
    _spoke: float = float("-inf")
    _shown: str = ""
    _colours: dict[str, str] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self.is_terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.has_colours = self.is_terminal and "NO_COLOR" not in os.environ
        self._palette = cycle(COLOURS)

    def line(self, text: str = "") -> None:
        """Print a line above the progress line, which stays the last one."""
        clear = CLEAR_LINE if self._shown else ""
        with self._lock:
            self._write(f"{clear}{text}\n{self._shown}")

    def log(self, name: str, text: str) -> None:
        """Print one line of a process's log behind its name."""
        if not (self.shows_logs and text.strip()):
            return
        colour = self._colours.setdefault(name, next(self._palette))
        prefix = f"{name:<{NAME_WIDTH}}|"
        self.line(f"\x1b[{colour}m{prefix}\x1b[0m {text}" if self.has_colours else f"{prefix} {ANSI.sub('', text)}")

    def progress(self, text: str) -> None:
        """Say what is waited for: on a terminal at once, in its one line, elsewhere 2 s after the last line."""
        with self._lock:
            self._waits_for, self._since = text, self.clock()
            if self.is_terminal:
                self._show(text)
            elif self.clock() - self._spoke >= PAUSE_SECONDS:
                self.line(text)

    def end_progress(self) -> None:
        """Nothing is waited for any more."""
        with self._lock:
            if self._shown:
                self._write(CLEAR_LINE)
            self._waits_for = self._shown = ""

    @contextmanager
    def never_silent(self) -> Iterator[None]:
        """Say again what is waited for, and for how long, whenever nothing was said for 3 s.

        From a thread: what holds the event loop up is worth a line as well.
        """
        over = Event()
        thread = Thread(target=self._look_until, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look_until(self, over: Event) -> None:
        while not over.wait(LOOK_SECONDS):
            self.say_again()

    def say_again(self) -> None:
        """Repeat what is waited for when nothing was said for 3 s."""
        with self._lock:
            now = self.clock()
            if not self._waits_for or now - self._spoke < SILENCE_SECONDS:
                return
            text = f"{self._waits_for} ({now - self._since:.0f} s)"
            if self.is_terminal:
                self._show(text)
            else:
                self.line(text)

    def _show(self, text: str) -> None:
        # A line that wraps could not be taken back.
        self._shown = text[: shutil.get_terminal_size().columns - 1]
        self._write(f"{CLEAR_LINE}{self._shown}")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
        self._spoke = self.clock()
