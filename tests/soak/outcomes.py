"""The judge's third part: every decision ends in a recorded outcome that says why. Pure."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tests.soak.judge import Kind, Violation
from tests.support.oracle import FINAL

# A trade tells its own story; everything else that a decision can end in needs a rule.
TRADED = "RECORDED"
DENIED = frozenset({"DENIED", "REJECTED"})
# A measured value: a number, or what was found of something that has none, such as status=BREAK.
VALUE = re.compile(r"\d|\w[<>]?=\S")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A decision as our rows have it."""

    id: str
    symbol: str
    state: str
    reason_code: str
    reason: str


def judged_outcomes(sent: Collection[str], known: Sequence[Outcome], *, at_ms: int) -> list[Violation]:
    """Return the decisions that were lost, and those whose end does not say why; whether they end is `Watch`'s matter.

    `sent`: the ids of all decisions that were taken in. `known`: those of them that our rows still have.
    """
    rows = {row.id for row in known}
    lost = [
        (Kind.LOST_DECISION, "", name, "accepted, and no row of ours knows it") for name in sent if name not in rows
    ]
    broken = [*lost, *(found for row in known for found in _unexplained(row))]
    return [
        Violation(at_ms=at_ms, kind=kind, symbol=symbol, subject=subject, sentence=text)
        for kind, symbol, subject, text in broken
    ]


def _unexplained(row: Outcome) -> Iterator[tuple[Kind, str, str, str]]:
    if row.state == TRADED or row.state not in FINAL:
        return
    if not (row.reason_code and row.reason):
        yield Kind.NO_REASON, row.symbol, row.id, f"{row.state} code={row.reason_code!r} reason={row.reason!r}"
    elif row.state in DENIED and not VALUE.search(row.reason.partition(":")[2] or row.reason):
        yield Kind.NO_NUMBERS, row.symbol, row.id, f"{row.state} {row.reason}"
