"""The arbiter's ledger of requests: each with its arrival, its parameters and how it was answered."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

_KEPT: Final = 200_000


@dataclass(slots=True)
class Entry:
    """One request; status 0 means that the connection was closed without an answer."""

    seq: int
    t_ns: int
    method: str
    path: str
    key: str | None
    params: dict[str, str] = field(default_factory=dict)
    status: int = 0
    code: int | None = None

    def view(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "t_ns": self.t_ns,
            "method": self.method,
            "path": self.path,
            "params": {name: value for name, value in self.params.items() if name != "signature"},
            "key": self.key,
            "status": self.status,
            "code": self.code,
        }


class RequestLedger:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._seq = 0

    def open(self, t_ns: int, method: str, path: str, key: str | None) -> Entry:
        self._seq += 1
        entry = Entry(self._seq, t_ns, method, path, key)
        self._entries.append(entry)
        return entry

    def since(self, seq: int) -> list[dict[str, object]]:
        return [entry.view() for entry in self._entries if entry.seq > seq]

    def clear(self) -> None:
        self._entries.clear()
