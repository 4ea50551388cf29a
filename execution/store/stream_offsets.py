"""How far each incoming stream is handled, and which of its entries were lost unread."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet

from execution.domain.stream_offsets import StreamGap
from execution.models import StreamLoss, StreamPosition


def stream_positions() -> QuerySet[StreamPosition]:
    """Return up to which entry each stream is handled."""
    return StreamPosition.objects.all()


def save_positions(moved: Iterable[StreamPosition]) -> None:
    """Insert or move the positions of these streams: one statement."""
    StreamPosition.objects.bulk_create(
        moved,
        update_conflicts=True,
        unique_fields=["event_type"],
        update_fields=["entry_id", "entries_read", "noted_at"],
    )


def save_loss(gap: StreamGap, *, now: datetime) -> None:
    """Record that a stream has lost entries unread. The same gap again updates its row."""
    StreamLoss.objects.update_or_create(
        event_type=gap.event_type,
        after_id=gap.after,
        defaults={"before_id": gap.before, "entries": gap.entries, "noticed_at": now},
    )
