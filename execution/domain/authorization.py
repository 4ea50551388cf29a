"""Names the person behind something that is done by hand."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """Who decides something by hand, and why."""

    by: str
    reason: str
