"""`manage.py kill_switch [LEVEL] --reason "..."`: moves the kill switch, or shows it."""

import json
from argparse import ArgumentParser
from getpass import getuser

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.management.terminal import TerminalCommand
from execution.queries.kill_switch import RELEASED, describe
from execution.risk.kill_switch import KillSwitchError
from execution.workflow import apply_kill_switch


class Command(TerminalCommand):
    """The kill switch from the command line. Without a level it changes nothing."""

    help = "Stop entries, cancel those that rest, or close everything; or let entries pass again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("level", nargs="?", choices=[*KillLevel, RELEASED], help="what to put in force")
        parser.add_argument("--reason", default="", help="why, for the log; required with a level")
        parser.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(self, *_: object, level: str | None, reason: str, by: str, **__: object) -> None:
        if level:
            self._move(level, reason.strip(), by or getuser())
        self.stdout.write(json.dumps(describe(), indent=2, default=str))

    def _move(self, level: str, reason: str, by: str) -> None:
        if not reason:
            raise CommandError("--reason is required: it is written to the log")
        try:
            apply_kill_switch(level, Authorization(by=by, reason=reason), now=wiring.clock())
        except KillSwitchError as error:
            raise CommandError(f"Nothing was done: {error}") from None
