"""Walks the journal beside its hash chain, page by page, and names the line of each break.

The hashes are made here, not by the database's functions: the database's owner may have replaced those. Nothing here
is kept but a page of seals and a page of lines, whatever the length of the journal.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from execution.store.journal_chain import (
    Head,
    Removal,
    Seal,
    head,
    lines_after,
    one_moment,
    removals_in,
    seal_count,
    seals_after,
    unsealed_count,
)

PAGE = 2000
# The database gives ids from 1; who forges one may choose another.
BEFORE_ALL = -(2**63)
GENESIS = hashlib.sha256(b"execution journal").digest()


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


@dataclass(kw_only=True)
class JournalStats:
    """What a walk has seen."""

    head: Head | None = None
    sealed: int = 0
    removed_by_retention: int = 0
    unsealed: int = 0


@dataclass(kw_only=True)
class JournalWalk:
    """One walk along the chain. `breaks()` yields what it finds, `stats` counts what it has seen.

    `known_end` is an older end of the chain, position and link, kept outside of the database.
    """

    known_end: tuple[int, bytes] | None = None
    stats: JournalStats = field(default_factory=JournalStats)
    _position: int = 0
    _line_id: int = 0
    _link: bytes = GENESIS
    _known_end_seen: bool = False

    def breaks(self) -> Iterator[Break]:
        """Yield each break in the order of the chain, all from one moment.

        Sealing and retention go on beside it.
        """
        with one_moment():
            yield from self._breaks()

    def _breaks(self) -> Iterator[Break]:
        end = self.stats.head = head()
        if end is None:
            yield from self._without_head()
            return
        lines = _Lines(up_to=end.line_id)
        for seal, removal in _seals(end.position):
            yield from self._before(seal, lines)
            yield from self._seal(seal)
            yield from self._line(seal, lines.take(seal.line_id), removal)
            self._position, self._line_id, self._link = seal.position, seal.line_id, seal.link
        yield from self._end(end, lines)
        self.stats.unsealed = unsealed_count(end.line_id)

    def _without_head(self) -> Iterator[Break]:
        self.stats.unsealed = unsealed_count(0)
        if seal_count():
            yield _break(BreakKind.REMOVED, "the head of the chain is gone, seals are there")
        if self.known_end:
            yield _break(BreakKind.REMOVED, f"the chain that reached position {self.known_end[0]} is gone")

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
        """Compare a link with the one before it.

        A seal that stands for many lines has no single digest: the next link proves it.
        """
        follows = seal.position - seal.spans == self._position
        if seal.spans == 1 and follows and hashlib.sha256(self._link + seal.digest).digest() != seal.link:
            sentence = (
                f"the seal of line {seal.line_id} (position {seal.position}) does not follow from that of line"
                f" {self._line_id}: one of the two lines was changed and sealed anew"
            )
            yield _break(BreakKind.SEALED_ANEW, sentence)
        if self.known_end and seal.position == self.known_end[0]:
            self._known_end_seen = True
            if seal.link != self.known_end[1]:
                sentence = f"position {seal.position} has another link than --head: the chain was made anew"
                yield _break(BreakKind.SEALED_ANEW, sentence)
        elif self.known_end and seal.position - seal.spans < self.known_end[0] < seal.position:
            # Retention has removed what stood there, and its neighbours.
            self._known_end_seen = True

    def _line(self, seal: Seal, content: str | None, removal: Removal | None) -> Iterator[Break]:
        """Compare a seal with its line, or with the record of the retention that removed the line."""
        if content is not None and seal.removed_by is None:
            self.stats.sealed += 1
            if hashlib.sha256(content.encode()).digest() != seal.digest:
                yield _break(BreakKind.CHANGED, f"line {seal.line_id} is not what was sealed")
        elif content is not None:
            yield _break(BreakKind.INSERTED, f"line {seal.line_id}, which retention had removed, is back")
        elif is_recorded_removal(seal, removal):
            self.stats.removed_by_retention += seal.spans
        else:
            yield _break(BreakKind.REMOVED, f"line {seal.line_id} is gone, and no retention has removed it")

    def _end(self, end: Head, lines: "_Lines") -> Iterator[Break]:
        for line_id in lines.before(end.line_id + 1):
            yield _inserted(line_id)
        if self._position < end.position:
            gap = f"the seals of positions {self._position + 1} to {end.position}"
            yield _break(BreakKind.REMOVED, f"{gap} are gone, with the newest lines after {self._line_id}")
        elif self._link != end.link:
            sentence = f"the newest line {self._line_id} was sealed anew: the head of the chain has another link"
            yield _break(BreakKind.SEALED_ANEW, sentence)
        if self.known_end and not self._known_end_seen:
            sentence = f"the chain ends before position {self.known_end[0]}, which --head has seen"
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
        """Take this line and return what is hashed of it, or None when it is not there."""
        if self._next is None or self._next[0] != line_id:
            return None
        content = self._next[1]
        self._next = next(self._rows, None)
        return content

    def _read(self) -> Iterator[tuple[int, str]]:
        after, page = BEFORE_ALL, PAGE
        while page == PAGE:
            rows = lines_after(after, up_to=self._up_to, limit=PAGE)
            page = len(rows)
            after = rows[-1][0] if rows else after
            yield from rows


def parse_head(text: str) -> tuple[int, bytes]:
    """Return position and link of a chain's end as a walk has printed it.

    Raises:
        ValueError: it is anything else.

    """
    position, _, link = text.partition(":")
    digest = bytes.fromhex(link)
    if not position.isascii() or not position.isdecimal() or len(digest) != hashlib.sha256().digest_size:
        raise ValueError("POSITION:LINK is asked for, as this command prints it")
    return int(position), digest


def is_recorded_removal(seal: Seal, removal: Removal | None) -> bool:
    """Whether the line that a seal names records that retention has removed exactly these positions."""
    if seal.removed_by is None or not isinstance(removal, Mapping):
        return False
    if seal.spans > 1:
        return [seal.position - seal.spans + 1, seal.position, seal.link.hex()] in removal.get("runs", [])
    return any(first <= seal.position <= last for first, last in removal.get("positions", []))


def _seals(up_to: int) -> Iterator[tuple[Seal, Removal | None]]:
    """Yield the seals in order, each with what the line that it names records as its removal."""
    after, page = 0, PAGE
    while page == PAGE:
        seals = seals_after(after, up_to=up_to, limit=PAGE)
        named = [seal.removed_by for seal in seals if seal.removed_by is not None]
        removals = removals_in(sorted(set(named))) if named else {}
        for seal in seals:
            yield seal, None if seal.removed_by is None else removals.get(seal.removed_by)
        page = len(seals)
        after = seals[-1].position if seals else after


def _inserted(line_id: int) -> Break:
    return _break(
        BreakKind.INSERTED, f"line {line_id} has no seal, and older lines than the newest have all got theirs"
    )


def _break(kind: BreakKind, sentence: str) -> Break:
    return Break(kind=kind, sentence=sentence)
