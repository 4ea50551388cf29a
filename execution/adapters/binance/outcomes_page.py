"""Writes the outcome tables as a page: `python -m execution.adapters.binance.outcomes_page`."""

import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise

from execution.adapters.binance.outcome_table import TABLES, Fault, Meaning, Operation, Row
from execution.domain.outcomes import Waits

HEAD = """# What an answer proves

Written by `python -m execution.adapters.binance.outcomes_page > docs/outcomes.md` from
`execution/adapters/binance/outcome_table.py`; a test holds the two together. Change the table, not the page.

Every call to the exchange is one of the operations below, and its answer is looked up in the operation's table. The
first row that fits decides. An answer that no row names falls to the last rows, which are on the safe side: a placement
counts as refused only when the exchange itself refuses it with one of its own codes. In every other case it may have
been executed. Orders are not amended but replaced, so there is no table for amendments.
"""
MEANINGS = {
    Meaning.ACCEPTED: "executed; the answer is read",
    Meaning.REFUSED: "not executed, and the same request would be refused again",
    Meaning.RETRY: "not executed; the same request may be sent again at once",
    Meaning.BACK_OFF: "not executed; the same request may be sent again after the wait",
    Meaning.UNKNOWN: "may have been executed; only evidence from the exchange decides it (a query: unanswered)",
    Meaning.BENIGN: "the wanted state exists already, or the order has ended; the state is read from the exchange",
    Meaning.MISSING: "the exchange finds no such order now; one reading, never proof",
}
WAITING = {
    Waits.NOBODY: "",
    Waits.ENTRIES: "orders that open risk; exits and reads continue",
    Waits.ORDERS: "all requests that count as orders, in every process; reads and cancels continue",
    Waits.EVERYBODY: "all requests of every process, for as long as the exchange asks",
}
ABOUT = {
    Operation.PLACE: "`POST /fapi/v1/order`: entries and market closes.",
    Operation.PLACE_CONDITIONAL: "`POST /fapi/v1/algoOrder`: stops and targets.",
    Operation.CANCEL: "`DELETE /fapi/v1/order` and `/fapi/v1/algoOrder`. Whatever the answer, the order itself is "
    "queried afterwards, unless all requests have to wait.",
    Operation.QUERY: "`GET /fapi/v1/order`, by client id or order id.",
    Operation.QUERY_CONDITIONAL: "`GET /fapi/v1/algoOrder`. An order that is missing is queried as an ordinary one.",
    Operation.LIST: "Open orders of both books, the history of all orders, positions, fills, income and market data. "
    "A list that was not answered is never an empty list.",
    Operation.SETTINGS: "`POST /fapi/v1/leverage`; margin type and position mode are not set by the service. Setting "
    "is safe to repeat: unless it is refused or confirmed, no entry is sent and it is set again.",
}
CODED = {None: "", True: "any", False: "none"}
FAULTS = {Fault.NOT_SENT: "no connection", Fault.LOST: "no answer", Fault.UNREADABLE: "any, unreadable"}
SOURCES = """## Sources

General Info, Error Code and Change Log are pages of the exchange's documentation for USDⓈ-M Futures
([General Info](https://developers.binance.com/docs/derivatives/usds-margined-futures/general-info),
[Error Code](https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code),
[Change Log](https://developers.binance.com/docs/derivatives/change-log)). A name with a number is an issue of that
project on GitHub that reports the case.
"""


def page() -> str:
    """Return the page."""
    words = [[meaning.value, MEANINGS[meaning]] for meaning in Meaning]
    waits = [[who.value, text] for who, text in WAITING.items() if text]
    parts = [
        HEAD,
        "## Outcomes\n\n" + _table(["outcome", "meaning"], words),
        _table(["who waits", "meaning"], waits),
        *(_operation(operation) for operation in Operation),
        SOURCES,
    ]
    return "\n".join(parts)


def _operation(operation: Operation) -> str:
    rows = [
        [
            _statuses(row),
            _spans(sorted(row.codes, reverse=True)) or CODED[row.coded],
            row.what,
            row.meaning.value,
            "" if row.waits is Waits.NOBODY else row.waits.value,
            row.source,
        ]
        for row in TABLES[operation]
    ]
    head = ["HTTP", "code", "case", "outcome", "who waits", "source"]
    return f"## {operation.value}\n\n{ABOUT[operation]}\n\n{_table(head, rows)}"


def _statuses(row: Row) -> str:
    if row.fault:
        return FAULTS[row.fault]
    if len(row.statuses) == len(range(1000)):
        return "any"
    hundreds = {status // 100 for status in row.statuses}
    whole = len(row.statuses) == len(range(100))
    return f"{hundreds.pop()}xx" if whole else ", ".join(map(str, sorted(row.statuses)))


def _spans(numbers: Sequence[int]) -> str:
    """Write runs of three codes and more as `first … last`."""
    ends = [place for place, (one, following) in enumerate(pairwise(numbers), start=1) if one - 1 != following]
    runs = [numbers[start:stop] for start, stop in pairwise([0, *ends, len(numbers)])]
    texts = (f"{run[0]} … {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return ", ".join(texts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
