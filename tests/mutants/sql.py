"""Mutants of SQL: a statement's text with one condition, operator, constant, parameter, column or function changed.

The text is exchanged when it is executed, so that it does not matter how the statement was put together.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tests.mutants.mutation import Mutant
from tests.mutants.targets import Target

IS_SQL = re.compile(r"\b(SELECT|EXISTS|INSERT INTO)\b")
KEYWORD = re.compile(r"\b(AND|OR|WHERE|WHEN)\b")
# Where a condition ends, at its own depth of parentheses.
END = re.compile(r"\b(AND|OR|THEN|ORDER BY|LIMIT|GROUP BY|UNION|ON CONFLICT)\b")
SWAPS = (
    (r"(?<=\s)<(?=\s)", ("<=", ">")),
    (r"(?<=\s)<=(?=\s)", ("<", ">")),
    (r"(?<=\s)>(?=\s)", (">=", "<")),
    (r"(?<=\s)>=(?=\s)", (">", "<")),
    (r"(?<=\s)=(?=\s)", ("<>",)),
    (r"(?<=\s)<>(?=\s)", ("=",)),
    (r"(?<=\s)\+(?=\s)", ("-",)),
    (r"(?<=\s)-(?=\s)", ("+",)),
    (r"(?<=\s)\*(?=\s)", ("/",)),
    (r"\bNOT IN\b", ("IN",)),
    (r"(?<!NOT )\bIN\b", ("NOT IN",)),
    (r"\bNOT EXISTS\b", ("EXISTS",)),
    (r"(?<!NOT )\bEXISTS\b", ("NOT EXISTS",)),
    (r"\bIS NULL\b", ("IS NOT NULL",)),
    (r"\bIS NOT DISTINCT FROM\b", ("IS DISTINCT FROM", "=")),
    (r"\bNOT permitted\b", ("permitted",)),
    (r"\bAND\b", ("OR",)),
    (r"\bOR\b", ("AND",)),
    (r"\babs\(", ("(",)),
    (r"\bGREATEST\(", ("LEAST(",)),
    (r"\bLEAST\(", ("GREATEST(",)),
    (r"\bmax\(", ("min(",)),
    (r"\bsum\(", ("max(", "count(")),
    (r"count\(\*\)", ("count(*) + 1", "0")),
    (r"\bLEFT JOIN\b", ("JOIN",)),
    (r"(?<=[\s(,])0(?=[\s),])", ("1", "-1")),
    (r"9223372036854775807", ("0",)),
    (r"\bUNION\b", ("UNION ALL",)),
    (r"\bORDER BY exit_at, id\b", ("ORDER BY id", "ORDER BY exit_at DESC, id")),
    (r"'[A-Z]+'", ("'other'",)),
)
# Columns and parameters of one type: each stands for its neighbour.
SIMILAR = (
    ("request.stop_price", "request.reference_price"),
    ("trade.entry_price", "trade.stop_price"),
    ("request.quantity", "request.base_quantity_asked"),
    ("trade.quantity", "trade.exited_quantity"),
    ("net_pnl_usd", "net_pnl"),
    ("assumed_cost", "fees"),
    ("approved_at", "moved_at"),
    ("exit_at", "entry_at"),
    ("claim.symbol", "claim.position_side"),
    ("notional_usd", "base_quantity_asked"),
    ("%(symbol)s", "%(side)s"),
    ("%(side)s", "%(direction)s"),
    ("%(minute_ago)s", "%(midnight)s"),
    ("%(midnight)s", "%(minute_ago)s"),
    ("%(look_alikes_since)s", "%(stops_since)s"),
    ("%(stops_since)s", "%(look_alikes_since)s"),
    ("%(notional)s", "%(quantity)s"),
    ("reconciled_at", "renewed_at"),
    ("renewed_at", "reconciled_at"),
    ("request.quote_index", "1"),
    ("quote_index", "1"),
)


def texts_of(target: Target) -> Iterator[str]:
    """Yield the pieces of SQL that a module writes."""
    for node in ast.walk(ast.parse(target.path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and IS_SQL.search(node.value):
            yield node.value


def sql_mutants_of(target: Target) -> list[Mutant]:
    """Return every mutant of a module's SQL."""
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for text in texts_of(target):
        for start, end, other in _changes(text):
            changed = text[:start] + other + text[end:]
            name = f"{target.name}: SQL {_around(text, start, end)}: {_line(text[start:end])} => {_line(other)}"
            seen[name] += 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            found.append(
                Mutant(
                    target=target,
                    name=name + number,
                    place=(0, 0),
                    lines=range(0),
                    function=None,
                    sql=(text, changed),
                )
            )
    return found


def _changes(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield what to replace, and by what."""
    comments = [match.span() for match in re.finditer(r"--[^\n]*", text)]
    for change in (*_swaps(text), *_conditions(text), *_arguments(text), *_elements(text)):
        if not any(start <= change[0] < end for start, end in comments):
            yield change


def _swaps(text: str) -> Iterator[tuple[int, int, str]]:
    for pattern, others in SWAPS:
        for match in re.finditer(pattern, text):
            yield from ((*match.span(), other) for other in others)
    for column, other in SIMILAR:
        edge = r"(?<![\w.%(])" if column[0].isalpha() else ""
        behind = r"(?!\w)" if column[-1].isalnum() else ""
        for match in re.finditer(f"{edge}{re.escape(column)}{behind}", text):
            if not re.match(r"\s*(AS\b|,\s*\w+\) VALUES)", text[match.end() :]):
                yield (*match.span(), other)


def _conditions(text: str) -> Iterator[tuple[int, int, str]]:
    """Let each condition hold always, and never."""
    for match in KEYWORD.finditer(text):
        start = match.end() + 1
        end = _end_of_condition(text, start)
        yield from ((start, end, other) for other in ("TRUE ", "FALSE "))


def _end_of_condition(text: str, start: int) -> int:
    depth, position = 0, start
    while position < len(text):
        if text[position] == "(" or text.startswith("CASE", position):
            depth += 1
        elif text[position] == ")":
            depth -= 1
            if depth < 0:
                return position
        elif depth == 0 and END.match(text, position):
            return position
        position += 1
    return len(text)


def _arguments(text: str) -> Iterator[tuple[int, int, str]]:
    """Take the first argument alone, or the others."""
    for match in re.finditer(r"\b(COALESCE|NULLIF)\(", text):
        end = _end_of_condition(text, match.end())
        first, _, rest = _split(text[match.end() : end])
        yield match.start(), end + 1, f"({first})"
        if match.group(1) == "COALESCE":
            yield match.start(), end + 1, f"COALESCE({rest})"


def _split(arguments: str) -> tuple[str, str, str]:
    depth = 0
    for number, letter in enumerate(arguments):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            return arguments[:number], ",", arguments[number + 1 :]
    return arguments, "", arguments


def _elements(text: str) -> Iterator[tuple[int, int, str]]:
    """Leave out one element of a list of literals."""
    for match in re.finditer(r"\(('[A-Z]+'(?:, '[A-Z]+')+)\)", text):
        names = match.group(1).split(", ")
        for number in range(len(names)):
            rest = ", ".join([*names[:number], *names[number + 1 :]])
            yield match.start(1), match.end(1), rest


def _around(text: str, start: int, end: int) -> str:
    """Return the lines of a change, to tell it from others."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    return _line(text[first : last if last >= 0 else len(text)])[:140]


def _line(text: str) -> str:
    return " ".join(text.split())
