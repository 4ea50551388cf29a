"""The tool that mutates: what it writes, how it counts, and that its list of equivalents is of mutants that exist."""

import ast
import importlib
from datetime import date
from types import ModuleType

import pytest

from execution.domain import limits
from tests.mutants.__main__ import command
from tests.mutants.mutation import Mutant, mutants_of
from tests.mutants.operators import alternatives
from tests.mutants.report import Report, Run, module_of, read_equivalents
from tests.mutants.sql import sql_mutants_of
from tests.mutants.targets import STRICT, Target, database_targets, pure_targets

EVERY = {target.name: target for target in (*pure_targets(), *database_targets())}
LIMITS = Target(name="domain/limits")


def written(source: str) -> list[str]:
    """All that may stand in the place of the nodes of an expression or a statement."""
    module = ModuleType("example")
    exec("from execution.domain.trading import Direction", vars(module))  # noqa: S102 -- a line of our own
    tree = ast.parse(source)
    return [
        ast.unparse(ast.fix_missing_locations(other)) for node in ast.walk(tree) for other in alternatives(node, module)
    ]


@pytest.mark.parametrize(
    ("source", "mutants"),
    [
        ("a < b", ["a <= b", "a > b"]),
        ("a >= b", ["a > b", "a <= b"]),
        ("a in b", ["a not in b"]),
        ("a - b", ["a + b", "a"]),
        ("a + b", ["a - b", "a", "b"]),
        # To multiply by a sign is to divide by it.
        ("a * b.sign", ["a", "b.sign"]),
        ("a and b", ["a or b", "b", "a"]),
        ("not a", ["a"]),
        ("-a", ["a"]),
        ("7", ["8", "6"]),
        ("True", ["False"]),
        ("'LONG'", ["'SHORT'"]),
        ("'A_REASON'", ["''"]),
        ("abs(a)", ["a"]),
        ("max(a, b)", ["min(a, b)"]),
        ("f(a, b)", ["f(b, a)"]),
        ("Direction.LONG", ["Direction.SHORT"]),
        ("a[1:b]", [":b", "1:", "2", "0"]),
        ("{a, b}", ["{b}", "{a}"]),
        ("f'{a} b'", ["f' b'"]),
    ],
)
def test_what_is_changed(source: str, mutants: list[str]) -> None:
    assert [text for text in written(source) if text != "pass"] == mutants


def test_a_jump_is_turned_and_left_out() -> None:
    assert written("for a in b:\n    continue") == ["break", "pass"]
    assert written("def f():\n    return a > b")[:2] == ["return None", "return not a > b"]


def test_every_change_of_a_module_has_a_name_of_its_own_and_can_be_compiled() -> None:
    found = mutants_of(LIMITS, limits)

    assert len({mutant.name for mutant in found}) == len(found) > 100
    # It should leave logs, docstrings and annotations alone
    assert not [mutant.name for mutant in found if '"""' in mutant.name]
    for mutant in found[:20]:
        assert mutant.compile(limits).co_filename.endswith("execution/domain/limits.py")


def test_each_part_of_the_sql_is_changed_in_its_place() -> None:
    found = sql_mutants_of(Target(name="store/slots"))
    changes = [mutant.sql for mutant in found if mutant.sql]

    assert len({mutant.name for mutant in found}) == len(found) == len(changes) > 100
    assert all(before != after for before, after in changes)
    texts = [after for _, after in changes]
    # It should be possible to lose the minute, the absolute value, and a state of the list
    assert any("approved_at > %(midnight)s" in text for text in texts)
    assert any("THEN (open.price - COALESCE(request.stop_price" in text for text in texts)
    assert any("NOT IN ('DENIED')" in text for text in texts)


def test_every_listed_equivalent_is_a_mutant_of_its_module() -> None:
    listed = read_equivalents()
    there: set[str] = set()
    for name in {module_of(name) for name in listed}:
        target = EVERY[name]
        found: list[Mutant] = [*mutants_of(target, importlib.import_module(target.module)), *sql_mutants_of(target)]
        there |= {mutant.name for mutant in found}

    assert [name for name in listed if name not in there] == []


STRICT_ONE, LOOSE = f"{STRICT[0]}: f: a => b", "domain/pnl: f: a => b"
MANY = {f"domain/pnl: f: {number} => b": True for number in range(100)}


@pytest.mark.parametrize(
    ("killed", "equivalents", "existing", "ok", "percent"),
    [
        (MANY, {}, set(), True, 100.0),
        (MANY | {LOOSE: False}, {}, set(), True, pytest.approx(100 * 100 / 101)),
        (MANY | {STRICT_ONE: False}, {}, set(), False, pytest.approx(100 * 100 / 101)),
        (MANY | {STRICT_ONE: False}, {STRICT_ONE: "why"}, {STRICT_ONE}, True, 100.0),
        # Listed, and killed, or gone: the list is stale.
        (MANY | {STRICT_ONE: True}, {STRICT_ONE: "why"}, {STRICT_ONE}, False, 100.0),
        (MANY, {LOOSE: "why"}, set(), False, 100.0),
        ({LOOSE: False, "domain/pnl: f: 0 => b": True}, {}, set(), False, 50.0),
    ],
)
def test_a_run_is_green_only_within_its_bounds(
    killed: dict[str, bool], equivalents: dict[str, str], existing: set[str], *, ok: bool, percent: float
) -> None:
    report = Report(killed=killed, existing={*killed, *existing}, equivalents=equivalents, whole=True)

    assert (report.ok, report.percent) == (ok, percent)
    assert report.verdict == ("green" if ok else "RED")


RUN = Run(command="make mutants", day=date(2026, 3, 2), commit="abc1234", seconds=1234.5)


def test_the_page_tells_command_date_and_each_module() -> None:
    killed = {STRICT_ONE: False, LOOSE: False, "domain/pnl: f: c => b": False, **dict(list(MANY.items())[:2])}
    report = Report(killed=killed, existing=set(killed), equivalents={LOOSE: "why", "x: f: a => b": "no"}, whole=True)

    lines = report.page(RUN).splitlines()
    assert lines[0] == "# Mutants: the last whole run"
    assert lines[4:7] == [
        "- command: `make mutants`",
        "- date: 2026-03-02, 21 min, commit abc1234",
        "- result: RED, 4 mutants that change something, 50.00 % killed",
    ]
    assert [line for line in lines if line.startswith("| ")][2:] == [
        f"| **{STRICT[0]}** | 1 | 0 | 1 | 0 | 0.0 % |",
        "| domain/pnl | 4 | 2 | 1 | 1 | 66.7 % |",
    ]
    # It should name what lives, and of what lives for a reason only what was tried
    assert lines[lines.index("## Survivors") + 2 :] == [
        f"- `{STRICT_ONE}`",
        "- `domain/pnl: f: c => b`",
        "",
        "## Equivalents",
        "",
        "why",
        "",
        f"- `{LOOSE}`",
    ]


def test_the_page_of_a_part_says_so_and_none_alive_is_none() -> None:
    lines = Report(killed=MANY, existing=set(MANY), equivalents={}, whole=False).page(RUN).splitlines()

    assert lines[0] == "# Mutants: the last run of a part"
    assert lines[lines.index("## Survivors") + 2] == "None."


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        ([], "make mutants"),
        (["--only", "domain/limits:", "--page"], 'make mutants ARGS="--only domain/limits: --page"'),
    ],
)
def test_the_command_of_a_run_can_be_typed_again(arguments: list[str], typed: str) -> None:
    assert command(arguments) == typed
