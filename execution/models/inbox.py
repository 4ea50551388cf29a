"""Incoming events. An event's identity can be stored once only, however often it is delivered."""

from enum import StrEnum

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from execution.models.fields import code, one_of


class InboxOutcome(StrEnum):
    """What became of an event."""

    REQUESTED = "REQUESTED"
    IGNORED = "IGNORED"
    APPLIED = "APPLIED"
    # Stored, and to be applied: should the broker lose the task, reconciliation starts it again.
    PENDING = "PENDING"


class InboxEvent(models.Model):
    """One distinct event. `duplicates` counts the deliveries that were recognised and not executed.

    An identity belongs to its `producer`, who has signed it; events that are not signed share one name, the empty one.
    """

    event_type = code(64)
    identity = models.CharField(max_length=200)
    producer = models.CharField(max_length=64, blank=True, default="", db_default="")
    payload = models.JSONField(encoder=DjangoJSONEncoder)
    trace_id = models.CharField(max_length=200, blank=True)
    entry_id = models.CharField(max_length=64, blank=True)
    outcome = code()
    duplicates = models.PositiveIntegerField(default=0)
    received_at = models.DateTimeField()

    class Meta:
        verbose_name = "event in"
        verbose_name_plural = "events in"
        constraints = [
            models.UniqueConstraint(fields=["event_type", "identity", "producer"], name="inbox_identity_once"),
            one_of("inbox_outcome_known", "outcome", InboxOutcome),
        ]
        indexes = [
            # Read by the admin's list and by retention.
            models.Index(fields=["received_at"], name="inbox_received"),
            # Read by each monitor cycle: announcements that no process has applied.
            models.Index(
                fields=["received_at"], name="inbox_pending", condition=models.Q(outcome=InboxOutcome.PENDING)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.identity}"
