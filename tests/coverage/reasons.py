"""Why a line or branch of these functions is not run by any measured process, by file and function."""

REASONS: dict[tuple[str, str], str] = {}
NONE_GIVEN = "no reason given"


def reason_for(path: str, function: str) -> str:
    """Return the reason for what is left of a function, or NONE_GIVEN."""
    return REASONS.get((path, function), NONE_GIVEN)
