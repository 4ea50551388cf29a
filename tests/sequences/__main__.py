"""Command line of the sequences: `python -m tests.sequences`; `make sequences`, `make sequences SEQUENCES=200 SEED=3`.

It prints what was done and every broken promise, writes `.local/sequences.json`, and exits 1 when one was broken.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak.report import Figure, table
from tests.support.house import house
from tests.support.paper import PaperExchange

if TYPE_CHECKING:
    from tests.sequences.run import Outcome

REPORT = Path(__file__).resolve().parents[2] / ".local" / "sequences.json"
SEQUENCES, AT_ONCE, SEED = "2000", "20", "1"


def main() -> int:
    options = parser().parse_args()
    started = time.monotonic()
    with house(PaperExchange("--balance", "1000000")) as here:
        from tests.sequences.run import play  # noqa: PLC0415 -- models can be imported once Django is set up

        outcome = play(
            here,
            first=options.first,
            count=options.sequences,
            at_once=options.at_once,
            seed=options.seed,
            say=say,
        )
    for broken in outcome.broken:
        say(f"\nBROKEN {broken.number} {broken.symbol}: {broken.what}\n  " + "\n  ".join(broken.log))
    figures = figures_of(outcome, options.sequences)
    ok = all(figure.ok for figure in figures)
    seconds = round(time.monotonic() - started)
    say(f"\n{table(figures)}\n\n{outcome.played} sequences in {seconds} s, seed {options.seed}.")
    told = {"ok": ok, "sequences": outcome.played, "seconds": seconds, "seed": options.seed}
    told |= {"figures": [figure.as_json() for figure in figures], "broken": [asdict(each) for each in outcome.broken]}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(told, indent=2) + "\n")
    return 0 if ok else 1


def figures_of(outcome: "Outcome", wanted: int) -> list[Figure]:
    """Return what was done, for information, and the figures that have an aim."""
    played, broken = outcome.played, len(outcome.broken)
    return [
        *(Figure(name=name, got=str(times)) for name, times in sorted(outcome.done.items())),
        Figure(name="longest without full cover, cycles", got=str(outcome.longest_unprotected_cycles)),
        Figure(name="sequences played", got=str(played), aim=f"= {wanted}", ok=played == wanted),
        Figure(name="sequences broken", got=str(broken), aim="= 0", ok=not broken),
    ]


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.sequences", description="Random terms, decisions and fills.")
    found.add_argument("--sequences", type=int, default=int(os.environ.get("SEQUENCES") or SEQUENCES))
    found.add_argument("--first", type=int, default=1, help="the number to begin with")
    found.add_argument("--at-once", type=int, default=int(AT_ONCE), help="sequences side by side")
    found.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or SEED))
    return found


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
