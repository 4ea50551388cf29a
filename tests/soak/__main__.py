"""Command line of the soak: `python -m tests.soak`; `make soak`, `make soak SOAK_MINUTES=10 SEED=3`, `SOAK_DAYS=60`.

It prints the table, writes `.local/soak.json`, and exits 1 when a figure misses its aim.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.soak.report import Figure, table
from tests.support.house import House, house
from tests.support.paper import PaperExchange

REPORT = Path(__file__).resolve().parents[2] / ".local" / "soak.json"
MINUTES, SEED = "120", "1"


def main() -> int:
    options = parser().parse_args()
    started = time.monotonic()
    with house(PaperExchange("--balance", "1000000")) as here:
        figures, more = by_days(here, options) if options.days else by_minutes(here, options)
    seconds = round(time.monotonic() - started)
    ok = all(figure.ok for figure in figures)
    span = f"{options.days:g} days" if options.days else f"{options.minutes:g} minutes"
    say(f"\n{table(figures)}\n\n{span} of market time in {seconds} s, seed {options.seed}: {'green' if ok else 'RED'}.")
    write({"ok": ok, "seconds": seconds, "seed": options.seed, **more, "figures": [row.as_json() for row in figures]})
    return 0 if ok else 1


def by_minutes(here: House, options: argparse.Namespace) -> tuple[Sequence[Figure], dict[str, Any]]:
    from tests.soak.run import Soak  # noqa: PLC0415 -- models can be imported once Django is set up

    figures = Soak(desk=here.open_desk(), minutes=options.minutes, seed=options.seed, say=say).run()
    return figures, {"market_minutes": options.minutes}


def by_days(here: House, options: argparse.Namespace) -> tuple[Sequence[Figure], dict[str, Any]]:
    from tests.soak.days import DaysSoak  # noqa: PLC0415 -- as above

    # Every other seed trades in hedge mode.
    hedge = options.seed % 2 == 0 if options.hedge is None else options.hedge
    say(f"{options.days:g} market days, seed {options.seed}, {'hedge' if hedge else 'one-way'} mode")
    soak = DaysSoak(house=here, days=options.days, seed=options.seed, hedge=hedge, say=say)
    return soak.run(until=options.until), soak.report()


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.soak", description="Trade for hours or weeks of market time.")
    found.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or MINUTES))
    found.add_argument("--days", type=float, default=float(os.environ.get("SOAK_DAYS") or 0), help="the long form")
    found.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or SEED))
    found.add_argument("--until", type=float, default=None, help="stop the long form after that market day")
    mode = found.add_mutually_exclusive_group()
    mode.add_argument("--hedge", dest="hedge", action="store_true", default=None, help="hedge mode, whatever the seed")
    mode.add_argument("--one-way", dest="hedge", action="store_false", help="one-way mode, whatever the seed")
    return found


def write(report: dict[str, Any]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2, default=str) + "\n")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
