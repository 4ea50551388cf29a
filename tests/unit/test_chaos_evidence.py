"""A row of the fault matrix that proves no fault fails; every story proves one, and counts it where it can be seen."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.chaos import rows as stories
from tests.chaos.evidence import Evidence
from tests.chaos.matrix import ROWS
from tests.support.paper import PaperExchange

assert stories.__all__, "importing the stories enters them into the matrix"
PACKAGE = "tests.chaos"


@dataclass(kw_only=True)
class Story(Evidence):
    """Evidence without exchange and service: the books answer what a test says."""

    books: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def paper(self) -> PaperExchange:
        raise NotImplementedError

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        assert query.startswith("SELECT")
        del parameters
        return self.books


def test_story_without_a_strike_fails() -> None:
    with pytest.raises(AssertionError, match="the row proved no fault"):
        Story().has_struck()


@pytest.mark.parametrize("bounds", [{"exactly": 3}, {"between": (1, 3)}])
def test_number_within_its_bounds_is_recorded(bounds: dict[str, Any]) -> None:
    story = Story()
    story.struck("answers lost", 3, **bounds)
    story.has_struck()
    assert story.strikes == {"answers lost": 3}
    assert story.notes == ["3 answers lost"]


@pytest.mark.parametrize(
    ("times", "bounds", "wanted"),
    [
        (0, {"exactly": 1}, "0 answers lost, not 1"),
        (2, {"exactly": 1}, "2 answers lost, not 1"),
        (0, {"between": (1, 4)}, "0 answers lost, not 1 to 4"),
        (5, {"between": (1, 4)}, "5 answers lost, not 1 to 4"),
    ],
)
def test_number_outside_its_bounds_fails(times: int, bounds: dict[str, Any], wanted: str) -> None:
    story = Story()
    with pytest.raises(AssertionError, match=wanted):
        story.struck("answers lost", times, **bounds)
    with pytest.raises(AssertionError, match="proved no fault"):
        story.has_struck()


@pytest.mark.parametrize(
    "bounds", [{}, {"exactly": 0}, {"between": (0, 4)}, {"between": (3, 2)}, {"exactly": 1, "between": (1, 2)}]
)
def test_bounds_that_prove_nothing_are_an_error(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="answers lost"):
        Story().struck("answers lost", 1, **bounds)


@pytest.mark.parametrize(("traded", "holds"), [(0, False), (1, True)])
def test_cell_in_which_nothing_was_traded_fails(traded: int, holds: bool) -> None:  # noqa: FBT001 -- a table
    story = Story(books=[(traded,)])
    if holds:
        story.has_traded()
        return
    with pytest.raises(AssertionError, match="nothing was traded"):
        story.has_traded()


@pytest.mark.parametrize(
    ("found", "allowed", "holds"),
    [
        ([("RECORDED", 10)], {}, True),
        ([("RECORDED", 9), ("NOT_ACCEPTED", 1)], {"NOT_ACCEPTED": 1}, True),
        ([("RECORDED", 8), ("NOT_ACCEPTED", 2)], {"NOT_ACCEPTED": 1}, False),
        ([("RECORDED", 9), ("DENIED", 1)], {"NOT_ACCEPTED": 1}, False),
        ([("RECORDED", 9)], {}, False),
        ([], {"NOT_ACCEPTED": 10}, False),
    ],
)
def test_outcomes_are_held_against_number_and_kind(
    found: list[tuple[str, int]],
    allowed: dict[str, int],
    holds: bool,  # noqa: FBT001 -- a table
) -> None:
    story = Story(books=found)
    if holds:
        story.came_to(10, but_for=allowed)
        return
    with pytest.raises(AssertionError):
        story.came_to(10, but_for=allowed)


# The stories themselves


@pytest.mark.parametrize("number", sorted(ROWS))
def test_every_story_proves_its_fault(number: int) -> None:
    found = [call for source in sources(ROWS[number].story) for call in strikes_in(source)]
    assert found, f"row {number} proves no fault: {ROWS[number].fault}"
    for call in found:
        assert {word.arg for word in call.keywords} & {"exactly", "between"}, ast.unparse(call)
        # It should be counted where it can be seen, not claimed.
        assert not isinstance(call.args[1], ast.Constant), ast.unparse(call)


@pytest.mark.parametrize("number", sorted(ROWS))
def test_no_story_injects_a_fault_past_the_count(number: int) -> None:
    past = ("add_fault", "'streams/faults', {", "'portions'")
    for source in sources(ROWS[number].story):
        found = [way for way in past if way in ast.unparse(source)]
        assert not found, f"row {number} injects by {found}, where no one has to count"


def strikes_in(source: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "struck":
            yield node


def sources(story: Callable[..., Any], seen: set[int] | None = None) -> Iterator[ast.AST]:
    """Yield a story's syntax and that of the helpers of the matrix that it names."""
    known = set() if seen is None else seen
    function = inspect.unwrap(story)
    if id(function) in known:
        return
    known.add(id(function))
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    yield tree
    scope = vars(inspect.getmodule(function))
    for name in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        helper = scope.get(name)
        if callable(helper) and str(getattr(helper, "__module__", "")).startswith(
            (f"{PACKAGE}.rows", f"{PACKAGE}.nem")
        ):
            yield from sources(helper, known)
