"""Remembers how far the incoming streams are handled, and reports entries that were lost unread."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from execution.domain.stream_offsets import StreamGap, StreamPlace, Survey
from execution.models import StreamPosition
from execution.store.inbox import stored_entries
from execution.store.stream_offsets import save_loss, save_positions, stream_positions

log = structlog.get_logger(__name__)


def known_places() -> dict[str, StreamPlace]:
    """Return up to which entry each stream is handled."""
    rows = stream_positions()
    return {row.event_type: StreamPlace(entry_id=row.entry_id, entries_read=row.entries_read) for row in rows}


def note_survey(survey: Survey, known: Mapping[str, StreamPlace], *, now: datetime) -> None:
    """Store what a survey has found. A loss is logged as an error and shown by health and metrics."""
    for gap in _really_lost(survey.gaps):
        save_loss(gap, now=now)
        happened = "stream_trimmed_unread" if gap.before else "stream_lost"
        log.error(happened, event_type=gap.event_type, after=gap.after, before=gap.before, entries=gap.entries)
    moved = [
        StreamPosition(event_type=name, entry_id=place.entry_id, entries_read=place.entries_read, noted_at=now)
        for name, place in survey.places.items()
        if known.get(name) != place
    ]
    save_positions(moved)


def _really_lost(gaps: Sequence[StreamGap]) -> list[StreamGap]:
    """Return the gaps without single entries that were stored before they vanished.

    Only their acknowledgement was missing.
    """
    single = [gap.after for gap in gaps if gap.after == gap.before]
    if not single:
        return list(gaps)
    stored = stored_entries(single)
    return [gap for gap in gaps if not (gap.after == gap.before and gap.after in stored)]
