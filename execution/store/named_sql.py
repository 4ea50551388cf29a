"""Statements that every decision runs, each in a file of `store/sql`.

The ORM composes a SELECT anew for each call, which takes several times as long as the database needs for a row by its
key. These are composed once and prepared by the driver. All other statements stay with the ORM.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.db import connection
from django.db.models import Model

Parameter = str | int | Decimal | datetime | UUID | Sequence[str] | Sequence[UUID]
# Instances of the models, then the columns left over: the caller names the type of each.
Row = tuple[Any, ...]
FOLDER = Path(__file__).parent / "sql"


class NamedSql:
    """One statement and the models that it selects.

    In its file `{alias}` stands for all columns of the model that is known by this alias there.
    """

    def __init__(self, name: str, **models: type[Model]) -> None:
        """Take the file's name without its ending, and the models in the order in which they are selected."""
        self._name = name
        self._models = models

    def rows(self, **parameters: Parameter) -> list[Row]:
        """Return an instance of each model for every row, then the columns left over.

        An instance is None where a join has found none.
        """
        with connection.cursor() as cursor:
            cursor.execute(self._text, cast("dict[str, str]", parameters))
            found = cursor.fetchall()
        read = []
        for row in found:
            instances: list[Model | None] = []
            begin = 0
            for reader in self._readers:
                instances.append(reader.instance(row[begin : begin + reader.width]))
                begin += reader.width
            read.append((*instances, *row[begin:]))
        return read

    def row(self, **parameters: Parameter) -> Row | None:
        """Return the first row as `rows` does, None without one."""
        found = self.rows(**parameters)
        return found[0] if found else None

    @cached_property
    def _text(self) -> str:
        columns = {
            alias: ", ".join(f'{alias}."{field.column}"' for field in model._meta.concrete_fields)
            for alias, model in self._models.items()
        }
        return (FOLDER / f"{self._name}.sql").read_text().format(**columns)

    @cached_property
    def _readers(self) -> "list[_Reader]":
        return [_Reader(model) for model in self._models.values()]


class _Reader:
    """Makes instances of one model as the ORM does."""

    def __init__(self, model: type[Model]) -> None:
        fields = model._meta.concrete_fields
        self.width = len(fields)
        self._model = model
        self._names = [field.attname for field in fields]
        self._key = next(place for place, field in enumerate(fields) if field.primary_key)
        self._converters = [
            (place, convert) for place, field in enumerate(fields) for convert in field.get_db_converters(connection)
        ]

    def instance(self, values: Row) -> Model | None:
        if values[self._key] is None:
            return None
        read = list(values)
        for place, convert in self._converters:
            read[place] = convert(read[place], None, connection)
        return self._model.from_db(connection.alias, self._names, read)
