"""Reads rows so that an unreadable one fails alone: it is set aside, with an alarm.

Every sweep reads through here. A row stays set aside while sweeps still stumble over it; a repair releases it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import structlog
from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, DataError, transaction
from django.db.models import DateTimeField, Field, JSONField, Model, Q, QuerySet
from django.utils import timezone

from execution.domain.authorization import Authorization
from execution.domain.bounds import NEWEST_READ, OLDEST_READ, UnreadableTime, moment_of, without_unfit
from execution.models import QuarantinedRow
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
M = TypeVar("M", bound=Model)
R = TypeVar("R")
# The errors that a row's content causes in the code that reads or uses it. A database that is away causes none of them.
ROW_ERRORS = (DataError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, ObjectDoesNotExist)
PROBLEM_LENGTH = 500
APPLICATION = "execution"


class RepairError(Exception):
    """A repair that cannot be done as asked. The message names the reason, and nothing was changed."""


def read_each(rows: "QuerySet[M, M]") -> list[M]:
    """Return the rows that can be read, in their order.

    Those that cannot are set aside, and flawed ones are noted.
    """
    try:
        found = list(rows)
    except ROW_ERRORS:
        keys = list(rows.values_list("pk", flat=True))
        # A part of a query cannot be filtered further.
        whole = QuerySet(rows.model).order_by(*rows.query.order_by) if rows.query.is_sliced else rows
        found = _read_in_parts(whole, keys)
    for row in found:
        note_flaws(row)
    return found


def for_each(rows: Iterable[M], use: Callable[[M], R]) -> list[R]:
    """Return what `use` makes of each row. A row on which it fails is set aside."""
    return [made for _, made in pairs(rows, use)]


def pairs(rows: Iterable[M], use: Callable[[M], R]) -> Iterator[tuple[M, R]]:
    """Yield each row with what `use` makes of it, as `for_each` does."""
    for row in rows:
        try:
            made = use(row)
        except ROW_ERRORS as error:
            set_aside(row, _words(error))
            continue
        yield row, made


def note_flaws(row: Model) -> None:
    """Note a row of which a time had to be bounded to be read."""
    if problem := flaw_of(row):
        set_aside(row, problem)


def flaw_of(row: Model) -> str:
    """Return which columns of a row hold what nothing can calculate with. Empty when none does."""
    names = [column.attname for column in row._meta.concrete_fields if _is_flawed(row.__dict__.get(column.attname))]
    return f"{', '.join(names)}: cannot be read as stored" if names else ""


def set_aside(row: Model, problem: str) -> None:
    """Write down that a row cannot be used as it is, with an alarm the first time."""
    symbol, side = (str(row.__dict__.get(name) or "") for name in ("symbol", "position_side"))
    _set_aside(table_of(type(row)), str(row.pk), problem, symbol=symbol, position_side=side)


def quarantined() -> list[QuarantinedRow]:
    """Return what is set aside now, oldest first."""
    return list(QuarantinedRow.objects.filter(released_at__isnull=True).order_by("first_seen_at", "pk"))


def quarantined_row(number: int) -> QuarantinedRow | None:
    """Return what is quarantined under this id; None when nothing is any more."""
    return QuarantinedRow.objects.filter(pk=number, released_at__isnull=True).first()


def quarantined_sides(table: str = "") -> frozenset[tuple[str, str]]:
    """Return the symbols and sides of positions that a row which is set aside may be about."""
    rows = QuarantinedRow.objects.filter(released_at__isnull=True).exclude(symbol="")
    rows = rows.filter(table=table) if table else rows
    return frozenset(rows.values_list("symbol", "position_side"))


def release_repaired(*, since: datetime, now: datetime) -> int:
    """Release rows that no sweep has failed on since then and that are whole or gone.

    Returns how many.
    """
    waiting = QuarantinedRow.objects.filter(released_at__isnull=True, last_seen_at__lt=since)
    whole = [row.pk for row in waiting if not problem_of(row)]
    return QuarantinedRow.objects.filter(pk__in=whole).update(released_at=now)


def problem_of(quarantined_row: QuarantinedRow) -> str:
    """Return what is wrong with the row now. Empty when it is whole or gone."""
    model = model_of(quarantined_row.table)
    try:
        row = QuerySet(model).filter(pk=quarantined_row.row_id).first()
    except ROW_ERRORS as error:
        return _words(error)
    return flaw_of(row) if row else ""


def scan() -> int:
    """Search all tables for times that cannot be read as stored, and set their rows aside.

    Returns how many.
    """
    found = 0
    for model in apps.get_app_config(APPLICATION).get_models():
        beyond = Q()
        for column in model._meta.concrete_fields:
            if isinstance(column, DateTimeField):
                beyond |= Q(**{f"{column.attname}__lt": OLDEST_READ}) | Q(**{f"{column.attname}__gt": NEWEST_READ})
        if beyond and model is not QuarantinedRow:
            found += len(read_each(QuerySet(model).filter(beyond)))
    return found


def repair_row(
    quarantined_row: QuarantinedRow, column: str, value: str, authorization: Authorization, *, now: datetime
) -> None:
    """Write a value into a column of a row that is set aside, and release the row if that made it whole.

    The journal notes who did it.

    Raises:
        RepairError: there is no such row or column, or the value does not fit it; nothing was changed.

    """
    model = model_of(quarantined_row.table)
    field = {each.attname: each for each in model._meta.concrete_fields}.get(column)
    if field is None or field.primary_key:
        raise RepairError(f"{quarantined_row.table} has no column {column} to repair")
    try:
        fitting = _fitting(field, value)
        with transaction.atomic():
            # The row's own checks hold here too.
            if not QuerySet(model).filter(pk=quarantined_row.row_id).update(**{column: fitting}):
                raise RepairError(f"{quarantined_row.table} {quarantined_row.row_id} does not exist any more")
            _log(quarantined_row, "REPAIRED", authorization, now, {"column": column, "value": value})
    except (ValueError, ValidationError, DatabaseError) as error:
        raise RepairError(f"{column}: {_words(error)}") from None
    if not problem_of(quarantined_row):
        release_row(quarantined_row, authorization, now=now)


def release_row(quarantined_row: QuarantinedRow, authorization: Authorization, *, now: datetime) -> None:
    """End a quarantine. A sweep that fails on the row again begins another."""
    with transaction.atomic():
        QuarantinedRow.objects.filter(pk=quarantined_row.pk, released_at__isnull=True).update(released_at=now)
        _log(quarantined_row, "RELEASED", authorization, now, {})


def _fitting(field: "Field[Any, Any]", value: str) -> object:
    """Return the value that a text means in a column."""
    if isinstance(field, DateTimeField):
        return moment_of(value)
    return json.loads(value) if isinstance(field, JSONField) else field.clean(value, None)


def _log(
    row: QuarantinedRow, state: str, authorization: Authorization, now: datetime, details: Mapping[str, str]
) -> None:
    log_step(
        "quarantine",
        f"{row.table} {row.row_id}"[:64],
        to_state=state,
        trigger="operator",
        now=now,
        reason=("", authorization.reason),
        details={"by": authorization.by, **details},
    )


def table_of(model: type[Model]) -> str:
    return model._meta.model_name or ""


def model_of(table: str) -> type[Model]:
    """Return the model of a table's name.

    Raises:
        LookupError: there is none.

    """
    return apps.get_model(APPLICATION, table)


def _read_in_parts(rows: "QuerySet[M, M]", keys: Sequence[Any]) -> list[M]:
    """Read in halves down to the rows that fail: few statements, however many rows there are."""
    if not keys:
        return []
    try:
        return list(rows.filter(pk__in=keys))
    except ROW_ERRORS as error:
        if len(keys) == 1:
            _set_aside(table_of(rows.model), str(keys[0]), _words(error), **_place_of(rows.model, keys[0]))
            return []
    half = len(keys) // 2
    return _read_in_parts(rows, keys[:half]) + _read_in_parts(rows, keys[half:])


def _place_of(model: type[Model], key: object) -> Mapping[str, str]:
    """Return symbol and side of a row that cannot be read as a whole."""
    names = [name for name in ("symbol", "position_side") if name in {f.name for f in model._meta.concrete_fields}]
    found = QuerySet(model).filter(pk=key).values(*names).first() if names else None
    return {name: str((found or {}).get(name) or "") for name in ("symbol", "position_side")}


def _set_aside(table: str, row_id: str, problem: str, *, symbol: str = "", position_side: str = "") -> None:
    now = timezone.now()
    words = without_unfit(problem)[:PROBLEM_LENGTH]
    known = QuarantinedRow.objects.filter(table=table, row_id=row_id, released_at__isnull=True)
    if known.update(last_seen_at=now, problem=words):
        return
    log.error("row_quarantined", table=table, row_id=row_id, problem=words, symbol=symbol)
    # The same again is no second story: a sweep may meet it after each release.
    again = QuarantinedRow.objects.filter(table=table, row_id=row_id).order_by("-pk").values("pk")[:1]
    if QuarantinedRow.objects.filter(pk__in=again).update(last_seen_at=now, problem=words, released_at=None):
        return
    QuarantinedRow.objects.bulk_create(
        [
            QuarantinedRow(
                table=table,
                row_id=row_id,
                problem=words,
                symbol=symbol[:40],
                position_side=position_side[:5],
                first_seen_at=now,
                last_seen_at=now,
            )
        ],
        ignore_conflicts=True,
    )


def _is_flawed(value: object) -> bool:
    return isinstance(value, UnreadableTime) or (isinstance(value, Decimal) and not value.is_finite())


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
