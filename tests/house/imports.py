"""Which module imports which: the longest chain, how many a file needs, and helpers that one caller has."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache

from tests.house.source import PACKAGE, Module, modules


@cache
def graph() -> Mapping[str, frozenset[str]]:
    """Return the modules of the package that each module imports when it is loaded."""
    names = {module.name for module in modules()}
    return {module.name: frozenset(_imported(module, names)) - {module.name} for module in modules()}


def _imported(module: Module, names: set[str]) -> Iterator[str]:
    for node in module.tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            within = {f"{node.module}.{alias.name}" for alias in node.names} & names
            yield from within or ({str(node.module)} & names)


def longest_chain() -> tuple[str, ...]:
    """Return the longest way from import to import; circles count once."""
    best: dict[str, tuple[str, ...]] = {}

    def chain(name: str, above: frozenset[str]) -> tuple[str, ...]:
        if name not in best:
            below = [chain(each, above | {name}) for each in sorted(graph()[name] - above)]
            best[name] = (name, *max(below, key=len, default=()))
        return best[name]

    return max((chain(name, frozenset()) for name in sorted(graph())), key=len)


def imports_a_file() -> float:
    """Return how many modules of the package one of its files imports on average."""
    return sum(map(len, graph().values())) / len(graph())


def helpers_with_one_caller() -> float:
    """Return the share of private functions, in percent, that one place of their module uses."""
    uses = [count for module in modules() for _, count in _uses_of_helpers(module)]
    return 100 * sum(count == 1 for count in uses) / len(uses)


def places_of_helpers() -> list[str]:
    """Return where they stand."""
    return [f"{module.name}.{name}" for module in modules() for name, count in _uses_of_helpers(module) if count == 1]


def _uses_of_helpers(module: Module) -> list[tuple[str, int]]:
    private = [
        node.name for node in module.definitions if node.name.startswith("_") and not isinstance(node, ast.ClassDef)
    ]
    used = Counter(node.id for node in ast.walk(module.tree) if isinstance(node, ast.Name))
    return [(name, used[name]) for name in private]
