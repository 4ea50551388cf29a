"""The table client x capability: for the terminal, for `docs`, and as JSON for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.clients.capabilities import CAPABILITIES

INTRODUCTION = """\
# Which clients work with the paper exchange

`make test-clients` writes this page. It installs the clients below, unmodified and each in its own environment, points
them at a paper exchange by their own settings, and asks each for everything in the table, with exact answers: `pass`,
`FAIL`, or `n/a` where the client itself has no such call. Connections that leave the machine are refused and make a
cell fail. The scenarios are in `tests/clients/scenarios.py`, the way each client is called and pointed at another
address in `tests/clients/*_client.py`.

Three clients need more than another address. binance-futures-connector and NautilusTrader 1.221 are older than the Algo
Service, so conditional orders go through their general signed calls. NautilusTrader is also older than routed streams
and RPI orders, so its exchange runs with `--legacy-streams --assume rpi_in_times=false`. Its own call that sets the
position mode asks by GET, so the script uses the signed call there too. Its sockets are opened by compiled code, where
connections that leave the machine cannot be refused. ccxt uses its table of futures errors for `https://fapi.` only, so
the script copies that table to where it counts for every address.
"""
MODELS = """\
In the row before the last the client's own live engine connects, loads all contracts, reconciles, hears quotes, rests,
amends and cancels a LIMIT order, buys at market and closes what it holds. What its strategy sees is compared exactly.

The last row holds every answer and event against the official SDK's response models, all the way down: no field may be
unknown to a model, none of a model's fields may be missing. What the live exchange itself leaves out, or sends although
the models do not know it, is excused by name in `tests/clients/model_audit.py`.
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of one capability; `ok` is None where the client has no such call."""

    ok: bool | None
    detail: str = ""

    @property
    def word(self) -> str:
        return "n/a" if self.ok is None else "pass" if self.ok else "FAIL"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One client's outcome; a client that could not be installed or ended early has red cells for what is missing."""

    client: str
    cells: Mapping[str, Cell]
    install_s: float
    run_s: float

    @property
    def red(self) -> list[str]:
        return [name for name, cell in self.cells.items() if cell.ok is False]


@dataclass(frozen=True, kw_only=True)
class Report:
    columns: Sequence[Column]
    seconds: float
    capabilities: Sequence[str] = field(default_factory=lambda: list(CAPABILITIES))

    @property
    def ok(self) -> bool:
        return not any(column.red for column in self.columns)

    def as_text(self) -> str:
        head = ["", *(column.client for column in self.columns)]
        rows = [
            [CAPABILITIES[name], *(column.cells[name].word for column in self.columns)] for name in self.capabilities
        ]
        rows.append(["install, s", *(f"{column.install_s:.1f}" for column in self.columns)])
        rows.append(["run, s", *(f"{column.run_s:.1f}" for column in self.columns)])
        widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        red = [
            f"{column.client}, {CAPABILITIES[name]}: {column.cells[name].detail}"
            for column in self.columns
            for name in column.red
        ]
        return "\n".join([*(line.rstrip() for line in lines), *red])

    def as_page(self) -> str:
        """Return the page for `docs`: without times, so that it changes only with its contents."""
        notes: dict[str, int] = {}
        table = [
            "| | " + " | ".join(column.client for column in self.columns) + " |",
            "| --- |" + " --- |" * len(self.columns),
        ]
        for name in self.capabilities:
            words = [self._noted(column.cells[name], column.client, notes) for column in self.columns]
            table.append(f"| {CAPABILITIES[name]} | " + " | ".join(words) + " |")
        remarks = [f"{number}. {text}" for text, number in notes.items()]
        return "\n".join([INTRODUCTION, *table, "", *remarks, "", MODELS])

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "clients": [asdict(column) for column in self.columns],
        }

    @staticmethod
    def _noted(cell: Cell, client: str, notes: dict[str, int]) -> str:
        if cell.ok is not None:
            return cell.word
        number = notes.setdefault(f"{client}: {cell.detail}.", len(notes) + 1)
        return f"n/a ({number})"
