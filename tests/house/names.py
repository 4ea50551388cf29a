"""What things are called: names that stand twice, words that were replaced, and first lines of docstrings."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.house.source import ROOT, Module, modules, pages

WORDS = Path(__file__).with_name("words.txt")
LONGEST_FIRST_LINE = 100
PROTECTED = re.compile(r"(is_|has_)?(un)?(protected|covered)\w*|naked\w*|\w*without_cover|has_tp_sl")
# Where the one definition stands.
DEFINES_PROTECTED = frozenset({"execution.protection.coverage", "execution.domain.coverage"})


def doubled() -> dict[str, list[str]]:
    """Return the public functions and classes whose names are defined in more than one module, tasks aside."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        if module.name != "execution.tasks" and ".management." not in module.name:
            for node in module.definitions:
                if not node.name.startswith("_"):
                    places[node.name].append(module.name)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


@cache
def banned() -> Mapping[str, str]:
    """Return the words that have been replaced, each with what is said instead."""
    lines = [line for line in WORDS.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split(" -> ", 1) for line in lines)


def banned_uses() -> Counter[str]:
    """Return how often each replaced word stands in identifiers, docstrings, log events and pages."""
    found: Counter[str] = Counter()
    single = {word for word in banned() if " " not in word}
    phrases = [word for word in banned() if " " in word]
    for text in (*(text for _, text in _spoken()), *(text for _, text in pages())):
        lowered = text.lower()
        found.update(word for word in re.findall(r"[a-z]+", lowered) if word in single)
        found.update({phrase: lowered.count(phrase) for phrase in phrases if phrase in lowered})
    return found


def places_of_words() -> list[str]:
    """Return where each replaced word stands: file, line of the definition or page, and the words."""
    places = []
    for where, text in (*_spoken(), *((f"{path.name}:{row}", line) for path, row, line in _lines_of_pages())):
        lowered = text.lower()
        found = [word for word in banned() if re.search(rf"\b{word}\b", lowered)]
        if found:
            places.append(f"{where} {', '.join(found)}")
    return places


def _lines_of_pages() -> Iterator[tuple[Path, int, str]]:
    for path, text in pages():
        for number, line in enumerate(text.splitlines(), start=1):
            yield path, number, line


def _spoken() -> Iterator[tuple[str, str]]:
    """Return the names, docstrings and log events of each module: where, and a text."""
    for module in modules():
        where = str(module.path.relative_to(ROOT))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield f"{where}:{node.lineno}", _parted(node.name)
                yield f"{where}:{node.lineno}", ast.get_docstring(node) or ""
            elif isinstance(node, ast.Call) and (event := _log_event(node)):
                yield f"{where}:{node.lineno}", event.replace("_", " ")
        yield f"{where}:1", ast.get_docstring(module.tree) or ""
        yield f"{where}:1", _parted(module.path.stem)


def _parted(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ")


def _log_event(node: ast.Call) -> str:
    is_log = (
        isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "log"
    )
    first = node.args[0] if is_log and node.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def long_first_lines() -> float:
    """Return the share of docstrings, in percent, whose first line is too long or has a semicolon."""
    lines = [line for module in modules() for _, line in _first_lines(module)]
    return 100 * sum(map(_is_long, lines)) / len(lines)


def places_of_long_first_lines() -> list[str]:
    """Return where they stand."""
    return [f"{where} {line}" for module in modules() for where, line in _first_lines(module) if _is_long(line)]


def _is_long(line: str) -> bool:
    return len(line) > LONGEST_FIRST_LINE or ";" in line


def _first_lines(module: Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if text := ast.get_docstring(node):
            yield f"{module.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text.splitlines()[0]


def definitions_of_protected() -> list[str]:
    """Return the functions outside the one room whose names say whether a position is protected."""
    return [
        f"{module.name}.{node.name}"
        for module in modules()
        if module.name not in DEFINES_PROTECTED
        for node in module.functions
        if PROTECTED.fullmatch(node.name.lstrip("_"))
    ]
