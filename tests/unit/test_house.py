"""The measure of the house: it reads the real code, and each figure can turn red."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.house import __main__ as house
from tests.house import imports, names
from tests.house.source import modules
from tests.house.table import CHECKS


def test_longest_chain_is_a_way_from_import_to_import() -> None:
    chain = imports.longest_chain()

    assert len(chain) == len(set(chain)) > 1
    assert [(above, below) for above, below in pairwise(chain) if below not in imports.graph()[above]] == []


def test_every_file_of_the_package_is_measured() -> None:
    known = {module.name for module in modules()}

    assert {"execution.tasks", "execution.pipeline.place_order", "execution.domain.money"} <= known
    assert not any("migrations" in name for name in known)


def test_names_of_protected_are_found_wherever_they_stand() -> None:
    defined = {name for module in modules() for name in (f"{module.name}.{node.name}" for node in module.functions)}
    matching = {name for name in defined if names.PROTECTED.fullmatch(name.rpartition(".")[2].lstrip("_"))}

    # Those that there are stand in the one room, and the pattern knows them.
    assert {"execution.protection.coverage.is_protected", "execution.protection.coverage.has_tp_sl"} <= matching
    assert names.definitions_of_protected() == []


def test_a_word_is_counted_as_a_whole_word_and_a_phrase_as_one() -> None:
    assert set(names.banned_uses()) <= names.banned().keys()
    assert all(word == word.lower() and meant for word, meant in names.banned().items())


def test_no_figure_is_worse_than_it_may_be() -> None:
    assert house.main([]) == 0


@pytest.mark.parametrize("place", range(len(CHECKS)))
def test_each_figure_can_turn_red(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    worse = [replace(check, measure=lambda: 0.0) for check in CHECKS]
    worse[place] = replace(CHECKS[place], measure=lambda: max(CHECKS[place].allowed, CHECKS[place].goal) + 0.1)
    monkeypatch.setattr(house, "CHECKS", worse)

    assert house.main([]) == 1
    assert house.main(["--goals"]) == 1
