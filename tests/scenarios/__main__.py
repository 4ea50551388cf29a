"""Command line of the trading scenarios: `python -m tests.scenarios [--only target,stop]`; `make scenarios`.

It prints a line for every figure, writes `.local/scenarios.json`, and exits 1 when one is not as computed by hand.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tests.scenarios.report import Verdict, summary, table
from tests.support.house import House, house
from tests.support.paper import PaperExchange

if TYPE_CHECKING:
    from tests.scenarios.scenario import Scenario

# Each adds its own scenarios, in the order of the table.
PAGES = ("exits", "entries", "others", "blindness", "endings", "dollars", "filters", "long_lives", "options")
REPORT = Path(__file__).resolve().parents[2] / ".local" / "scenarios.json"


def main() -> int:
    options = parser().parse_args()
    with house(PaperExchange()) as here:
        verdicts = list(run(here, chosen(options.only)))
    say(f"\n{table(verdicts)}\n\n{summary(verdicts)}")
    ok = bool(verdicts) and all(verdict.is_green for verdict in verdicts)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"ok": ok, "scenarios": [each.as_json() for each in verdicts]}, indent=2) + "\n")
    return 0 if ok else 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.scenarios", description="Play the trading scenarios.")
    found.add_argument("--only", default="", help="only scenarios whose name has one of these words: target,stop")
    return found


def chosen(words: str) -> list["Scenario"]:
    """Return the scenarios asked for, all without a word; Django must be set up."""
    from tests.scenarios.scenario import SCENARIOS  # noqa: PLC0415 -- Django is set up by now

    for name in PAGES:
        import_module(f"tests.scenarios.{name}")
    return [each for each in SCENARIOS if any(word in each.name for word in words.split(","))]


def run(here: House, scenarios: Sequence["Scenario"]) -> Iterator[Verdict]:
    """Play each on an empty desk; one that breaks off is red, and the next one is played."""
    for scenario in scenarios:
        verdict = play(here, scenario)
        say(f"{'green' if verdict.is_green else 'RED  '} {verdict.name}")
        yield verdict


def play(here: House, scenario: "Scenario") -> Verdict:
    from tests.scenarios.scenario import played  # noqa: PLC0415 -- as above

    started, error = time.monotonic(), ""
    got: dict[str, str] = {}
    try:
        got = played(scenario, here.open_desk())
    except Exception as surprise:  # noqa: BLE001 -- whatever went wrong, this scenario is red
        error = f"{type(surprise).__name__}: {str(surprise).splitlines()[0] if str(surprise) else ''}"
    seconds = time.monotonic() - started
    return Verdict(name=scenario.name, expected=scenario.expected, got=got, seconds=seconds, error=error)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
