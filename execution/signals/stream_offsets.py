"""Remembers how far the incoming streams are handled, and raises the alarm about entries that are gone unread."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from execution.domain.stream_offsets import StreamGap, StreamPlace, Survey
from execution.models import DeadLetter, InboxEvent, StreamLoss, StreamPosition

log = structlog.get_logger(__name__)


def known_places() -> dict[str, StreamPlace]:
    """Return up to where each stream is handled."""
    rows = StreamPosition.objects.all()
    return {row.event_type: StreamPlace(entry_id=row.entry_id, entries_read=row.entries_read) for row in rows}


def note_survey(survey: Survey, known: Mapping[str, StreamPlace], *, now: datetime) -> None:
    """Store what a survey has found; a loss is written, logged as an error and shown by health and metrics."""
    for gap in _really_lost(survey.gaps):
        _raise_alarm(gap, now)
    moved = [
        StreamPosition(event_type=name, entry_id=place.entry_id, entries_read=place.entries_read, noted_at=now)
        for name, place in survey.places.items()
        if known.get(name) != place
    ]
    StreamPosition.objects.bulk_create(
        moved,
        update_conflicts=True,
        unique_fields=["event_type"],
        update_fields=["entry_id", "entries_read", "noted_at"],
    )


def _really_lost(gaps: Sequence[StreamGap]) -> list[StreamGap]:
    """Leave out single entries that were stored before they vanished: only their acknowledgement was missing."""
    single = [gap.after for gap in gaps if gap.after == gap.before]
    if not single:
        return list(gaps)
    stored = {*InboxEvent.objects.filter(entry_id__in=single).values_list("entry_id", flat=True)} | {
        *DeadLetter.objects.filter(entry_id__in=single).values_list("entry_id", flat=True)
    }
    return [gap for gap in gaps if not (gap.after == gap.before and gap.after in stored)]


def _raise_alarm(gap: StreamGap, now: datetime) -> None:
    StreamLoss.objects.update_or_create(
        event_type=gap.event_type,
        after_id=gap.after,
        defaults={"before_id": gap.before, "entries": gap.entries, "noticed_at": now},
    )
    happened = "stream_trimmed_unread" if gap.before else "stream_lost"
    log.error(happened, event_type=gap.event_type, after=gap.after, before=gap.before, entries=gap.entries)
