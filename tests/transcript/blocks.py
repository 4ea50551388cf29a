"""Finds the fenced blocks of the pages, what in them are commands, and what the pages say about running them.

A reader copies blocks of the languages bash, console and python. In `console` a line behind `$ ` is a command, and what
follows is what it prints; `...` stands for anything. A comment of the page that nobody sees, on the line above a block,
says why it is not run:

    <!-- not run: needs Docker -->           the whole block
    <!-- not run, options checked: hours -->  the same, but each `make` target and each option has to exist
    <!-- not run: `make test`: runs this -->  one command of it

Anything else in a fence has to say that it is something else (`text`, `nginx`, ...).
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = frozenset({"bash", "console", "python"})
FENCE = re.compile(r"^ *```(\w*)\s*$")
MARKER = re.compile(
    r"^ *<!-- not run(?P<checked>, options checked)?: (?:`(?P<command>[^`]+)`: )?(?P<reason>\S.*?) -->$"
)
LINE_END = " \\"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What a page says about a block that is not run, or about one command of it."""

    reason: str
    command: str
    options_checked: bool


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its page, first line, language, text and what is said about running it."""

    page: str
    line: int
    language: str
    text: str
    markers: tuple[Marker, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def skipped(self) -> Marker | None:
        """What is said about the whole block."""
        return next((marker for marker in self.markers if not marker.command), None)

    @property
    def skipped_commands(self) -> frozenset[str]:
        return frozenset(marker.command for marker in self.markers if marker.command)

    def commands(self) -> list["Command"]:
        """Return the commands in order, each with what the page shows of its output."""
        if self.language == "python":
            return [Command(text=self.text, shown="")]
        return list(_shown_commands(self.text) if self.language == "console" else _plain_commands(self.text))


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command as it is typed, without its comment, and the output that the page shows."""

    text: str
    shown: str


def pages() -> list[Path]:
    """Return every page with instructions."""
    listed = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "paper_exchange/README.md"]
    return [*listed, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order.

    Raises:
        ValueError: a block is not closed.

    """
    lines, number = path.read_text().splitlines(), 0
    while number < len(lines):
        opened = FENCE.match(lines[number])
        if not opened:
            number += 1
            continue
        closing = next((at for at in range(number + 1, len(lines)) if lines[at].strip() == "```"), None)
        if closing is None:
            raise ValueError(f"{path}:{number + 1}: the block is not closed")
        yield Block(
            page=str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name,
            line=number + 1,
            language=opened[1],
            text="\n".join(line.strip() if line.isspace() else line for line in lines[number + 1 : closing]),
            markers=tuple(_markers_above(lines, number)),
        )
        number = closing + 1


def _markers_above(lines: list[str], fence: int) -> Iterator[Marker]:
    at = fence - 1
    while at >= 0 and (said := MARKER.match(lines[at])):
        yield Marker(reason=said["reason"], command=said["command"] or "", options_checked=bool(said["checked"]))
        at -= 1


def _plain_commands(text: str) -> Iterator[Command]:
    """Yield what a shell would take as one command: quotes and a backslash at the end go on in the next line."""
    pending = ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line.strip()
        if not pending or pending.startswith("#"):
            pending = ""
        elif _is_whole(pending):
            yield Command(text=pending, shown="")
            pending = ""
    if pending:
        raise ValueError(f"this command does not end: {pending}")


def _shown_commands(text: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next(at for at in range(1, len(lines) + 1) if _is_whole("\n".join(lines[:at])))
        yield Command(text="\n".join(lines[:end]), shown="\n".join(lines[end:]).strip())


def _is_whole(text: str) -> bool:
    if text.endswith(LINE_END) or text.count("<<'END'") > len(re.findall("^END$", text, flags=re.MULTILINE)):
        return False
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True
