"""Runs unmodified third-party clients against the paper exchange: `python -m tests.clients [--client NAME]`.

It prints a table client x capability, writes `.local/test-clients.json` and, after a whole run, the page in `docs`,
and exits 1 when a cell is red.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Final

from tests.clients.capabilities import CAPABILITIES
from tests.clients.environments import ROOT, Environment, InstallError
from tests.clients.report import Cell, Column, Report
from tests.support.paper import PaperExchange, _die_with_parent

CLIENTS: Final = ("connector", "ccxt", "python-binance", "official-sdk", "nautilus")
# For a client older than the routed streams and RPI orders.
OPTIONS: Final = {"nautilus": ("--legacy-streams", "--assume", "rpi_in_times=false")}
JSON: Final = ROOT / ".local" / "test-clients.json"
PAGE: Final = ROOT / "docs" / "client-compatibility.md"
RUN_TIMEOUT_S: Final = 240


def main() -> int:
    options = parser().parse_args()
    chosen = [name for name in CLIENTS if name in (options.client or CLIENTS)]
    started = time.monotonic()
    columns = [examine(Environment(name=name)) for name in chosen]
    report = Report(columns=columns, seconds=time.monotonic() - started)
    verdict = "All is well." if report.ok else "There are red cells."
    say(f"\n{report.as_text()}\n\n{report.seconds:.0f} s in all. {verdict}")
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if chosen == list(CLIENTS):
        PAGE.write_text(report.as_page())
    return 0 if report.ok else 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    found.add_argument("--client", choices=CLIENTS, action="append", help="only this client; may be given again")
    return found


def examine(environment: Environment) -> Column:
    """Install one client and put it through all capabilities, on an exchange of its own."""
    started = time.monotonic()
    try:
        was_installed = environment.install()
    except InstallError as error:
        say(f"{environment.client} cannot be installed: {error}")
        cells = dict.fromkeys(CAPABILITIES, Cell(ok=False, detail="cannot be installed"))
        return Column(client=environment.client, cells=cells, install_s=time.monotonic() - started, run_s=0)
    installed = time.monotonic()
    if was_installed:
        say(f"{environment.client}: installed in {installed - started:.0f} s")
    with PaperExchange(*OPTIONS.get(environment.name, ())) as exchange:
        cells = run(environment, exchange)
    column = Column(
        client=environment.client, cells=cells, install_s=installed - started, run_s=time.monotonic() - installed
    )
    say(f"{environment.client}: {len(column.red)} red, {column.run_s:.0f} s")
    return column


def run(environment: Environment, exchange: PaperExchange) -> dict[str, Cell]:
    """Run a client's script; what it did not report is red."""
    found: dict[str, Cell] = {}
    command = [str(environment.python), "-m", f"tests.clients.{environment.name.replace('-', '_')}_client"]
    command += ["--rest", exchange.url, "--streams", exchange.stream_url, "--key", exchange.key]
    with environment.log.open("w") as log:
        # Nothing of our own settings: no proxies, no paths, no keys.
        script = subprocess.Popen(
            ["nice", *command, "--secret", exchange.secret],
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(environment.folder), "NO_PROXY": "*"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, nothing that could take a lock
        )
        try:
            output, _ = script.communicate(timeout=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            script.kill()
            output, _ = script.communicate()
    for line in output.splitlines():
        told = json.loads(line)
        found[told["capability"]] = Cell(ok=told["ok"], detail=told["detail"])
    silent = Cell(ok=False, detail=f"the script said nothing of it, see {environment.log.relative_to(ROOT)}")
    return {name: found.get(name, silent) for name in CAPABILITIES}


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
