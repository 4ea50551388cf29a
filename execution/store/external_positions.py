"""Rows of positions that other clients have opened: counted by cycles, forgotten when gone.

Another process may write or take a row at the same moment, so each statement names the condition that it rests on.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

from django.db.models import QuerySet

from execution.models import ExternalPosition


class Reading(TypedDict):
    """What one reading shows of a position.

    The quantity is in the base asset and never negative.
    """

    quantity: Decimal
    entry_price: Decimal
    seen_at: datetime
    flat_readings: int


class FirstReading(Reading):
    """What the first reading shows: from here on cycles are counted."""

    direction: str
    since: datetime
    readings: int


def all_external_positions() -> QuerySet[ExternalPosition, ExternalPosition]:
    """Return all of them."""
    return ExternalPosition.objects.all()


def find_external_position(external_id: int) -> ExternalPosition | None:
    """Return one with its request, None when its row is gone."""
    return ExternalPosition.objects.select_related("request").filter(pk=external_id).first()


def has_external_position(request_id: UUID) -> bool:
    """Whether the request holds the exits of a position that another client has opened."""
    return ExternalPosition.objects.filter(request_id=request_id).exists()


def add_external_position(symbol: str, position_side: str, first: FirstReading) -> None:
    """Insert one, unless another process has just written it."""
    ExternalPosition.objects.bulk_create(
        [ExternalPosition(symbol=symbol, position_side=position_side, **first)], ignore_conflicts=True
    )


def count_external_reading(known: ExternalPosition, reading: Reading) -> None:
    """Store what another cycle has seen of it, if its row is still there."""
    ExternalPosition.objects.filter(pk=known.pk).update(**reading, readings=known.readings + 1)


def restart_external_position(known: ExternalPosition, first: FirstReading) -> None:
    """Count it anew, for it has turned, unless a request has taken it."""
    ExternalPosition.objects.filter(pk=known.pk, request=None).update(**first)


def forget_external_position(known: ExternalPosition) -> None:
    """Delete it, unless a request has taken it."""
    ExternalPosition.objects.filter(pk=known.pk, request=None).delete()


def count_missed_external(known: ExternalPosition) -> None:
    """Count one more cycle that did not see it."""
    ExternalPosition.objects.filter(pk=known.pk).update(flat_readings=known.flat_readings + 1)
