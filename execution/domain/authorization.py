"""Names the operator behind an action by hand."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """The operator who acts by hand, and the reason."""

    by: str
    reason: str
