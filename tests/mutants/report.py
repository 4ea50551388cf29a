"""Counts what the tests have killed, holds it against the bounds, and writes the table."""

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.mutants.targets import STRICT

EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
LEAST_PERCENT = 95


def read_equivalents() -> dict[str, str]:
    """Return the reason why each listed mutant cannot be killed.

    Raises:
        ValueError: a mutant stands there twice, or without a reason.

    """
    rows = tomllib.loads(EQUIVALENTS.read_text(encoding="utf-8")).get("equivalent", [])
    found: dict[str, str] = {}
    for row in rows:
        for name in row["mutants"]:
            if name in found or not row["reason"].strip():
                raise ValueError(f"{EQUIVALENTS.name}: listed twice or without a reason: {name}")
            found[name] = row["reason"]
    return found


@dataclass(frozen=True, kw_only=True)
class Run:
    """When a run began, by which command, of which commit, and for how long; `seconds` by the clock on the wall."""

    command: str
    day: date
    commit: str
    seconds: float

    @property
    def facts(self) -> Mapping[str, str]:
        minutes = f"{self.seconds / 60:.0f} min"
        return {"command": f"`{self.command}`", "date": f"{self.day}, {minutes}, commit {self.commit}"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run: whether each mutant was killed, which mutants exist, and which are known to change nothing."""

    killed: Mapping[str, bool]
    existing: set[str]
    equivalents: Mapping[str, str]
    # Whether every mutant was tried, so that the list of equivalents can be held against the run.
    whole: bool

    @cached_property
    def survivors(self) -> list[str]:
        """Return the mutants that live and are not listed."""
        return sorted(name for name, killed in self.killed.items() if not killed and name not in self.equivalents)

    @property
    def strict_survivors(self) -> list[str]:
        return [name for name in self.survivors if module_of(name) in STRICT]

    @cached_property
    def stale(self) -> list[str]:
        """Return what is listed and is killed, or is no mutant of its module any more."""
        modules = {module_of(name) for name in self.existing}
        return [
            name
            for name in self.equivalents
            if self.killed.get(name) or (module_of(name) in modules and name not in self.existing)
        ]

    @property
    def counted(self) -> int:
        return sum(name not in self.equivalents for name in self.killed)

    @property
    def percent(self) -> float:
        return 100 * (1 - len(self.survivors) / self.counted) if self.counted else 0.0

    @property
    def ok(self) -> bool:
        return self.percent >= LEAST_PERCENT and not self.strict_survivors and not self.stale

    @property
    def verdict(self) -> str:
        return "green" if self.ok else "RED"

    def rows(self) -> list[tuple[str, int, int, int]]:
        """Return of each module its mutants, the killed ones, and the equivalent ones."""
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for name, killed in self.killed.items():
            row = counts[module_of(name)]
            row[0] += 1
            row[1] += killed
            row[2] += name in self.equivalents
        return [(module, *counts[module]) for module in sorted(counts)]  # type: ignore[misc]

    def text(self, *, verbose: bool) -> str:
        lines = [f"{'module':<42}{'mutants':>8}{'killed':>8}{'equivalent':>12}{'rate':>9}"]
        for module, mutants, killed, equal in self.rows():
            mark = " strict" if module in STRICT else ""
            rate = f"{100 * killed / (mutants - equal):.1f} %" if mutants > equal else "-"
            lines.append(f"{module + mark:<42}{mutants:>8}{killed:>8}{equal:>12}{rate:>9}")
        share = f"{self.percent:.2f} % killed (least {LEAST_PERCENT} %)"
        lines.append(f"{self.counted} mutants that change something, {share}")
        lines += [f"SURVIVED in a strict module: {name}" for name in self.strict_survivors]
        lines += [f"survived: {name}" for name in self.survivors if module_of(name) not in STRICT]
        lines += [f"STALE in {EQUIVALENTS.name}: {name}" for name in self.stale]
        if verbose:
            lines += [
                f"equivalent: {name}: {reason}" for name, reason in self.equivalents.items() if name in self.killed
            ]
        return "\n".join(lines)

    def page(self, run: Run) -> str:
        """Return the page of a run: totals, a row for each module, survivors, and equivalents with reasons."""
        words = "whole run" if self.whole else "run of a part"
        lines = [
            f"# Mutants: the last {words}",
            "",
            "Written by the command below; how to read it: [mutants.md](mutants.md).",
            "",
            *(f"- {name}: {value}" for name, value in run.facts.items()),
            f"- result: {self.verdict}, {self.counted} mutants that change something, {self.percent:.2f} % killed",
            "",
            "| module | mutants | killed | alive | equivalent | killed of those that change something |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for module, mutants, killed, equal in self.rows():
            name = f"**{module}**" if module in STRICT else module
            share = f"{100 * killed / ((mutants - equal) or 1):.1f} %"
            lines.append(f"| {name} | {mutants} | {killed} | {mutants - killed - equal} | {equal} | {share} |")
        lines += ["", "Bold: strict, no survivor that is not equivalent.", "", "## Survivors", ""]
        lines += [f"- `{name}`" for name in self.survivors] or ["None."]
        lines += ["", "## Equivalents", ""]
        tried = {name: reason for name, reason in self.equivalents.items() if name in self.killed}
        for reason in dict.fromkeys(tried.values()):
            names = [name for name, other in tried.items() if other == reason]
            lines += [reason, "", *(f"- `{name}`" for name in names), ""]
        return "\n".join(lines).rstrip() + "\n"

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "whole": self.whole,
            "percent": round(self.percent, 2),
            "modules": [
                {"module": module, "mutants": mutants, "killed": killed, "equivalent": equal}
                for module, mutants, killed, equal in self.rows()
            ],
            "survivors": self.survivors,
            "stale": self.stale,
        }


def module_of(name: str) -> str:
    return name.partition(":")[0]
