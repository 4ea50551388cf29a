"""The rules of the guard at their edges, and the page that shows them."""

import ast
import re
from pathlib import Path

import pytest

from execution.domain.limits import judge_limits
from tests.support.risk_rules import BOUNDARIES, IDLE, STAKE, Boundary, page, policy

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = [path.read_text() for path in sorted((ROOT / "execution/domain").glob("*.py"))]
JUDGES = [source for source in DOMAIN if "review.check(" in source]
LIMITS = (ROOT / "execution/domain/limits.py").read_text()
TRUE_RANGE = (ROOT / "execution/domain/true_range.py").read_text()


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda boundary: f"{boundary.rule}: {boundary.varies}")
def test_rule_passes_up_to_its_edge_and_refuses_beyond(boundary: Boundary) -> None:
    assert boundary.verdict(boundary.passes).refusal is None
    refused = boundary.verdict(boundary.refuses)
    assert refused.refusal is not None
    assert refused.numbers


def test_every_reason_that_the_rules_can_give_is_in_the_table() -> None:
    sources = "".join([*JUDGES, LIMITS, TRUE_RANGE])

    shown = {boundary.verdict(boundary.refuses).refusal for boundary in BOUNDARIES}
    assert shown == set(re.findall(r"Reason\.([A-Z_]+)", sources))


def test_every_rule_that_can_refuse_is_in_the_table() -> None:
    shown = {boundary.rule for boundary in BOUNDARIES}

    # Each limit speaks to every entry.
    assert {verdict.rule for verdict in judge_limits(STAKE, IDLE, policy())} <= shown
    for pattern in rules_checked():
        assert any(re.fullmatch(pattern, rule) for rule in shown), pattern


def rules_checked() -> set[str]:
    """Patterns of the names under which the guard's sources call `check`."""
    calls = (node for source in JUDGES for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    checks = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "check"]
    assert len(checks) > 15
    return {re.sub(r"\{.*?\}", ".+", ast.unparse(call.args[0]).strip("f'")) for call in checks}


def test_the_page_is_written_from_the_table() -> None:
    assert (ROOT / "docs/risk-rules.md").read_text() == page()
