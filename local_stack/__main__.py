"""`python -m local_stack run|demo`: says at once that something begins, and only then loads what takes a second."""

import sys
from importlib import import_module

from local_stack.console import Console

COMMANDS = ("run", "demo")


def main(arguments: list[str]) -> int:
    """Run one of the commands and return its exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m local_stack {'|'.join(COMMANDS)}", file=sys.stderr)  # noqa: T201 - a command speaks
        return 2
    console = Console()
    with console.never_silent():
        console.progress("Loading ...")
        code: int = import_module(f"local_stack.{arguments[0]}").main(console)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
