"""Counts what a piece of work costs in ways that do not depend on the machine: statements and commits."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

# What makes PostgreSQL write a commit to the disk and wait for it.
# What lets it not wait.
NO_WAIT = "set_config('synchronous_commit', 'off', true)"
WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|FOR UPDATE)\b")
CONTROL = re.compile(r"^(SAVEPOINT|RELEASE|ROLLBACK)\b")


@dataclass(kw_only=True)
class Counts:
    """What has been counted: statements in their order, and commits that have waited for the disk."""

    statements: list[str] = field(default_factory=list)
    commits: int = 0

    def committed(self) -> None:
        self.commits += 1

    def note(self, sql: str) -> None:
        self.statements.append(sql)
        if not WRITES.search(sql) or NO_WAIT in sql:
            return
        if not connection.in_atomic_block:
            self.committed()
        elif not any(hook[1] == self.committed for hook in connection.run_on_commit):
            transaction.on_commit(self.committed)


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what this thread asks the database for in the block. Its test must not run in a transaction."""
    counts = Counts()

    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 -- Django's signature
        result = execute(sql, params, many, context)
        if not CONTROL.match(sql):
            counts.note(sql)
        return result

    with connection.execute_wrapper(watch):
        yield counts
