"""Command line of the soak: `python -m tests.soak`; `make soak`, `make soak SOAK_MINUTES=10 SEED=3`.

It prints the table, writes `.local/soak.json`, and exits 1 when a figure misses its aim.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.soak.report import table
from tests.support.house import house
from tests.support.paper import PaperExchange

REPORT = Path(__file__).resolve().parents[2] / ".local" / "soak.json"
MINUTES, SEED = "120", "1"


def main() -> int:
    options = parser().parse_args()
    started = time.monotonic()
    with house(PaperExchange("--balance", "1000000")) as here:
        from tests.soak.run import Soak  # noqa: PLC0415 -- models can be imported once Django is set up

        figures = Soak(desk=here.open_desk(), minutes=options.minutes, seed=options.seed, say=say).run()
    seconds = round(time.monotonic() - started)
    ok = all(figure.ok for figure in figures)
    say(f"\n{table(figures)}\n\n{options.minutes:g} minutes of market time in {seconds} s, seed {options.seed}.")
    told = {"ok": ok, "market_minutes": options.minutes, "seconds": seconds, "seed": options.seed}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({**told, "figures": [figure.as_json() for figure in figures]}, indent=2) + "\n")
    return 0 if ok else 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.soak", description="Trade for hours of market time.")
    found.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or MINUTES))
    found.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or SEED))
    return found


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
