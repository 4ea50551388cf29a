"""The service's own modules, read once: path, text and syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "execution"
Function = ast.FunctionDef | ast.AsyncFunctionDef
Named = Function | ast.ClassDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file of the package; `name` is dotted, `room` the folder right below the package, empty at its top."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        folders = self.path.relative_to(ROOT / PACKAGE).parts[:-1]
        return folders[0] if folders else ""

    @property
    def definitions(self) -> Iterator[Named]:
        """Return functions and classes at the top of the file."""
        return (node for node in self.tree.body if isinstance(node, Named))

    @property
    def functions(self) -> Iterator[Function]:
        """Return all functions and methods, inner ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


@cache
def modules() -> tuple[Module, ...]:
    """Return every module but migrations, by name."""
    paths = sorted(path for path in (ROOT / PACKAGE).rglob("*.py") if "migrations" not in path.parts)
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    text = path.read_text()
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(path=path, name=name, text=text, tree=ast.parse(text))


@cache
def pages() -> tuple[tuple[Path, str], ...]:
    """Return what people read: README, CONTRIBUTING and the pages in docs, decisions and results of runs aside."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return tuple((path, path.read_text()) for path in found if not path.name.endswith("-results.md"))
