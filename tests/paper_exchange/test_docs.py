"""The page about the paper exchange names every control call, fault and preset that there is, and no other."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Final

from paper_exchange.config import CHOICES, Switches
from paper_exchange.control.api import ACTIONS
from paper_exchange.core.relisting import STATUSES
from paper_exchange.core.triggers import ACTIONS as TRIGGER_ACTIONS
from paper_exchange.http import faults
from paper_exchange.http.presets import PRESETS
from paper_exchange.ws import faults as stream_faults

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
    for name, default in asdict(Switches()).items():
        [line] = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
        _, _, told, others, *_ = line.split("|")
        values = {"true", "false"} if isinstance(default, bool) else set(CHOICES[name])
        assert told.strip() == f"`{str(default).lower()}`"
        assert set(re.findall(r"`(\w+)`", others)) == values - {str(default).lower()}
    switches = PAGE.split("## Assumptions\n")[1].split("| rule |")[0]
    assert rows(switches) == set(asdict(Switches()))


def test_every_trigger_action_is_described() -> None:
    described = PAGE.split("### Triggers by prescription\n", 1)[1].split("\n### ")[0]
    assert rows(described) == TRIGGER_ACTIONS


def test_every_status_is_described() -> None:
    assert rows(section("Status of a contract")) == set(STATUSES)
