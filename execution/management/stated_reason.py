"""The reason of an operator's command. It is written to the log, so an empty one is refused."""

from argparse import ArgumentTypeError


def stated_reason(text: str) -> str:
    """Return the reason without surrounding space. It is the `type=` of an argument.

    Raises:
        ArgumentTypeError: nothing is left of it.

    """
    reason = text.strip()
    if not reason:
        raise ArgumentTypeError("a reason is required: it is written to the log")
    return reason
