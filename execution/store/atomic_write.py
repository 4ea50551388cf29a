"""One SQL statement for a conditional change and all that follows from it: all or nothing.

A step's outcome is an update, its log line, perhaps a second row and some events. As parts of one SQL statement they
are one transaction and one round trip; as separate statements they would be six.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Self
from uuid import uuid4

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import Field, Model

from execution.models import AuditEvent, OutboxEvent, OutboxSequence

log = structlog.get_logger(__name__)
# Event type and payload; the payload holds what DjangoJSONEncoder writes.
Event = tuple[str, Mapping[str, object]]
LOG_COLUMNS = "entity, entity_id, from_state, to_state, trigger, reason_code, reason, details, at"
EVENT_COLUMNS = "event_id, event_type, aggregate, sequence, payload, trace_id, created_at"


@dataclass(frozen=True)
class Step:
    """One row of a life cycle's table, as walked."""

    state: StrEnum
    trigger: StrEnum
    following: StrEnum


@dataclass(frozen=True, kw_only=True)
class Move:
    """A row's way through its life cycle, with the reason and numbers for its log."""

    model: type[Model]
    key: object
    entity: str
    entity_id: str
    steps: Sequence[Step]
    now: datetime
    reason: tuple[str, str]
    details: Mapping[str, object] | None
    columns: Mapping[str, Any]
    # A further condition in SQL under which the row stays where it is, and its parameters.
    unless: str = ""
    unless_with: Sequence[object] = ()


@dataclass
class Write:
    """Collects the parts of one statement. When the first changes no row, no other part runs."""

    _parts: list[str] = field(default_factory=list)
    _parameters: list[Any] = field(default_factory=list)
    _inserted: dict[str, Model] = field(default_factory=dict)
    # The parts that move a row, and whether one of them has found none.
    _moves: list[str] = field(default_factory=list)
    _missed: bool = False
    _may_be_lost: bool = False
    # Events by aggregate, with the trace and the time of the first of them.
    _emitted: dict[str, tuple[list[Event], str, datetime]] = field(default_factory=dict)
    _said: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def move(self, move: Move) -> Self:
        """Update a row that is still where the move starts, and log each step. Both or neither."""
        values = {"state": move.steps[-1].following, **move.columns}
        fields = {column.name: column for column in move.model._meta.concrete_fields}
        assignments = ", ".join(f"{_column(fields[name])} = %s" for name in values)
        conditions = f"id = %s AND state = %s AND {self._guard()}" + (f" AND NOT {move.unless}" if move.unless else "")
        self._add(
            f"UPDATE {move.model._meta.db_table} SET {assignments} WHERE {conditions} RETURNING id",
            *(fields[name].get_db_prep_save(value, connection) for name, value in values.items()),
            *(move.key, move.steps[0].state.value, *move.unless_with),
        )
        self._moves.append(self._last())
        return self._log(move)

    def insert(
        self,
        row: Model,
        *,
        once_by: Sequence[str] = (),
        first_as: str = "",
        unless: str = "",
        unless_with: Sequence[object] = (),
    ) -> Self:
        """Insert a row.

        Args:
            row: an unsaved instance; the database gives it its automatic key.
            once_by: columns whose known values make this insert do nothing, instead of failing.
            first_as: the column that refers to the row of the first part.
            unless: a condition in SQL under which this insert does nothing.
            unless_with: its parameters.

        """
        columns = [column for column in row._meta.concrete_fields if getattr(row, column.attname) is not None]
        names = ", ".join(_column(column) for column in columns)
        slots = ["%s"] * len(columns)
        if first_as:
            names, slots = f"{names}, {first_as}", [*slots, "(SELECT id FROM part0)"]
        condition = self._guard() + (f" AND NOT {unless}" if unless else "")
        conflict = f"ON CONFLICT ({', '.join(once_by)}) DO NOTHING" if once_by else ""
        self._add(
            f"INSERT INTO {row._meta.db_table} ({names}) SELECT {', '.join(slots)} WHERE {condition} {conflict} "
            f"RETURNING {_key_of(type(row))} AS id",
            *(column.get_db_prep_save(getattr(row, column.attname), connection) for column in columns),
            *unless_with,
        )
        self._inserted[self._last()] = row
        return self

    def delete(self, model: type[Model], **where: object) -> Self:
        """Delete the rows that one column's value names."""
        ((column, value),) = where.items()
        self._add(
            f"DELETE FROM {model._meta.db_table} WHERE {column} = %s AND {self._guard()} RETURNING id",
            value,
        )
        return self

    def emit(self, aggregate: object, events: Sequence[Event], *, trace_id: str, now: datetime) -> Self:
        """Store events of one aggregate in the given order, numbered without gaps.

        They come behind those asked for before.

        The sequence's row stays locked until the commit, so that later events of the aggregate come after these.
        """
        if events:
            known = self._emitted.setdefault(str(aggregate), ([], trace_id, now))
            known[0].extend(events)
        return self

    def may_be_lost(self) -> Self:
        """Let the commit not wait for the disk.

        Only for a step that nothing outside of the database rests on: a crash of the server may undo the last moments'
        steps, and the request is resumed from the state before. A later commit that does wait brings this one to the
        disk with it.
        """
        self._may_be_lost = True
        return self

    def say(self, event: str, **facts: object) -> Self:
        """Write a line to the log, at INFO, when the statement has changed something."""
        self._said.append((event, facts))
        return self

    def _emit(self, aggregate: str, events: Sequence[Event], trace_id: str, now: datetime) -> None:
        """Add the parts of one aggregate: PostgreSQL takes a sequence's row once in a statement."""
        self._add(
            f"INSERT INTO {OutboxSequence._meta.db_table} AS known (aggregate, last) "
            f"SELECT %s, %s WHERE {self._guard()} "
            "ON CONFLICT (aggregate) DO UPDATE SET last = known.last + EXCLUDED.last RETURNING aggregate AS id, last",
            *(aggregate, len(events)),
        )
        taken = self._last()
        rows: list[object] = []
        for place, (event_type, payload) in enumerate(events, start=1):
            rows += [str(uuid4()), event_type, len(events) - place, _json(payload)]
        self._add(
            f"INSERT INTO {OutboxEvent._meta.db_table} ({EVENT_COLUMNS}) "
            "SELECT row.event_id::uuid, row.event_type, taken.id, taken.last - row.after, row.payload::jsonb, "
            f"%s, %s FROM {taken} AS taken, (VALUES {_slots(len(events), 4)}) "
            "AS row (event_id, event_type, after, payload) ORDER BY row.after DESC RETURNING id",
            *(trace_id, now, *rows),
        )

    def run(self) -> bool:
        """Execute the statement. Returns False when its first part changed nothing.

        Inserted rows get their keys.

        Raises:
            IntegrityError: a constraint refused a part, and with it all of them.

        """
        while self._emitted:
            aggregate = next(iter(self._emitted))
            self._emit(aggregate, *self._emitted.pop(aggregate))
        if not self._parts:
            return False
        parts = ", ".join(f"part{place} AS ({part})" for place, part in enumerate(self._parts))
        keys = ", ".join(f"(SELECT id FROM {part})" for part in ["part0", *self._inserted])
        moved = " AND ".join(f"EXISTS (SELECT FROM {part})" for part in self._moves)
        with connection.cursor() as cursor:
            cursor.execute(f"WITH {parts} SELECT {moved or 'true'}, {self._waiting()}, {keys}", self._parameters)
            moved_all, _, first, *inserted = cursor.fetchone()
        self._missed = not moved_all
        for row, key in zip(self._inserted.values(), inserted, strict=True):
            row.pk = key or row.pk
        if first is not None:
            self._speak()
        return first is not None

    def run_whole(self) -> bool:
        """Execute the statement in a transaction that is kept only when every move has found its row in its state."""
        with transaction.atomic():
            whole = self.run() and not self._missed
            transaction.set_rollback(not whole)
        return whole

    def _waiting(self) -> str:
        """Return the setting of this transaction for whether its commit waits for the disk."""
        return "set_config('synchronous_commit', 'off', true)" if self._may_be_lost else "NULL"

    def _speak(self) -> None:
        for event, facts in self._said:
            log.info(event, **facts)

    def _log(self, move: Move) -> Self:
        rows: list[object] = []
        for place, step in enumerate(move.steps):
            rows += [place, step.state.value, step.following.value, step.trigger.value]
        self._add(
            f"INSERT INTO {AuditEvent._meta.db_table} ({LOG_COLUMNS}) "
            f"SELECT %s, %s, row.came_from, row.went_to, row.why, %s, %s, %s::jsonb, %s FROM {self._last()}, "
            f"(VALUES {_slots(len(move.steps), 4)}) AS row (place, came_from, went_to, why) "
            "ORDER BY row.place RETURNING id",
            *(move.entity, move.entity_id, *move.reason, _json(move.details or {}), move.now, *rows),
        )
        return self

    def _add(self, part: str, *parameters: object) -> None:
        self._parts.append(part)
        self._parameters += parameters

    def _last(self) -> str:
        return f"part{len(self._parts) - 1}"

    def _guard(self) -> str:
        """Return the condition of a further part: the first has changed a row, and the one before has run.

        PostgreSQL runs the parts in no promised order; asking for the one before makes all writers lock in one order.
        """
        if not self._parts:
            return "true"
        return f"EXISTS (SELECT FROM part0) AND (SELECT count(*) FROM {self._last()}) >= 0"


def emit(aggregate: object, events: Sequence[Event], *, trace_id: str, now: datetime) -> None:
    """Store events of one aggregate as a statement of its own. Call it in the transaction of the fact."""
    Write().emit(aggregate, events, trace_id=trace_id, now=now).run()


def emit_each(events: Mapping[object, Event], *, now: datetime) -> None:
    """Store one event of each of many aggregates in one statement. Call it in the transaction of the fact.

    The rows of the sequences are taken in one order by all writers, so that two of them cannot wait for each other.
    """
    if not events:
        return
    rows = [(str(uuid4()), str(of), kind, _json(body)) for of, (kind, body) in events.items()]
    known, stored = OutboxSequence._meta.db_table, OutboxEvent._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH given AS (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::jsonb[]) "
            "AS row (event_id, aggregate, event_type, payload)), "
            f"taken AS (INSERT INTO {known} AS known (aggregate, last) "
            "SELECT aggregate, 1 FROM given ORDER BY aggregate "
            "ON CONFLICT (aggregate) DO UPDATE SET last = known.last + 1 RETURNING aggregate, last) "
            f"INSERT INTO {stored} ({EVENT_COLUMNS}) "
            "SELECT event_id, event_type, aggregate, last, payload, '', %s FROM given JOIN taken USING (aggregate) "
            "ORDER BY aggregate",
            [*map(list, zip(*rows, strict=True)), now],
        )


@cache
def _key_of(model: type[Model]) -> str:
    return next(_column(field) for field in model._meta.concrete_fields if field.primary_key)


def _column(field: "Field[Any, Any]") -> str:
    return field.column or field.name


def _slots(rows: int, columns: int) -> str:
    return ", ".join([f"({', '.join(['%s'] * columns)})"] * rows)


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(dict(value), cls=DjangoJSONEncoder)
