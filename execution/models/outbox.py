"""Events to send: written with the fact in one transaction, sent at least once, in order per trade."""

from uuid import uuid4

from django.db import models
from django.db.models import Q

from execution.models.fields import code


class OutboxSequence(models.Model):
    """The last sequence number of one aggregate. Its row lock orders the aggregate's events by commit."""

    aggregate = models.CharField(max_length=100, primary_key=True)
    last = models.PositiveIntegerField()

    class Meta:
        verbose_name = "event sequence"
        verbose_name_plural = "event sequences"

    def __str__(self) -> str:
        return f"{self.aggregate} {self.last}"


class OutboxEvent(models.Model):
    """One event. `event_id` stays the same however often it is sent, so readers can drop repeats."""

    event_id = models.UUIDField(default=uuid4, unique=True, editable=False)
    event_type = code(64)
    aggregate = models.CharField(max_length=100)
    sequence = models.PositiveIntegerField()
    payload = models.JSONField()
    trace_id = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "event out"
        verbose_name_plural = "events out"
        constraints = [
            models.UniqueConstraint(fields=["aggregate", "sequence"], name="outbox_sequence_once"),
        ]
        indexes = [
            # Read by the relay.
            models.Index(fields=["id"], name="outbox_unsent", condition=Q(sent_at__isnull=True)),
            # Read by the journal and by metrics.
            models.Index(fields=["event_type", "created_at"], name="outbox_type_time"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.aggregate}#{self.sequence}"
