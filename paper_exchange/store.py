"""State on disk: a snapshot and a journal of later changes, so that a killed exchange loses no order.

The snapshot is read through a list of the classes that a state consists of: a file that another program has made can
hold wrong books, but it runs no code.
"""

import fcntl
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from paper_exchange.core.exchange import Exchange

FORMAT: Final = 12
# Steps of the price are journalled too: half an hour of them is replayed in a few seconds.
JOURNAL_LIMIT: Final = 600_000
_OWN: Final = ("paper_exchange.core.", "paper_exchange.config")
_PLAIN: Final = frozenset(
    {
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("decimal", "Decimal"),
        ("pathlib", "PosixPath"),
        ("random", "Random"),
        ("builtins", "list"),
        ("builtins", "dict"),
        ("builtins", "set"),
    }
)


class StoreError(Exception):
    """A state file that cannot be used."""


class StateUnpickler(pickle.Unpickler):
    """Loads the exchange's own classes and the plain values in them, and nothing that could do harm."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if module.startswith(_OWN) or (module, name) in _PLAIN else None
        # What a module of ours has imported is not its own.
        if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module, name):
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a state")
        return found


class Store:
    """Two files: `path` with the snapshot, and beside it `path` + ".journal"."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal_path = path.with_name(path.name + ".journal")
        self._journal: int | None = None
        self._written = 0
        self._saved = 0
        self._lock: int | None = None

    def lock(self) -> None:
        """Make sure that no other process uses the files. The system lets go when the process ends."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{self._path} is in use by another process") from error

    def load(self) -> Exchange | None:
        """Return the exchange of the snapshot, or None when there is none yet."""
        if not self._path.exists():
            return None
        try:
            with self._path.open("rb") as file:
                found_format, exchange = StateUnpickler(file).load()
        except Exception as error:
            raise StoreError(f"{self._path} cannot be read ({error}); move it away to start anew") from error
        if found_format != FORMAT or not isinstance(exchange, Exchange):
            raise StoreError(f"{self._path} is of another version; move it away to start anew")
        return exchange

    def notes(self) -> Iterator[dict[str, Any]]:
        """Yield what was done after the snapshot. A last line torn by a crash was never answered."""
        if not self._journal_path.exists():
            return
        with self._journal_path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield orjson.loads(line)

    def save(self, exchange: Exchange) -> None:
        """Replace the snapshot atomically and begin a new journal."""
        fresh = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            pickle.dump((FORMAT, exchange), file, protocol=pickle.HIGHEST_PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
            self._saved = file.tell()
        fresh.replace(self._path)
        self.close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._journal = os.open(self._journal_path, flags, 0o600)
        self._written = 0

    def record(self, note: dict[str, object]) -> None:
        """Append to the journal before the change happens. The system keeps it when the process is killed."""
        if self._journal is not None:
            self._written += os.write(self._journal, orjson.dumps(note) + b"\n")

    @property
    def is_full(self) -> bool:
        """Return whether a new snapshot is due.

        The larger the state, the rarer, so that orders stay cheap.
        """
        return self._written > max(JOURNAL_LIMIT, 2 * self._saved)

    def close(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def release(self) -> None:
        self.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
