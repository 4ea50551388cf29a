"""Command line of the house's checks: `python -m tests.house [--goals] [--list NAME]`; `make house`.

It prints each figure with what it was, what is allowed now, and the goal. It exits 1 when one is above what is
allowed; with `--goals`, when one has not reached its goal.
"""

import argparse
import sys
from collections.abc import Sequence

from local_stack.console import Console
from tests.bench.report import print_table
from tests.house import imports, names
from tests.house.table import CHECKS

LISTS = {
    "chain": lambda: list(imports.longest_chain()),
    "doubled": lambda: [f"{name}: {', '.join(places)}" for name, places in names.doubled().items()],
    "words": lambda: [
        f"{count:5} {word} -> {names.banned()[word]}" for word, count in names.banned_uses().most_common()
    ],
    "protected": names.definitions_of_protected,
    "places": names.places_of_words,
    "first-lines": names.places_of_long_first_lines,
    "helpers": imports.places_of_helpers,
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.house", description="Measure how the house is built.")
    found.add_argument("--goals", action="store_true", help="fail where a goal is missed, not only what is allowed now")
    found.add_argument("--list", choices=sorted(LISTS), help="show what a figure is made of")
    return found


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    console = Console()
    if options.list:
        for line in LISTS[options.list]():
            console.line(line)
        return 0
    measured = [(check, round(check.measure(), 1)) for check in CHECKS]
    bound = [(check, now, check.goal if options.goals else check.allowed) for check, now in measured]
    rows = [
        (
            check.name,
            f"{check.before:g}",
            f"{now:g}",
            f"{check.allowed:g}",
            f"{check.goal:g}",
            "yes" if now <= most else "NO",
        )
        for check, now, most in bound
    ]
    print_table(console, [("check", "before", "now", "allowed", "goal", "holds"), *rows])
    return int(any(now > most for _, now, most in bound))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
