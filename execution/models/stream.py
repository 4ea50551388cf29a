"""Offsets of the incoming streams and their losses: what Redis cannot be trusted to remember."""

from django.db import models

from execution.models.fields import code


class StreamPosition(models.Model):
    """Everything of a stream up to this entry is stored. A group that was lost goes on behind it."""

    event_type = code(64, primary_key=True)
    entry_id = models.CharField(max_length=64)
    # Entries of this stream from its beginning to that one: what is missing later is counted against it.
    entries_read = models.BigIntegerField()
    noted_at = models.DateTimeField()

    class Meta:
        verbose_name = "stream position"
        verbose_name_plural = "stream positions"

    def __str__(self) -> str:
        return f"{self.event_type} {self.entry_id}"


class StreamLoss(models.Model):
    """Entries that were gone before they were read: behind `after_id` and before `before_id`.

    `entries` is empty when their number is not known, `before_id` when a whole stream was lost.
    """

    event_type = code(64)
    after_id = models.CharField(max_length=64)
    before_id = models.CharField(max_length=64, blank=True)
    entries = models.BigIntegerField(null=True, blank=True)
    noticed_at = models.DateTimeField()

    class Meta:
        verbose_name = "stream loss"
        verbose_name_plural = "stream losses"
        constraints = [
            # Until reading goes on, the same gap is found again, and may have grown.
            models.UniqueConstraint(fields=["event_type", "after_id"], name="stream_loss_once"),
        ]
        indexes = [
            # Read by health and by retention.
            models.Index(fields=["noticed_at"], name="stream_loss_noticed"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.after_id}..{self.before_id}"
