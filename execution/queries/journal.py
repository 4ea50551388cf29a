"""Walks the journal beside its hash chain, page by page, and says of each break which line it concerns.

The hashes are made here, not by the database's functions: who owns the database may have replaced those. Nothing here
is kept but a page of seals and a page of lines, whatever the length of the journal.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.db import connection, transaction

PAGE = 2000
# The database gives ids from 1; who forges one may choose another.
BEFORE_ALL = -(2**63)
GENESIS = hashlib.sha256(b"execution journal").digest()
# The text that `execution_seal_journal` hashes.
CONTENT = (
    "jsonb_build_array(id, entity, entity_id, from_state, to_state, trigger, reason_code, reason, details,"
    " extract(epoch FROM at)::text)::text"
)
HEAD = "SELECT position, line_id, link FROM execution_journalhead"
SEALS = (
    "SELECT position, spans, line_id, digest, link, removed_by FROM execution_journalseal"
    " WHERE position > %s AND position <= %s ORDER BY position LIMIT %s"
)
LINES = (
    f"SELECT id, {CONTENT} FROM execution_auditevent"  # noqa: S608 -- constants
    " WHERE id > %s AND id <= %s ORDER BY id LIMIT %s"
)
REMOVALS = (
    "SELECT id, details::text FROM execution_auditevent"
    " WHERE id = ANY (%s) AND entity = 'journal' AND to_state = 'REMOVED'"
)
UNSEALED = "SELECT count(*) FROM execution_auditevent WHERE id > %s"


class BreakKind(StrEnum):
    """What has happened to a line of the journal, or to its seal."""

    CHANGED = "CHANGED"
    REMOVED = "REMOVED"
    INSERTED = "INSERTED"
    # The line fits its seal, but the seal does not fit its neighbours: both were written anew.
    SEALED_ANEW = "SEALED_ANEW"


@dataclass(frozen=True, kw_only=True)
class Break:
    """One place at which the journal is not what was sealed."""

    kind: BreakKind
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"


@dataclass(frozen=True, kw_only=True)
class Seal:
    """A row of the chain, and the line that stands for it now."""

    position: int
    spans: int
    line_id: int
    digest: bytes
    link: bytes
    removed_by: int | None


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where the chain ends; written down elsewhere, it shows whether the whole chain was made anew."""

    position: int
    line_id: int
    link: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.link.hex()}"


@dataclass(kw_only=True)
class JournalStats:
    """What a walk has seen."""

    head: Head | None = None
    sealed: int = 0
    removed_by_retention: int = 0
    unsealed: int = 0


@dataclass(kw_only=True)
class JournalWalk:
    """One walk along the chain; `breaks()` yields what it finds, `tally` says how much it has seen.

    `witness` is an older end of the chain, POSITION:LINK, kept outside of the database.
    """

    witness: tuple[int, bytes] | None = None
    tally: JournalStats = field(default_factory=JournalStats)
    _position: int = 0
    _line_id: int = 0
    _link: bytes = GENESIS
    _witnessed: bool = False

    def breaks(self) -> Iterator[Break]:
        """Yield each break in the order of the chain, all from one moment: sealing and retention go on beside it."""
        with _one_moment():
            yield from self._breaks()

    def _breaks(self) -> Iterator[Break]:
        head = self.tally.head = _head()
        if head is None:
            yield from self._without_head()
            return
        lines = _Lines(up_to=head.line_id)
        for seal, removal in _seals(head.position):
            yield from self._before(seal, lines)
            yield from self._seal(seal)
            yield from self._line(seal, lines.take(seal.line_id), removal)
            self._position, self._line_id, self._link = seal.position, seal.line_id, seal.link
        yield from self._end(head, lines)
        self.tally.unsealed = _scalar(UNSEALED, head.line_id)

    def _without_head(self) -> Iterator[Break]:
        self.tally.unsealed = _scalar(UNSEALED, 0)
        if _scalar("SELECT count(*) FROM execution_journalseal"):
            yield _break(BreakKind.REMOVED, "the head of the chain is gone, seals are there")
        if self.witness:
            yield _break(BreakKind.REMOVED, f"the chain that reached position {self.witness[0]} is gone")

    def _before(self, seal: Seal, lines: "_Lines") -> Iterator[Break]:
        """Compare what lies between the last seal and this one: no line, and no position."""
        for line_id in lines.before(seal.line_id):
            yield _inserted(line_id)
        first = seal.position - seal.spans + 1
        if first > self._position + 1:
            gap = f"the seals of positions {self._position + 1} to {first - 1}"
            yield _break(BreakKind.REMOVED, f"{gap} are gone, with lines between {self._line_id} and {seal.line_id}")
        if first <= self._position or seal.line_id <= self._line_id:
            sentence = f"the seal of line {seal.line_id} at position {seal.position} is out of order"
            yield _break(BreakKind.SEALED_ANEW, sentence)

    def _seal(self, seal: Seal) -> Iterator[Break]:
        """Compare a link with the one before it. What stands for many has no single digest: the next link proves it."""
        follows = seal.position - seal.spans == self._position
        if seal.spans == 1 and follows and hashlib.sha256(self._link + seal.digest).digest() != seal.link:
            sentence = (
                f"the seal of line {seal.line_id} (position {seal.position}) does not follow from that of line"
                f" {self._line_id}: one of the two lines was changed and sealed anew"
            )
            yield _break(BreakKind.SEALED_ANEW, sentence)
        if self.witness and seal.position == self.witness[0]:
            self._witnessed = True
            if seal.link != self.witness[1]:
                sentence = f"position {seal.position} has another link than --head says: the chain was made anew"
                yield _break(BreakKind.SEALED_ANEW, sentence)
        elif self.witness and seal.position - seal.spans < self.witness[0] < seal.position:
            # Retention has removed what stood there, and its neighbours.
            self._witnessed = True

    def _line(self, seal: Seal, content: str | None, removal: Mapping[str, Any] | None) -> Iterator[Break]:
        """Compare a seal with its line, or with the word of the retention that removed the line."""
        if content is not None and seal.removed_by is None:
            self.tally.sealed += 1
            if hashlib.sha256(content.encode()).digest() != seal.digest:
                yield _break(BreakKind.CHANGED, f"line {seal.line_id} is not what was sealed")
        elif content is not None:
            yield _break(BreakKind.INSERTED, f"line {seal.line_id}, which retention had removed, is back")
        elif is_told(seal, removal):
            self.tally.removed_by_retention += seal.spans
        else:
            yield _break(BreakKind.REMOVED, f"line {seal.line_id} is gone, and no retention has removed it")

    def _end(self, head: Head, lines: "_Lines") -> Iterator[Break]:
        for line_id in lines.before(head.line_id + 1):
            yield _inserted(line_id)
        if self._position < head.position:
            gap = f"the seals of positions {self._position + 1} to {head.position}"
            yield _break(BreakKind.REMOVED, f"{gap} are gone, with the newest lines after {self._line_id}")
        elif self._link != head.link:
            sentence = f"the newest line {self._line_id} was sealed anew: the head of the chain has another link"
            yield _break(BreakKind.SEALED_ANEW, sentence)
        if self.witness and not self._witnessed:
            sentence = f"the chain ends before position {self.witness[0]}, which --head has seen"
            yield _break(BreakKind.REMOVED, sentence)


class _Lines:
    """The lines of the journal in their order, read by pages."""

    def __init__(self, *, up_to: int) -> None:
        self._up_to = up_to
        self._rows = self._read()
        self._next = next(self._rows, None)

    def before(self, line_id: int) -> Iterator[int]:
        """Take the lines before this one, whose ids stand in no seal."""
        while self._next is not None and self._next[0] < line_id:
            yield self._next[0]
            self._next = next(self._rows, None)

    def take(self, line_id: int) -> str | None:
        """Take this line and return what is hashed of it; None when it is not there."""
        if self._next is None or self._next[0] != line_id:
            return None
        content = self._next[1]
        self._next = next(self._rows, None)
        return content

    def _read(self) -> Iterator[tuple[int, str]]:
        after, page = BEFORE_ALL, PAGE
        while page == PAGE:
            rows = _rows(LINES, after, self._up_to, PAGE)
            page = len(rows)
            after = rows[-1][0] if rows else after
            yield from rows


def parse_head(text: str) -> tuple[int, bytes]:
    """Return position and link of what a walk has printed as the chain's end; ValueError for anything else."""
    position, _, link = text.partition(":")
    digest = bytes.fromhex(link)
    if not position.isascii() or not position.isdecimal() or len(digest) != hashlib.sha256().digest_size:
        raise ValueError("POSITION:LINK is asked for, as this command prints it")
    return int(position), digest


def is_told(seal: Seal, removal: Mapping[str, Any] | None) -> bool:
    """Whether the line of the journal that a seal names says that retention has removed exactly these positions."""
    if seal.removed_by is None or not isinstance(removal, Mapping):
        return False
    if seal.spans > 1:
        return [seal.position - seal.spans + 1, seal.position, seal.link.hex()] in removal.get("runs", [])
    return any(first <= seal.position <= last for first, last in removal.get("positions", []))


def head() -> Head | None:
    """Return where the chain ends; None before the first line was sealed."""
    return _head()


def _head() -> Head | None:
    rows = _rows(HEAD)
    return Head(position=rows[0][0], line_id=rows[0][1], link=bytes(rows[0][2])) if rows else None


def _seals(up_to: int) -> Iterator[tuple[Seal, Mapping[str, Any] | None]]:
    """Yield the seals in order, each with what the line says that it names as its removal."""
    after, page = 0, PAGE
    while page == PAGE:
        seals = [_as_seal(row) for row in _rows(SEALS, after, up_to, PAGE)]
        named = {seal.removed_by for seal in seals} - {None}
        removals = {key: json.loads(text) for key, text in _rows(REMOVALS, list(named))} if named else {}
        for seal in seals:
            yield seal, removals.get(seal.removed_by)
        page = len(seals)
        after = seals[-1].position if seals else after


@contextmanager
def _one_moment() -> Iterator[None]:
    """Let all pages be read as of the first; inside of somebody's transaction, as that one reads."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _as_seal(row: tuple[Any, ...]) -> Seal:
    position, spans, line_id, digest, link, removed_by = row
    return Seal(
        position=position,
        spans=spans,
        line_id=line_id,
        digest=bytes(digest),
        link=bytes(link),
        removed_by=removed_by,
    )


def _inserted(line_id: int) -> Break:
    return _break(
        BreakKind.INSERTED, f"line {line_id} has no seal, and older lines than the newest have all got theirs"
    )


def _break(kind: BreakKind, sentence: str) -> Break:
    return Break(kind=kind, sentence=sentence)


def _rows(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _scalar(query: str, *parameters: Any) -> int:
    return int(_rows(query, *parameters)[0][0])
