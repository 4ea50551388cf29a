"""The base of our commands: shows control characters, because a terminal obeys escape sequences.

What a command prints may come from any producer or client.
"""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from django.core.management.base import BaseCommand, OutputWrapper

from execution_project.printable import printable


class Terminal(OutputWrapper):
    """Django's output of a command, with control characters shown. Lines and tabs stay."""

    def write(self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None) -> None:  # type: ignore[override]
        super().write(printable(str(msg), keep="\n\t"), style_func, ending)


class TerminalCommand(BaseCommand):
    """A command whose whole output goes through `Terminal`, errors too."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None, **options: bool) -> None:
        super().__init__(stdout, stderr, **options)
        self.stdout = Terminal(stdout or sys.stdout)
        self._use_for_errors(stderr or sys.stderr)

    def execute(self, *arguments: object, **options: Any) -> str | None:
        # Django would put a wrapper of its own around streams that come as options.
        if out := options.pop("stdout", None):
            self.stdout = Terminal(out)
        if err := options.pop("stderr", None):
            self._use_for_errors(err)
        return super().execute(*arguments, **options)

    def _use_for_errors(self, err: TextIO) -> None:
        self.stderr = Terminal(err)
        self.stderr.style_func = self.style.ERROR
