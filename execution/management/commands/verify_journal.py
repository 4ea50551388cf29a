"""`manage.py verify_journal`: names the journal's lines that were changed, removed or inserted since."""

from argparse import ArgumentParser

from django.core.management.base import CommandError

from execution.management.terminal import TerminalCommand
from execution.queries.journal import JournalWalk, parse_head

MOST_SHOWN = 1000


class Command(TerminalCommand):
    """Ends with 1 when the journal is not what was sealed."""

    help = "Compare the journal with its hash chain; name each line that was changed, removed or inserted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--head",
            default="",
            metavar="POSITION:LINK",
            help="an end of the chain that this command, or a worker's log, has printed before",
        )

    def handle(self, *_: object, head: str, **__: object) -> None:
        try:
            known_end = parse_head(head) if head else None
        except ValueError as error:
            raise CommandError(f"--head cannot be read: {error}") from None
        walk = JournalWalk(known_end=known_end)
        broken = 0
        for found in walk.breaks():
            broken += 1
            if broken <= MOST_SHOWN:
                self.stdout.write(str(found))
        self._show(walk)
        if broken:
            raise CommandError(f"The journal is broken: {broken} breaks", returncode=1)
        self.stdout.write("The journal is whole.")

    def _show(self, walk: JournalWalk) -> None:
        stats = walk.stats
        self.stdout.write(
            f"{stats.sealed} lines as sealed, {stats.removed_by_retention} removed by retention,"
            f" {stats.unsealed} not sealed yet"
        )
        if stats.head is not None:
            self.stdout.write(f"head {stats.head}")
