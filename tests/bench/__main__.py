"""Command line of the benchmark: `python -m tests.bench [--section NAME] [--profile]`; `make bench SECTION=NAME`.

It prints a table, writes `.local/bench.json`, and exits 1 when a bound is broken.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from local_stack.command import execute
from local_stack.console import Console
from local_stack.settings import STATE, Settings
from tests.bench import exchange, flatten, legs, limiter, monitor, pipeline, protection, stop, viewers, webhook
from tests.bench.report import COLUMNS, Outcome, print_table
from tests.bench.stack import ENVIRONMENT

SECTIONS: dict[str, Callable[[Settings, Console], Awaitable[Outcome]]] = {
    "pipeline": pipeline.run,
    "exchange": exchange.run,
    "limiter": limiter.run,
    "protection": protection.run,
    "monitor": monitor.run,
    "stop": stop.run,
    "flatten": flatten.run,
    "legs": legs.run,
    "webhook": webhook.run,
    "viewers": viewers.run,
}
REPORT = STATE / "bench.json"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the service against its bounds.")
    found.add_argument("--section", choices=SECTIONS, action="append", help="only this section; may be given again")
    found.add_argument("--profile", action="store_true", help="also print what each step and each program takes")
    return found


async def bench(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    machine = describe_machine()
    console.line(f"{machine['cpus']} processors, Python {machine['python']}, load {machine['load']} at the start")
    outcomes = {}
    for name in options.section or SECTIONS:
        outcomes[name] = await SECTIONS[name](settings, console)
        show(console, name, outcomes[name], with_profile=options.profile)
    ok = all(figure.is_ok for outcome in outcomes.values() for figure in outcome.figures)
    report = {"ok": ok, "machine": machine, "sections": {name: found.as_json() for name, found in outcomes.items()}}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    console.line(f"\nWritten to {REPORT}. {'Every bound holds.' if ok else 'A bound is broken.'}")
    return 0 if ok else 1


def describe_machine() -> dict[str, str | int]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "python": platform.python_version(),
        "system": platform.platform(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def show(console: Console, name: str, outcome: Outcome, *, with_profile: bool) -> None:
    console.line(f"\nSection {name} ({', '.join(f'{key} {value}' for key, value in outcome.conditions.items())})\n")
    print_table(console, [COLUMNS, *(figure.cells() for figure in outcome.figures)])
    if not (with_profile and outcome.profile):
        return
    loads = list(outcome.profile)
    steps = list(dict.fromkeys(step for load in loads for step in outcome.profile[load]))
    console.line("\nMilliseconds a decision: medians of the steps, processor time of the programs\n")
    rows = [(step, *(f"{outcome.profile[load].get(step, 0):.2f}" for load in loads)) for step in steps]
    print_table(console, [("step", *loads), *rows])


def main() -> int:
    options = parser().parse_args()
    os.environ |= ENVIRONMENT
    return execute(partial(bench, options), Console(), exit_code_when_stopped=130)


if __name__ == "__main__":
    sys.exit(main())
