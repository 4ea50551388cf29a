"""Adds measurements to the metrics of all processes."""

from collections.abc import Iterable, Mapping

from django.db import connection

from execution.domain.metrics import Histogram

# By name, kind and bound: how many, and their sum.
Additions = Mapping[tuple[str, str, str], tuple[int, float]]
# All writers take the rows in one order, so that two of them cannot wait for each other.
ADD = """
    INSERT INTO execution_metric AS known (name, kind, bound, count, total)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::float8[]) AS row (a, b, c, d, e)
    ORDER BY a, b, c
    ON CONFLICT (name, kind, bound)
    DO UPDATE SET count = known.count + EXCLUDED.count, total = known.total + EXCLUDED.total
"""


def observe(*measured: tuple[Histogram, float]) -> None:
    """Count lengths of time in seconds.

    Call it in the transaction of the fact, once and last: all processes share its rows.
    """
    add(additions(measured))


def count(name: str, kinds: Mapping[str, int]) -> None:
    """Add to a counter's kinds."""
    add({(name, kind, ""): (number, 0.0) for kind, number in kinds.items() if number})


def additions(measured: Iterable[tuple[Histogram, float]]) -> dict[tuple[str, str, str], tuple[int, float]]:
    """Return what to add for some lengths of time."""
    sums: dict[tuple[str, str, str], tuple[int, float]] = {}
    for histogram, seconds in measured:
        key = (histogram.name, "", histogram.bucket_of(seconds))
        number, total = sums.get(key, (0, 0.0))
        sums[key] = (number + 1, total + seconds)
    return sums


def add(rows: Additions) -> None:
    """Add to any figures, in one statement."""
    if not rows:
        return
    columns = [[*key, *values] for key, values in rows.items()]
    with connection.cursor() as cursor:
        cursor.execute(ADD, [list(column) for column in zip(*columns, strict=True)])
