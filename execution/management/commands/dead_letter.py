"""`manage.py dead_letter <id>`: shows a message that could not be read, or replays it."""

import sys
from argparse import ArgumentParser
from getpass import getuser
from pathlib import Path

from django.core.management.base import CommandError

from execution import wiring
from execution.admin.replay_page import replay_sentence
from execution.management.terminal import TerminalCommand
from execution.models import DeadLetter
from execution.queries.dead_letters import letter_of
from execution.signals.envelope import MalformedEventError
from execution.signals.replay_dead_letters import AlreadyReplayedError, Replay, replay_letter
from execution.workflow import start_accepted


class Command(TerminalCommand):
    """The admin's page as a command."""

    help = "Show a dead letter, or correct it and replay it; that works once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", metavar="id", type=int)
        parser.add_argument("--replay", action="store_true", help="accept it as if its producer had sent it so")
        parser.add_argument("--payload", help="file with the corrected JSON object; - for standard input")
        parser.add_argument("--decided-now", action="store_true", help="decide it anew, or its age may let it expire")
        parser.add_argument("--reason", default="", help="why, for the log; required with --replay")
        parser.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(
        self,
        *_: object,
        number: int,
        replay: bool,
        payload: str | None,
        decided_now: bool,
        reason: str,
        by: str,
        **__: object,
    ) -> None:
        letter = letter_of(number)
        if letter is None:
            raise CommandError(f"Dead letter {number} not found")
        if not replay:
            self._show(letter)
            return
        if not reason.strip():
            raise CommandError("--replay needs a --reason")
        corrected = (sys.stdin.read() if payload == "-" else Path(payload).read_text()) if payload else None
        asked = Replay(by=by or getuser(), reason=reason.strip(), payload=corrected, decided_now=decided_now)
        self._replay(letter, asked)

    def _show(self, letter: DeadLetter) -> None:
        self.stdout.write(f"{letter.event_type} {letter.stream} {letter.entry_id} {letter.received_at.isoformat()}")
        self.stdout.write(f"{letter.reason_code}: {letter.reason}")
        if letter.replayed_at:
            self.stdout.write(f"replayed {letter.replayed_at.isoformat()} by {letter.replayed_by}: {letter.outcome}")
        self.stdout.write(letter.payload)

    def _replay(self, letter: DeadLetter, asked: Replay) -> None:
        try:
            accepted = replay_letter(letter.pk, asked, rules=wiring.intake_rules(), now=wiring.clock())
        except (AlreadyReplayedError, MalformedEventError) as error:
            raise CommandError(f"Nothing was done: {error}") from None
        start_accepted(accepted)
        self.stdout.write(replay_sentence(accepted))
