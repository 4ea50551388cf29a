"""What a mutation does to one node of the syntax tree: each function yields the nodes that may stand in its place.

Types are not known here, so some mutants raise an error at once. They count as killed like any other; what cannot
be anything else (annotations, docstrings, log calls, plain sentences) is left alone.
"""

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from types import ModuleType
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# Names that mean the opposite or the neighbour of one another, as functions, methods or constants.
NEIGHBOURS = {
    "min": "max",
    "any": "all",
    "floor_to": "ceil_to",
    "ROUND_UP": "ROUND_DOWN",
    "ROUND_FLOOR": "ROUND_CEILING",
    "stop_at": "target_at",
    "stop_distance": "target_distance",
    "round_stop": "break_even_at",
    "entry_side": "exit_side",
    "startswith": "endswith",
    "lower": "upper",
    "lstrip": "rstrip",
    "quantity": "executed_quantity",
    "LONG": "SHORT",
    "BUY": "SELL",
    "up": "down",
    "asks": "bids",
}
NEIGHBOUR_OF = NEIGHBOURS | {right: left for left, right in NEIGHBOURS.items()}
# Functions whose result is their argument made safe or sorted: without them the argument stands alone.
WRAPPERS = frozenset({"abs", "sorted", "round"})
COMMUTATIVE = frozenset({"min", "max"})
LOGGING = frozenset({"debug", "info", "warning", "error", "exception"})


def alternatives(node: ast.AST, module: ModuleType) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place; `module` tells what its names mean."""
    for kinds, operator in OPERATORS:
        if isinstance(node, kinds):
            yield from operator(node, module)


def _compare(node: ast.Compare, _module: ModuleType) -> Iterator[ast.AST]:
    for number, present in enumerate(node.ops):
        for other in COMPARISONS[type(present)]:
            ops = [*node.ops[:number], other(), *node.ops[number + 1 :]]
            yield ast.Compare(left=node.left, ops=ops, comparators=node.comparators)


def _arithmetic(node: ast.BinOp, _module: ModuleType) -> Iterator[ast.AST]:
    # To multiply by a sign is to divide by it.
    factor = node.right.attr if isinstance(node.right, ast.Attribute) else getattr(node.right, "id", "")
    by_sign = isinstance(node.op, ast.Mult) and factor == "sign"
    if type(node.op) in ARITHMETIC and not by_sign:
        yield ast.BinOp(left=node.left, op=ARITHMETIC[type(node.op)](), right=node.right)
    yield node.left
    if isinstance(node.op, ast.Add | ast.Mult | ast.BitOr | ast.BitAnd):
        yield node.right


def _boolean(node: ast.BoolOp, _module: ModuleType) -> Iterator[ast.AST]:
    yield ast.BoolOp(op=ast.Or() if isinstance(node.op, ast.And) else ast.And(), values=node.values)
    for number in range(len(node.values)):
        rest = [*node.values[:number], *node.values[number + 1 :]]
        yield rest[0] if len(rest) == 1 else ast.BoolOp(op=node.op, values=rest)


def _unary(node: ast.UnaryOp, _module: ModuleType) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield node.operand


def _constant(node: ast.Constant, _module: ModuleType) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(value=not value)
    elif isinstance(value, int | float):
        yield from (ast.Constant(value=other) for other in (value + 1, value - 1))
    elif isinstance(value, str) and " " not in value:
        yield ast.Constant(value=_other_text(value))


def _other_text(value: str) -> str:
    if value in NEIGHBOUR_OF:
        return NEIGHBOUR_OF[value]
    if value.replace(".", "", 1).isdigit():
        return f"1{value}"
    return "" if value else "other"


def _sentence(node: ast.JoinedStr, _module: ModuleType) -> Iterator[ast.AST]:
    """Let a text with numbers lose them."""
    numbers = [part for part in node.values if isinstance(part, ast.FormattedValue)]
    if numbers:
        yield ast.JoinedStr(values=[part for part in node.values if part is not numbers[-1]])


def _condition(node: ast.If | ast.IfExp, _module: ModuleType) -> Iterator[ast.AST]:
    for test in (ast.Constant(value=True), ast.Constant(value=False)):
        changed = copy.copy(node)
        changed.test = test
        yield changed


def _comprehension(node: ast.comprehension, _module: ModuleType) -> Iterator[ast.AST]:
    for number in range(len(node.ifs)):
        changed = copy.copy(node)
        changed.ifs = [*node.ifs[:number], *node.ifs[number + 1 :]]
        yield changed


def _return(node: ast.Return, _module: ModuleType) -> Iterator[ast.AST]:
    # None and False say the same to an `if`.
    if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value in {None, False}):
        return
    yield ast.Return(value=ast.Constant(value=None))
    if _is_boolean(node.value):
        yield ast.Return(value=ast.UnaryOp(op=ast.Not(), operand=node.value))


def _is_boolean(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"any", "all", "bool"}
    return isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _jump(node: ast.Continue | ast.Break, _module: ModuleType) -> Iterator[ast.AST]:
    yield ast.Break() if isinstance(node, ast.Continue) else ast.Continue()
    yield ast.Pass()


def _statement(node: ast.stmt, _module: ModuleType) -> Iterator[ast.AST]:
    """Leave out a statement that does something: a call, a yield, an update, an early end."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
        return
    yield ast.Pass()


def _update(node: ast.AugAssign, _module: ModuleType) -> Iterator[ast.AST]:
    if type(node.op) in ARITHMETIC:
        yield ast.AugAssign(target=node.target, op=ARITHMETIC[type(node.op)](), value=node.value)
    yield ast.Assign(targets=[node.target], value=node.value)


def _name(node: ast.Name, module: ModuleType) -> Iterator[ast.AST]:
    other = NEIGHBOUR_OF.get(node.id)
    if other and isinstance(node.ctx, ast.Load) and hasattr(module, node.id) and hasattr(module, other):
        yield ast.Name(id=other, ctx=node.ctx)


def _builtin(node: ast.Call, _module: ModuleType) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Name) and node.func.id in {"min", "max", "any", "all"}:
        other = ast.Name(id=NEIGHBOUR_OF[node.func.id], ctx=ast.Load())
        yield ast.Call(func=other, args=node.args, keywords=node.keywords)


def _attribute(node: ast.Attribute, module: ModuleType) -> Iterator[ast.AST]:
    """Take the next member of an enum or the next name of a module, or the neighbour of an attribute."""
    if not isinstance(node.ctx, ast.Load):
        return
    owner = getattr(module, node.value.id, None) if isinstance(node.value, ast.Name) else None
    other = _next_name(owner, node.attr) or NEIGHBOUR_OF.get(node.attr)
    if other:
        yield ast.Attribute(value=node.value, attr=other, ctx=node.ctx)


def _next_name(owner: Any, name: str) -> str | None:
    if isinstance(owner, type) and issubclass(owner, Enum):
        names = list(owner.__members__)
    elif isinstance(owner, ModuleType) and isinstance(getattr(owner, name, None), str):
        names = [each for each, value in vars(owner).items() if isinstance(value, str) and each.isupper()]
    else:
        return None
    return names[(names.index(name) + 1) % len(names)] if name in names and len(names) > 1 else None


def _call(node: ast.Call, module: ModuleType) -> Iterator[ast.AST]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in WRAPPERS and len(node.args) == 1:
        yield node.args[0]
    swaps = len(node.args) > 1 and not any(isinstance(each, ast.Starred) for each in node.args[:2])
    if swaps and name not in COMMUTATIVE:
        yield ast.Call(func=node.func, args=[node.args[1], node.args[0], *node.args[2:]], keywords=node.keywords)
    for number, keyword in enumerate(node.keywords):
        if keyword.arg and _has_default(getattr(module, name, None) if name else None, keyword.arg):
            rest = [*node.keywords[:number], *node.keywords[number + 1 :]]
            yield ast.Call(func=node.func, args=node.args, keywords=rest)


def _has_default(function: Any, parameter: str) -> bool:
    fields = getattr(function, "__dataclass_fields__", None)
    if fields:
        return hasattr(function, parameter)
    return parameter in (getattr(function, "__kwdefaults__", None) or {})


def _slice(node: ast.Slice, _module: ModuleType) -> Iterator[ast.AST]:
    if node.lower is not None:
        yield ast.Slice(lower=None, upper=node.upper, step=node.step)
    if node.upper is not None:
        yield ast.Slice(lower=node.lower, upper=None, step=node.step)


def _collection(node: ast.Set | ast.List, _module: ModuleType) -> Iterator[ast.AST]:
    if len(node.elts) < 1 or (isinstance(node, ast.List) and not isinstance(node.ctx, ast.Load)):
        return
    for number in range(len(node.elts)):
        rest = [*node.elts[:number], *node.elts[number + 1 :]]
        if isinstance(node, ast.List):
            yield ast.List(elts=rest, ctx=node.ctx)
        elif rest:
            yield ast.Set(elts=rest)


def _table(node: ast.Dict, _module: ModuleType) -> Iterator[ast.AST]:
    for number in range(len(node.keys)):
        keys = [*node.keys[:number], *node.keys[number + 1 :]]
        yield ast.Dict(keys=keys, values=[*node.values[:number], *node.values[number + 1 :]])


OPERATORS: Sequence[tuple[Any, Callable[[Any, ModuleType], Iterator[ast.AST]]]] = (
    (ast.Compare, _compare),
    (ast.BinOp, _arithmetic),
    (ast.BoolOp, _boolean),
    (ast.UnaryOp, _unary),
    (ast.Constant, _constant),
    (ast.JoinedStr, _sentence),
    (ast.If | ast.IfExp, _condition),
    (ast.comprehension, _comprehension),
    (ast.Return, _return),
    (ast.Continue | ast.Break, _jump),
    (ast.Expr | ast.Raise | ast.AugAssign | ast.Assign, _statement),
    (ast.AugAssign, _update),
    (ast.Name, _name),
    (ast.Attribute, _attribute),
    (ast.Call, _builtin),
    (ast.Call, _call),
    (ast.Slice, _slice),
    (ast.Set | ast.List, _collection),
    (ast.Dict, _table),
)
