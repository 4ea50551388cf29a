"""`manage.py export TABLE`: writes a table of the books as CSV, JSON Lines or Parquet, or a tax file."""

import sys
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import IO

from django.core.management.base import CommandError

from execution.domain import bounds
from execution.management.terminal import TerminalCommand
from execution.operations.export_files import FileFormat, NotInstalledError, write_parquet
from execution.queries.downloads import TABLES, TAX, text_lines
from execution.queries.exports import DATASETS, ExportFilter, FilterError, exported
from execution.store.snapshots import one_snapshot

STDOUT = "-"


class Command(TerminalCommand):
    """For tables of any size: memory stays flat, and all rows are those of one moment."""

    help = "Write a table of the books as a file: CSV, JSON Lines or Parquet, or a tax file in Koinly's columns."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("table", choices=TABLES)
        parser.add_argument("--output", default=STDOUT, help="the file; - is the standard output")
        parser.add_argument("--format", choices=list(FileFormat), help="by the file's ending, or else csv")
        parser.add_argument("--from", dest="since", type=moment, help="ISO time: from this time on")
        parser.add_argument("--to", dest="until", type=moment, help="ISO time: before this time")
        parser.add_argument("--symbol", default="", help="only this symbol")
        parser.add_argument("--strategy", default="", help="only this strategy")

    def handle(
        self,
        *_: object,
        table: str,
        output: str,
        format: str | None,  # noqa: A002 -- the option's name
        since: datetime | None,
        until: datetime | None,
        symbol: str,
        strategy: str,
        **__: object,
    ) -> None:
        file_format = format_of(output, format)
        if table == TAX and file_format is not FileFormat.CSV:
            raise CommandError("The tax file is CSV.")
        which = ExportFilter(since=since, until=until, symbol=bounds.capitals(symbol), strategy=strategy)
        try:
            with one_snapshot():
                if output == STDOUT:
                    write(table, which, file_format, sys.stdout.buffer)
                else:
                    with Path(output).open("wb") as file:
                        write(table, which, file_format, file)
        except (FilterError, NotInstalledError) as error:
            raise CommandError(f"{error}.") from None
        if output != STDOUT:
            self.stdout.write(f"Written to {output}")


def write(table: str, which: ExportFilter, file_format: FileFormat, file: IO[bytes]) -> None:
    """Write a table into a file."""
    if file_format is FileFormat.PARQUET:
        write_parquet(DATASETS[table].columns(), exported(table, which), file)
        return
    for line in text_lines(table, which, file_format):
        file.write(line.encode())


def format_of(output: str, asked: str | None) -> FileFormat:
    """Return the format that was asked for, or else that of the file's ending."""
    ending = Path(output).suffix.removeprefix(".").lower()
    return FileFormat(asked or (ending if ending in set(FileFormat) else FileFormat.CSV))


def moment(text: str) -> datetime:
    """Return the time that a text writes.

    Without a zone it is UTC. It is the `type=` of an argument.
    """
    return bounds.clamped(bounds.iso_of(text))
