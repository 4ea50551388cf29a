"""The rules of the guard at their edges, and the page that shows them."""

import re
from pathlib import Path

import pytest

from tests.support.risk_rules import BOUNDARIES, Boundary, page

ROOT = Path(__file__).resolve().parents[2]
RULES = ("safety", "exits", "limits")


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda boundary: f"{boundary.rule}: {boundary.varies}")
def test_rule_passes_up_to_its_edge_and_refuses_beyond(boundary: Boundary) -> None:
    assert boundary.verdict(boundary.passes).refusal is None
    refused = boundary.verdict(boundary.refuses)
    assert refused.refusal is not None
    assert refused.numbers


def test_every_reason_that_the_rules_can_give_is_in_the_table() -> None:
    sources = "".join((ROOT / f"execution/domain/{name}.py").read_text() for name in RULES)

    shown = {boundary.verdict(boundary.refuses).refusal for boundary in BOUNDARIES}
    assert shown == set(re.findall(r"Reason\.([A-Z_]+)", sources))


def test_the_page_is_written_from_the_table() -> None:
    assert (ROOT / "docs/risk-rules.md").read_text() == page()
