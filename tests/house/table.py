"""The checks: what each measures, what it was before, what is allowed now, and the goal."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.house import imports, names
from tests.house.source import ROOT, modules

STEPS = ("check_ess", "guard_safety", "place_order", "protect_position", "record_trade")
LONGEST_STEP = 80
ROOMS_OF_ROWS = frozenset({"store", "queries", "models", "admin"})


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure of the house. Less is better; `allowed` is what it may be today, and only ever becomes less."""

    name: str
    before: float
    allowed: float
    goal: float
    measure: Callable[[], float]


def outside_the_chain() -> int:
    """Return the modules of the pipeline that are no step, and the steps that are too long."""
    rooms = [module for module in modules() if module.room == "pipeline" and module.path.name != "__init__.py"]
    steps = [module for module in rooms if module.path.stem in STEPS]
    long = [module for module in steps if len(module.text.splitlines()) > LONGEST_STEP]
    return len(rooms) - len(steps) + len(long)


def ignored_imports() -> int:
    """Return the imports that a contract lets pass by name."""
    text = (ROOT / ".importlinter").read_text()
    blocks = re.findall(r"^ignore_imports\s*=\s*\n((?:[ \t]+\S.*\n?)+)", text, re.MULTILINE)
    return sum(len([line for line in block.splitlines() if "->" in line]) for block in blocks)


def _uses(pattern: str, *, outside: frozenset[str] = frozenset()) -> int:
    return sum(len(re.findall(pattern, module.text)) for module in modules() if module.room not in outside)


CHECKS = (
    Check(
        name="modules of the pipeline that are no short step", before=52, allowed=0, goal=0, measure=outside_the_chain
    ),
    Check(name="imports that a contract ignores", before=4, allowed=0, goal=0, measure=ignored_imports),
    Check(
        name="longest chain of imports", before=27, allowed=29, goal=15, measure=lambda: len(imports.longest_chain())
    ),
    Check(name="imports within the package a file", before=4.8, allowed=5.4, goal=3.5, measure=imports.imports_a_file),
    Check(
        name="private helpers with one caller, %",
        before=68,
        allowed=64.3,
        goal=50,
        measure=imports.helpers_with_one_caller,
    ),
    Check(name="public names defined twice", before=18, allowed=0, goal=0, measure=lambda: len(names.doubled())),
    Check(name="replaced words", before=900, allowed=0, goal=0, measure=lambda: names.banned_uses().total()),
    Check(
        name="definitions of protected outside coverage",
        before=7,
        allowed=0,
        goal=0,
        measure=lambda: len(names.definitions_of_protected()),
    ),
    Check(
        name=".objects. outside store, queries, models and admin",
        before=229,
        allowed=40,
        goal=60,
        measure=lambda: _uses(r"\.objects\.", outside=ROOMS_OF_ROWS),
    ),
    Check(
        name="cursor.execute outside store",
        before=18,
        allowed=0,
        goal=0,
        measure=lambda: _uses(r"cursor\.execute\(", outside=frozenset({"store"})),
    ),
    Check(name="clocks spelt out", before=27, allowed=1, goal=1, measure=lambda: _uses(r"Callable\[\[\], datetime\]")),
    Check(name="Any", before=222, allowed=80, goal=80, measure=lambda: _uses(r"\bAny\b")),
    Check(name="first lines that are too long, %", before=29, allowed=1.5, goal=2, measure=names.long_first_lines),
)
