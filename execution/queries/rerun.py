"""Runs the guard's rules again on a decision's journal lines, and names each verdict that differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from execution.domain.risk_review import Proposal
from execution.models import AuditEvent
from execution.queries.requests import Story
from execution.risk.decision_snapshot import replay
from execution.risk.proposal import as_json, proposal_of


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """One line of the journal judged again: how many verdicts it has, and how they differ."""

    line: AuditEvent
    verdicts: int
    differences: tuple[str, ...]


def rerun(story: Story) -> list[Rerun]:
    """Return each judgement of a decision run again, oldest first, none where the guard never judged it."""
    proposal = proposal_of(story.request)
    return [_again(step, proposal) for step in story.transitions if {"rules", "inputs"} <= step.details.keys()]


def _again(line: AuditEvent, proposal: Proposal) -> Rerun:
    recorded: Sequence[Mapping[str, object]] = line.details["rules"]
    try:
        verdicts = [as_json(verdict) for verdict in replay(proposal, line.details)]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # What was kept cannot be read as what was written: that is a difference too.
        unreadable = (f"inputs cannot be judged: {type(error).__name__}: {error}",)
        return Rerun(line=line, verdicts=len(recorded), differences=unreadable)
    return Rerun(line=line, verdicts=len(recorded), differences=tuple(_differences(recorded, verdicts)))


def _differences(recorded: Sequence[Mapping[str, object]], again: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for before, now in zip_longest(recorded, again):
        if before != now:
            yield f"{(before or now or {}).get('rule')}: recorded {_words(before)}, now {_words(now)}"


def _words(verdict: Mapping[str, object] | None) -> str:
    if verdict is None:
        return "nothing"
    change = "" if verdict.get("after") is None else f" {verdict.get('before')} -> {verdict['after']}"
    return f"{verdict.get('refusal') or 'passed'} ({verdict.get('numbers')}{change})"
