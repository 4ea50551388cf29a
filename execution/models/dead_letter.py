"""Messages that could not be understood, with the reason, and the outcome of their replay."""

from enum import StrEnum

from django.db import models
from django.db.models import Q

from execution.models.fields import code


class ReplayOutcome(StrEnum):
    """What became of a replayed letter."""

    ACCEPTED = "ACCEPTED"
    # Its identity had come in another way already; nothing was executed.
    REPEATED = "REPEATED"


class DeadLetter(models.Model):
    """One message that could not be handled. `raw` is cut at 16 KiB.

    `size_bytes` and `sha256` are of the whole message. `payload` is the event's own part, as text, which may be
    corrected; `envelope` holds the ids that came with it. The last five columns stay empty until an operator replays
    the letter, which works once.
    """

    stream = models.CharField(max_length=100)
    entry_id = models.CharField(max_length=64)
    event_type = code(64)
    reason_code = code(64)
    reason = models.TextField()
    raw = models.TextField()
    payload = models.TextField(blank=True)
    envelope = models.JSONField(default=dict, blank=True)
    size_bytes = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    received_at = models.DateTimeField()

    replayed_at = models.DateTimeField(null=True, blank=True)
    replayed_by = models.CharField(max_length=150, blank=True)
    replay_reason = models.TextField(blank=True)
    replayed_payload = models.TextField(blank=True)
    outcome = code(blank=True)

    class Meta:
        verbose_name = "dead letter"
        verbose_name_plural = "dead letters"
        constraints = [
            models.UniqueConstraint(fields=["stream", "entry_id"], name="dead_letter_once"),
            models.CheckConstraint(
                name="dead_letter_replayed_has_outcome",
                condition=Q(replayed_at__isnull=True, outcome="")
                | Q(replayed_at__isnull=False, outcome__in=sorted(ReplayOutcome)),
            ),
        ]
        indexes = [
            # Read by the admin's list and by retention.
            models.Index(fields=["received_at"], name="dead_letter_received"),
        ]
        permissions = [("replay_deadletter", "Can correct a dead letter and drive it again")]

    def __str__(self) -> str:
        return f"{self.event_type} {self.entry_id} {self.reason_code}"
