"""The arbiter's ledger of requests: each with its arrival, its parameters and how it was answered."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from paper_exchange.errors import ExchangeError
from paper_exchange.http.params import parse

_KEPT: Final = 200_000


@dataclass(slots=True)
class Entry:
    """One request: how it was answered (status 0: not at all), and what the exchange made of it.

    `done_status` is None when the exchange never handled the request.
    """

    seq: int
    t_ns: int
    method: str
    path: str
    key: str | None
    query: str = ""
    body: bytes = b""
    status: int = 0
    code: int | None = None
    done_status: int | None = None
    done_code: int | None = None

    def view(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "t_ns": self.t_ns,
            "method": self.method,
            "path": self.path,
            "params": self._params(),
            "key": self.key,
            "status": self.status,
            "code": self.code,
            "done_status": self.done_status,
            "done_code": self.done_code,
        }

    def _params(self) -> dict[str, str]:
        """Parse only when the ledger is read: the text is a fifth of the size."""
        try:
            values = parse(self.query, self.body).values
        except ExchangeError:
            return {}
        return {name: value for name, value in values.items() if name != "signature"}


class RequestLedger:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._seq = 0

    def open(self, t_ns: int, method: str, path: str, key: str | None, query: str) -> Entry:
        self._seq += 1
        entry = Entry(self._seq, t_ns, method, path, key, query=query)
        self._entries.append(entry)
        return entry

    def since(self, seq: int) -> list[dict[str, object]]:
        return [entry.view() for entry in self._entries if entry.seq > seq]

    def clear(self) -> None:
        self._entries.clear()
