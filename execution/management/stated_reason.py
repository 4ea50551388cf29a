"""The reason that an operator gives on the command line: it is written to the log, so an empty one is no reason."""

from argparse import ArgumentTypeError


def stated_reason(text: str) -> str:
    """Return the reason without surrounding space; `type=` of an argument.

    Raises:
        ArgumentTypeError: nothing is left of it.

    """
    reason = text.strip()
    if not reason:
        raise ArgumentTypeError("a reason is required: it is written to the log")
    return reason
