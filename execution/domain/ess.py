"""Whether the emergency stop lets an entry pass, whatever vocabulary the neighbour speaks."""

from dataclasses import dataclass

BLOCKING_STATES = frozenset({"CRITICAL", "TRIPPED", "COOLING_DOWN"})
PERMITTING_STATES = frozenset({"ARMED", "DISABLED", "NORMAL", "CAUTION"})


@dataclass(frozen=True, kw_only=True)
class EssDecision:
    """The answer for one entry, with the evidence in words, and how old that is; None when there is none."""

    permitted: bool
    state: str
    evidence: str
    age_seconds: float | None = None


def permits(state: str, *, can_execute: bool | None) -> bool:
    """Tell whether a state lets entries pass; a missing flag or an unknown state blocks."""
    return can_execute is True and state.upper() in PERMITTING_STATES
