"""Writes for the person who started the stack: log lines with their process, and one line of progress on a terminal."""

import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from itertools import cycle
from typing import TextIO

NAME_WIDTH = 16
# What programs put into their own lines to colour them.
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CLEAR_LINE = "\r\x1b[2K"
COLOURS = ("36", "33", "32", "35", "34", "31", "96", "93", "92", "95", "94")


@dataclass(kw_only=True)
class Console:
    """Prints to `stream`; colours and the changing line only on a terminal."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    shows_logs: bool = True
    _progress: str = ""
    _colours: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.has_colours = self.is_terminal and "NO_COLOR" not in os.environ
        self._palette = cycle(COLOURS)

    def line(self, text: str = "") -> None:
        """Print a line above the progress line, which stays the last one."""
        clear = CLEAR_LINE if self._progress else ""
        self.stream.write(f"{clear}{text}\n{self._progress}")
        self.stream.flush()

    def log(self, name: str, text: str) -> None:
        """Print one line of a process's log behind its name."""
        if not (self.shows_logs and text.strip()):
            return
        colour = self._colours.setdefault(name, next(self._palette))
        prefix = f"{name:<{NAME_WIDTH}}|"
        self.line(f"\x1b[{colour}m{prefix}\x1b[0m {text}" if self.has_colours else f"{prefix} {ANSI.sub('', text)}")

    def progress(self, text: str) -> None:
        """Show what is going on: the same line over and over on a terminal, plain lines elsewhere."""
        if not self.is_terminal:
            self.line(text)
            return
        # A line that wraps could not be taken back.
        self._progress = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write(f"{CLEAR_LINE}{self._progress}")
        self.stream.flush()

    def end_progress(self) -> None:
        if self._progress:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()
        self._progress = ""
