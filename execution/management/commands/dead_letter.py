"""`manage.py dead_letter <id>`: shows a message that was not understood; with `--redrive` it is driven again."""

import sys
from argparse import ArgumentParser
from getpass import getuser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from execution import tasks, wiring
from execution.admin.replay_page import replay_sentence
from execution.management.terminal import TerminalCommand
from execution.models import DeadLetter
from execution.signals.envelope import MalformedEventError
from execution.signals.replay_dead_letters import AlreadyReplayedError, Replay, replay_letter


class Command(TerminalCommand):
    """The admin's page as a command."""

    help = "Show a dead letter, or correct it and drive it again; that works once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int)
        parser.add_argument("--redrive", action="store_true", help="accept it as if its producer had sent it so")
        parser.add_argument("--payload", help="file with the corrected JSON object; - for standard input")
        parser.add_argument("--decided-now", action="store_true", help="decide it anew, or its age may let it expire")
        parser.add_argument("--reason", default="", help="why, for the log; required with --redrive")
        parser.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(self, **options: Any) -> None:
        letter = DeadLetter.objects.filter(pk=options["id"]).first()
        if letter is None:
            raise CommandError(f"Dead letter {options['id']} not found")
        if not options["redrive"]:
            self._show(letter)
            return
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("--redrive needs a --reason")
        word = Replay(
            by=options["by"] or getuser(),
            reason=reason,
            payload=_text(options["payload"]) if options["payload"] else None,
            decided_now=options["decided_now"],
        )
        self._redrive(letter, word)

    def _show(self, letter: DeadLetter) -> None:
        self.stdout.write(f"{letter.event_type} {letter.stream} {letter.entry_id} {letter.received_at.isoformat()}")
        self.stdout.write(f"{letter.reason_code}: {letter.reason}")
        if letter.redriven_at:
            self.stdout.write(
                f"driven again {letter.redriven_at.isoformat()} by {letter.redriven_by}: {letter.outcome}"
            )
        self.stdout.write(letter.payload)

    def _redrive(self, letter: DeadLetter, word: Replay) -> None:
        try:
            accepted = replay_letter(letter.pk, word, rules=wiring.intake_rules(), now=wiring.clock())
        except (AlreadyReplayedError, MalformedEventError) as error:
            raise CommandError(f"Nothing was done: {error}") from None
        tasks.begin(accepted)
        self.stdout.write(replay_sentence(accepted))


def _text(place: str) -> str:
    return sys.stdin.read() if place == "-" else Path(place).read_text()
