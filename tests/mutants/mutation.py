"""Writes all mutants of a module, each with a name that stays the same when lines move."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, ModuleType

from tests.mutants.operators import LOGGING, alternatives
from tests.mutants.targets import Target

SHOWN = 110


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change; `place` finds it again in a fresh tree, `lines` are those of its statement.

    `function` is the outermost function around it, by qualified name and first line; None: import, or SQL.
    """

    target: Target
    name: str
    place: tuple[int, int]
    lines: range
    function: tuple[str, int] | None
    # The statement of the module that it lies in, by its number.
    top: int = 0
    # Of a mutant of SQL: a text and what is executed in its place.
    sql: tuple[str, str] | None = None

    def compile(self, module: ModuleType) -> CodeType:
        """Return the code of the whole module with this change."""
        return compile(self.tree(module), str(self.target.path), "exec")

    def tree(self, module: ModuleType) -> ast.Module:
        """Return the whole module with this change."""
        tree = ast.parse(source_of(self.target))
        number, choice = self.place
        for found in _Walk(tree).nodes():
            if found.number == number:
                other = list(alternatives(found.node, module))[choice]
                found.put(other)
                return ast.fix_missing_locations(tree)
        raise LookupError(self.name)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A node with the way to it."""

    number: int
    node: ast.AST
    parent: ast.AST
    member: str
    index: int | None
    ancestors: tuple[ast.AST, ...] = field(repr=False)

    def put(self, other: ast.AST) -> ast.AST:
        """Set another node in this one's place; return the one that stood there."""
        if isinstance(other, ast.expr | ast.stmt):
            ast.copy_location(other, self.node)
        value = getattr(self.parent, self.member)
        if self.index is None:
            setattr(self.parent, self.member, other)
        else:
            value[self.index] = other
        return self.node


class _Walk:
    """Goes through all that may be mutated, in the order of the source."""

    SKIPPED = frozenset({"annotation", "returns", "decorator_list", "type_params", "format_spec", "bases", "ctx"})

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._count = 0

    def nodes(self) -> Iterator[_Found]:
        yield from self._below(self._tree, (self._tree,))

    def _below(self, parent: ast.AST, ancestors: tuple[ast.AST, ...]) -> Iterator[_Found]:
        for member, value in ast.iter_fields(parent):
            if member in self.SKIPPED:
                continue
            children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, node in children:
                if not isinstance(node, ast.AST) or _is_left_alone(node, parent, ancestors):
                    continue
                self._count += 1
                yield _Found(
                    number=self._count, node=node, parent=parent, member=member, index=index, ancestors=ancestors
                )
                yield from self._below(node, (*ancestors, node))


@cache
def source_of(target: Target) -> str:
    """Return a module's source as it was when it was first read: a change meanwhile concerns the next run."""
    return target.path.read_text(encoding="utf-8")


def mutants_of(target: Target, module: ModuleType) -> list[Mutant]:
    """Return every mutant of a module, in the order of its source."""
    tree = ast.parse(source_of(target))
    seen: Counter[str] = Counter()
    found: list[Mutant] = []
    for each in list(_Walk(tree).nodes()):
        for choice, other in enumerate(alternatives(each.node, module)):
            name = _name(each, other)
            if name is None:
                continue
            seen[name] += 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            function, lines = _function(each), _lines(each)
            way = [*each.ancestors, each.node]
            found.append(
                Mutant(
                    target=target,
                    name=f"{target.name}: {name}{number}",
                    place=(each.number, choice),
                    lines=lines,
                    function=function,
                    top=tree.body.index(way[1]),  # type: ignore[arg-type]
                )
            )
    return found


def _is_left_alone(node: ast.AST, parent: ast.AST, ancestors: tuple[ast.AST, ...]) -> bool:  # noqa: PLR0911 -- a list
    """Whether a node is a docstring, text for a log or for the reader of an error, an import, or an assertion."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_logging_or_never(node.value.func):
        return True
    if isinstance(node, ast.Constant) and isinstance(parent, ast.JoinedStr):
        return True
    if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id == "log" for each in node.targets):
        return True
    # Like an assertion: it speaks when two lists differ in length, which they never do.
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True
    raised = any(isinstance(each, ast.Raise) for each in ancestors)
    return raised and isinstance(node, ast.Constant | ast.JoinedStr)


def _is_logging_or_never(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "assert_never"
    if not isinstance(function, ast.Attribute) or function.attr not in LOGGING:
        return False
    return isinstance(function.value, ast.Name) and function.value.id == "log"


def _name(found: _Found, other: ast.AST) -> str | None:
    """Return a mutant's name; None when it is written as what it replaces."""
    scope = ".".join(
        each.name for each in found.ancestors if isinstance(each, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    )
    context = _context(found)
    before = ast.unparse(context)
    old = found.put(other)
    try:
        after = ast.unparse(ast.fix_missing_locations(context)) if context is not old else ast.unparse(other)
    finally:
        found.put(old)
    if before == after:
        return None
    return f"{scope or 'module'}: {_short(before)} => {_short(after)}"


def _context(found: _Found) -> ast.AST:
    """Return the largest node around a change that can be shown in a line."""
    shown = found.node
    for each in (*reversed(found.ancestors),):
        if isinstance(each, ast.Module | ast.FunctionDef | ast.ClassDef) or len(ast.unparse(each)) > SHOWN:
            break
        shown = each
    return shown


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 2 * SHOWN else f"{line[:SHOWN]} ... {line[-SHOWN:]}"


def _function(found: _Found) -> tuple[str, int] | None:
    """Return the outermost function that a node is run by; defaults run where the function is defined."""
    way = [*found.ancestors, found.node]
    names: list[str] = []
    for number, each in enumerate(way):
        if isinstance(each, ast.ClassDef):
            names.append(each.name)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            below = way[number + 1] if number + 1 < len(way) else None
            if below is None or below is each.args:
                return None
            first = min([each.lineno, *(decorator.lineno for decorator in each.decorator_list)])
            return ".".join([*names, each.name]), first
    return None


def _lines(found: _Found) -> range:
    """Return the lines of the statement that a node belongs to; of a block, those of its head."""
    statement = next(
        (each for each in (found.node, *reversed(found.ancestors)) if isinstance(each, ast.stmt | ast.match_case)), None
    )
    if isinstance(statement, ast.match_case):
        statement = next(each for each in reversed(found.ancestors) if isinstance(each, ast.stmt))
    if statement is None:
        return range(0)
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if isinstance(body, list) and body else statement.end_lineno or statement.lineno
    return range(statement.lineno, max(last, statement.lineno) + 1)
