"""The page about the paper exchange names every control call, fault and preset that there is, and no other."""

import re
from pathlib import Path
from typing import Final

from paper_exchange.control.api import ACTIONS
from paper_exchange.core.assumptions import SWITCHES
from paper_exchange.http import faults
from paper_exchange.http.presets import PRESETS
from paper_exchange.http.routes import ROUTES
from paper_exchange.ws import faults as stream_faults

# Lists that take times or a page size.
_HISTORY: Final = re.compile(
    r"[tT]rades$|/all|income$|[aA]mendment|forceOrders|/history$|fundingRate|[kK]lines$|depth$"
)
PAGE: Final = (Path(__file__).parents[2] / "docs" / "paper-exchange.md").read_text()


def section(title: str) -> str:
    """Return what stands under a heading."""
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]


def rows(text: str) -> set[str]:
    """Return the words in code letters that begin the rows of a table."""
    firsts = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return {word for first in firsts for word in re.findall(r"`([^`]+)`", first)}


def test_every_control_call_is_described() -> None:
    assert rows(section("Control API")) == {f"{method} {path}" for method, path in ACTIONS}


def test_calls_that_survive_a_restart_are_marked() -> None:
    marked = set(re.findall(r"`([A-Z]+ /paper/[a-z/-]+)` ●", PAGE))
    assert marked == {f"{method} {path}" for (method, path), action in ACTIONS.items() if action.changes}


def test_every_fault_is_described() -> None:
    assert rows(section("Faults of requests")) == faults.ACTIONS
    assert rows(section("Faults of user streams")) == stream_faults.ACTIONS
    named = re.search(r"Presets: (.*?)\n429", section("Faults of requests"), re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+_\d+)`", named[1])) == set(PRESETS)


def test_every_switch_is_described_with_its_values() -> None:
    table = PAGE.split("### Switches\n", 1)[1].split("\n### ")[0]
    described = {
        name: tuple(re.findall(r"`(\w+)`", values))
        for name, values in re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE)
    }
    assert described == SWITCHES


def test_every_history_is_in_the_table_of_windows() -> None:
    listed = {f"/fapi/v1/{name}" for name in rows(section("Windows, pages and retention")) - {"symbol"}}
    histories = {path for method, path in ROUTES if method == "GET" and _HISTORY.search(path)}
    assert listed == histories
    # It should name them all as they are routed, and the shortest list of them is known.
    assert {"/fapi/v1/userTrades", "/fapi/v1/income", "/fapi/v1/allAlgoOrders", "/fapi/v1/klines"} < listed
