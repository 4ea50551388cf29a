"""Whether the emergency stop lets an entry pass, whatever vocabulary the neighbour speaks."""

from dataclasses import dataclass

BLOCKING_STATES = frozenset({"CRITICAL", "TRIPPED", "COOLING_DOWN"})
PERMITTING_STATES = frozenset({"ARMED", "DISABLED", "NORMAL", "CAUTION"})


@dataclass(frozen=True, kw_only=True)
class EssDecision:
    """The emergency stop's answer for one entry, with its evidence.

    `age_seconds` is the age of the evidence, None without one.
    """

    permitted: bool
    state: str
    evidence: str
    age_seconds: float | None = None


def permits(state: str, *, can_execute: bool | None) -> bool:
    """Whether a state lets entries pass. A missing flag or an unknown state blocks."""
    return can_execute is True and state.upper() in PERMITTING_STATES
