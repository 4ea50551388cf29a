"""The evidence of the fault matrix: what the paper exchange has counted, and no injected fault left out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.chaos.evidence import Evidence
from tests.support.ledger import ORDER
from tests.support.paper import PaperExchange


@dataclass(kw_only=True)
class Story(Evidence):
    """Evidence on an exchange, without a service."""

    exchange: PaperExchange

    @property
    def paper(self) -> PaperExchange:
        return self.exchange

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        raise NotImplementedError


INJECTED: dict[str, Callable[[Story], str]] = {
    "request": lambda story: story.fault(ORDER, "drop_after", method="POST"),
    "stream": lambda story: story.stream_fault("silent"),
    "portion": lambda story: story.portion(fraction=0.5),
}


@pytest.mark.parametrize("kind", INJECTED)
def test_fault_that_is_injected_has_to_be_counted(paper: PaperExchange, kind: str) -> None:
    story = Story(exchange=paper)
    fault = INJECTED[kind](story)
    story.struck("something else", 1, exactly=1)
    with pytest.raises(AssertionError, match="injected and never counted"):
        story.has_struck()
    assert story.hits(fault) == 0
    story.has_struck()


def test_fault_that_was_removed_uncounted_is_an_error(paper: PaperExchange) -> None:
    story = Story(exchange=paper)
    fault = story.fault("/fapi/v1/ping", "refuse", code=-1000)
    paper.clear_faults()
    with pytest.raises(AssertionError, match="is gone and was not counted"):
        story.hits(fault)


def test_hits_are_what_the_exchange_has_counted(paper: PaperExchange) -> None:
    story = Story(exchange=paper)
    fault = story.fault("/paper-no-such-path", "refuse", code=-1000, count=None)
    other = story.fault("/fapi/v1/time", "refuse", code=-1000, count=None)
    for _ in range(3):
        requests.get(f"{paper.url}/fapi/v1/time", timeout=5)
    assert (story.hits(fault), story.hits(other)) == (0, 3)
