"""Brings about, in a running process, a mutant of what runs at import: a constant, a table, a default.

The changed statement and those that depend on it are run again in the module, and what others have imported by name is
exchanged there too. What cannot be changed so, as the members of an enum, is left to a fresh process.
"""

import ast
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tests.mutants.mutation import Mutant


def apply(mutant: Mutant, module: ModuleType) -> bool:
    """Change a module that is imported; False when that is not possible."""
    tree = mutant.tree(module)
    changed = tree.body[mutant.top]
    if isinstance(changed, ast.FunctionDef):
        return _swap_defaults(getattr(module, changed.name), _run([changed], module)[changed.name])
    if isinstance(changed, ast.ClassDef):
        return _swap_class(getattr(module, changed.name), _run([changed], module)[changed.name])
    names = names_changed(mutant, tree)
    again = [each for each in tree.body[mutant.top :] if each is changed or _targets(each) & names]
    values = _run(again, module)
    for name in names:
        _rebind(name, vars(module)[name], values[name])
    return bool(names)


def names_changed(mutant: Mutant, tree: ast.Module) -> set[str]:
    """Return the names of a module whose values depend on its changed statement."""
    names = _targets(tree.body[mutant.top])
    for each in tree.body[mutant.top + 1 :]:
        read = {node.id for node in ast.walk(each) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        if read & names:
            names |= _targets(each)
    return names


def name_of(mutant: Mutant, tree: ast.Module) -> set[str]:
    """Return the names by which tests may reach what a mutant changes."""
    changed = tree.body[mutant.top]
    if isinstance(changed, ast.FunctionDef | ast.ClassDef):
        return {changed.name}
    return names_changed(mutant, tree)


def _targets(statement: ast.stmt) -> set[str]:
    """Return the names that a plain statement of a module sets."""
    if isinstance(statement, ast.Assign):
        nodes: Sequence[ast.expr] = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        nodes = [statement.target]
    else:
        return set()
    return {name.id for node in nodes for name in ast.walk(node) if isinstance(name, ast.Name)}


def _run(statements: Sequence[ast.stmt], module: ModuleType) -> dict[str, Any]:
    """Run statements in a copy of the module's names and return it."""
    names = dict(vars(module))
    code = compile(ast.Module(body=list(statements), type_ignores=[]), str(module.__file__), "exec")
    exec(code, names)  # noqa: S102 -- our own source
    return names


def _rebind(name: str, old: object, new: object) -> None:
    """Set a name anew in every module that has the old value by that name."""
    for module in _ours():
        if vars(module).get(name) is old:
            setattr(module, name, new)


def _ours() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {"execution", "tests"} and module is not None:
            yield module


def _swap_defaults(old: object, new: object) -> bool:
    if not isinstance(old, FunctionType) or not isinstance(new, FunctionType):
        return False
    old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    return True


def _swap_class(old: Any, new: Any) -> bool:
    """Exchange the defaults of a dataclass's fields; anything else of a class is left alone."""
    if issubclass(old, Enum) or not dataclasses.is_dataclass(old) or not dataclasses.is_dataclass(new):
        return False
    fields = dataclasses.fields(new)
    factories = [each for each in fields if each.default_factory is not dataclasses.MISSING]
    before, after = vars(old)["__init__"], vars(new)["__init__"]
    if factories or not _same_code(before.__code__, after.__code__):
        return False
    for each in fields:
        if each.default is not dataclasses.MISSING:
            setattr(old, each.name, each.default)
    return _swap_defaults(before, after)


def _same_code(old: CodeType, new: CodeType) -> bool:
    return old.co_varnames == new.co_varnames and old.co_code == new.co_code
