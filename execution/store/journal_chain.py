"""Reads the journal's hash chain: its head, its seals, the lines as hashed, the removals.

Only the database's functions write it (migration 0002).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

from django.db import connection, transaction

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
SEAL_COUNT = "SELECT count(*) FROM execution_journalseal"
LINES = (
    f"SELECT id, {CONTENT} FROM execution_auditevent"  # noqa: S608 -- constants
    " WHERE id > %s AND id <= %s ORDER BY id LIMIT %s"
)
REMOVALS = (
    "SELECT id, details::text FROM execution_auditevent"
    " WHERE id = ANY (%s) AND entity = 'journal' AND to_state = 'REMOVED'"
)
UNSEALED = "SELECT count(*) FROM execution_auditevent WHERE id > %s"


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
    """The end of the chain. Written down elsewhere, it shows whether the whole chain was made anew."""

    position: int
    line_id: int
    link: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.link.hex()}"


class Removal(TypedDict, total=False):
    """What a line records of the lines that retention removed.

    `positions` are ranges of single seals, from and to; `runs` are seals of many lines: first and last position, and
    the link as hexadecimal digits.
    """

    positions: list[tuple[int, int]]
    runs: list[list[int | str]]


def head() -> Head | None:
    """Return where the chain ends, or None before the first line was sealed."""
    with connection.cursor() as cursor:
        cursor.execute(HEAD)
        row = cursor.fetchone()
    return Head(position=row[0], line_id=row[1], link=bytes(row[2])) if row else None


def seals_after(position: int, *, up_to: int, limit: int) -> list[Seal]:
    """Return the next seals behind a position, at most `limit`, in the order of the chain."""
    with connection.cursor() as cursor:
        cursor.execute(SEALS, (position, up_to, limit))
        return [
            Seal(
                position=position,
                spans=spans,
                line_id=line_id,
                digest=bytes(digest),
                link=bytes(link),
                removed_by=removed_by,
            )
            for position, spans, line_id, digest, link, removed_by in cursor.fetchall()
        ]


def seal_count() -> int:
    """Count all seals."""
    return _count(SEAL_COUNT)


def lines_after(line_id: int, *, up_to: int, limit: int) -> list[tuple[int, str]]:
    """Return the next lines behind an id, at most `limit`: each with its id and the text that is hashed."""
    with connection.cursor() as cursor:
        cursor.execute(LINES, (line_id, up_to, limit))
        return [(found, content) for found, content in cursor.fetchall()]


def unsealed_count(line_id: int) -> int:
    """Count the lines behind an id."""
    return _count(UNSEALED, line_id)


def removals_in(line_ids: Sequence[int]) -> Mapping[int, Removal]:
    """Return what these lines record as removed, for those of them that record a removal."""
    with connection.cursor() as cursor:
        cursor.execute(REMOVALS, (list(line_ids),))
        return {line_id: json.loads(details) for line_id, details in cursor.fetchall()}


@contextmanager
def one_moment() -> Iterator[None]:
    """Let all pages be read as of the first. In a caller's transaction they are read as that one reads."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _count(query: str, *parameters: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return int(cursor.fetchone()[0])
