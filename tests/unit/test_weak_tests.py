"""Tests that pass although something is wrong are found by reading them: each rule with what may break it."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("unit", "integration", "e2e", "paper_exchange", "local_stack", "security")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("test_*.py"))
REFUSED_STATES = frozenset({"DENIED", "REJECTED"})
# Any of these in a test's text says that it looks at why: a reason, a code, or a helper that returns both.
NAMES_A_REASON = ("reason", "_code", "verdict(", "refused(", "outcome(", "error")
# A wall-clock bound below this is broken by a machine that is busy for a moment.
LEAST_BOUND_SECONDS = 10
Found = Iterator[tuple[int, str]]


def names(node: ast.AST) -> set[str]:
    """Return what is called or named in an expression, without its owner: `time.sleep` is `sleep`."""
    attributes = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    return attributes | {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def constants(node: ast.AST) -> list[object]:
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]


def is_state_or_status(value: object) -> bool:
    """Whether it is a word as states, lanes and outcomes are written, or an answer of HTTP."""
    return (isinstance(value, str) and value.isupper()) or (isinstance(value, int) and 200 <= value < 600)


def asserted_comparisons(tree: ast.Module) -> Iterator[ast.Compare]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            yield node.test


def sleeps(tree: ast.Module) -> Found:
    """Find waits for a fixed time: they are too short on a busy machine, and lost time on any other."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}:
            yield node.lineno, ast.unparse(node)


def refusals_without_reason(tree: ast.Module) -> Found:
    """Find tests that assert a refusal and would pass whatever it was refused for."""
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            asserted = [value for node in ast.walk(test) if isinstance(node, ast.Assert) for value in constants(node)]
            refused = any(isinstance(value, str) and value in REFUSED_STATES for value in asserted)
            if refused and not any(word in ast.unparse(test) for word in NAMES_A_REASON):
                yield test.lineno, test.name


def one_of_several_outcomes(tree: ast.Module) -> Found:
    """Find assertions that one value is any of several states or answers, where one is right."""
    for test in asserted_comparisons(tree):
        choices = test.comparators[0]
        if isinstance(test.ops[0], ast.In) and isinstance(choices, ast.Set | ast.Tuple | ast.List):
            values = [each.value for each in choices.elts if isinstance(each, ast.Constant)]
            if len(choices.elts) > 1 and values and all(map(is_state_or_status, values)):
                yield test.lineno, ast.unparse(test)


def tight_wall_clock_bounds(tree: ast.Module) -> Found:
    """Find assertions that something took less than a few seconds of the computer's time."""
    for test in asserted_comparisons(tree):
        if names(test) & {"monotonic", "perf_counter"}:
            for op, bound in zip(test.ops, test.comparators, strict=True):
                value = bound.value if isinstance(bound, ast.Constant) else None
                small = isinstance(value, int | float) and value < LEAST_BOUND_SECONDS
                if isinstance(op, ast.Lt | ast.LtE) and small:
                    yield test.lineno, ast.unparse(test)


def root(node: ast.AST) -> str:
    """Return the name that an expression begins with: `desk` of `desk.ledger.fills[0]`, or "" without one."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def of_all(node: ast.expr) -> ast.expr | None:
    """Return what `all(...)` or `not any(...)` goes through, where it does so with conditions on each."""
    denied = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    call = node.operand if isinstance(node, ast.UnaryOp) else node
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != ("any" if denied else "all"):
        return None
    each = call.args[0]
    return each.generators[0].iter if isinstance(each, ast.GeneratorExp) else None


def is_written_out(node: ast.expr) -> bool:
    """Whether its items stand in the file, so that there are some: a display or a constant."""
    return isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict) or root(node).isupper()


def true_of_nothing(tree: ast.Module) -> Found:
    """Find `assert all(...)` that passes when there is nothing to look at: no other assertion looks at the same."""
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            asserted = [node for node in ast.walk(test) if isinstance(node, ast.Assert)]
            for node in asserted:
                through = of_all(node.test)
                others = {name for other in asserted if other is not node for name in names(other)}
                if through is not None and root(through) not in others and not is_written_out(through):
                    yield node.lineno, ast.unparse(node.test)


RULES: tuple[Callable[[ast.Module], Found], ...] = (
    sleeps,
    refusals_without_reason,
    one_of_several_outcomes,
    tight_wall_clock_bounds,
    true_of_nothing,
)
# What breaks a rule for a reason: rule, file, the line's text, and why.
ALLOWED = {
    # The load of sixty events is spread, so that the flushes fall between them.
    ("sleeps", "integration/test_redis_faults.py", "time.sleep(0.005)"),
    # The other end of a connection under attack stays open until the message has been judged.
    ("sleeps", "security/test_transport.py", "time.sleep(0.2)"),
    # Of random input each number is asked, however many there are.
    (
        "true_of_nothing",
        "unit/test_schemas.py",
        "all((number.is_finite() for number in numbers if number is not getattr(actual, 'new_value', None)))",
    ),
    (
        "true_of_nothing",
        "unit/test_brackets.py",
        "all((part == 0 or part >= least for part in (parts if hedged else parts[:-1])))",
    ),
    # A short value may stand in a sentence by chance: not every row has a long one.
    (
        "true_of_nothing",
        "security/test_live_profile.py",
        "not any((value in problem.sentence for value in given.values() if len(value) > 30))",
    ),
    # The pause of the code under test, which goes on after the test has counted it.
    ("sleeps", "integration/test_api_orders.py", "time.sleep(seconds)"),
    # Of random input any answer is right that is none of the server's own failures.
    ("one_of_several_outcomes", "paper_exchange/test_fuzz.py", "answer.status_code in {200, 400, 404}"),
    ("one_of_several_outcomes", "paper_exchange/test_fuzz.py", "answer.status_code in {200, 400}"),
    ("one_of_several_outcomes", "paper_exchange/test_fuzz_orders.py", "answer.status_code in {200, 400}"),
    ("one_of_several_outcomes", "integration/test_incoming_properties.py", "answer.status_code in {200, 400}"),
    ("one_of_several_outcomes", "integration/test_incoming_properties.py", "answer.status_code in {202, 400}"),
    (
        "one_of_several_outcomes",
        "integration/test_incoming_properties.py",
        "client.get(path).status_code in {200, 503}",
    ),
    # Settled is what a stopped worker leaves: whether its last commit came before the signal is not ours to say.
    ("one_of_several_outcomes", "e2e/test_protector.py", "state in {'PROTECTED', 'FILLED'}"),
    # Its name is the test's subject; the words are of the state tables, not of a refusal.
    ("refusals_without_reason", "unit/test_states.py", "test_the_named_sets_of_states_are_those_of_the_tables"),
    # The order that was refused is a step of the arrangement: its leg is what is asked about.
    (
        "refusals_without_reason",
        "integration/test_refused_exits.py",
        "test_a_refused_close_of_a_target_does_not_hold_up_the_stop",
    ),
}


@cache
def trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text()) for file in FILES}


@cache
def broken(rule: Callable[[ast.Module], Found]) -> dict[tuple[str, str, str], int]:
    """Return what breaks a rule, each with a line that does."""
    found = {}
    for file, tree in trees().items():
        for line, text in rule(tree):
            found[rule.__name__, file.relative_to(ROOT).as_posix(), text] = line
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_test_is_of_a_weak_kind(rule: Callable[[ast.Module], Found]) -> None:
    found = {key: line for key, line in broken(rule).items() if key not in ALLOWED}

    assert found == {}, rule.__doc__


def test_every_exception_is_still_needed() -> None:
    every = {key for rule in RULES for key in broken(rule)}

    assert every >= ALLOWED
    assert len(FILES) > 150


@pytest.mark.parametrize(
    ("rule", "weak", "strong"),
    [
        (sleeps, "def test_a(): time.sleep(1)", "def test_a(): eventually(probe, within=5)"),
        (
            refusals_without_reason,
            "def test_a(): assert desk.run(pk) == 'DENIED'",
            "def test_a(): assert desk.outcome(pk) == ('DENIED', 'SYMBOL_NOT_ALLOWED')",
        ),
        (one_of_several_outcomes, "assert state in {'FILLED', 'CANCELED'}", "assert state == 'FILLED'"),
        (one_of_several_outcomes, "assert answer.status_code in (200, 503)", "assert answer.status_code == 200"),
        (
            tight_wall_clock_bounds,
            "assert time.monotonic() - began < 2",
            "assert time.monotonic() - began < 60",
        ),
        (
            true_of_nothing,
            "def test_a(): assert all(row.ok for row in found)",
            "def test_a():\n assert len(found) == 2\n assert all(row.ok for row in found)",
        ),
        (
            true_of_nothing,
            "def test_a(): assert not any(key in row for row in desk.ledger.requests)",
            "def test_a(): assert not any(key in row for row in ROWS)",
        ),
        (tight_wall_clock_bounds, "assert 1 <= monotonic() - began <= 3", "assert monotonic() - began >= 1"),
    ],
)
def test_each_rule_finds_its_kind(rule: Callable[[ast.Module], Found], weak: str, strong: str) -> None:
    assert len(list(rule(ast.parse(weak)))) == 1
    assert list(rule(ast.parse(strong))) == []
