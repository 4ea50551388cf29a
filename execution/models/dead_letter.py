"""Messages that could not be understood, kept with the reason."""

from django.db import models

from execution.models.fields import code


class DeadLetter(models.Model):
    """One message that became nothing. `raw` is cut at 16 KiB; size and digest tell the rest."""

    stream = models.CharField(max_length=100)
    entry_id = models.CharField(max_length=64)
    event_type = code(64)
    reason_code = code(64)
    reason = models.TextField()
    raw = models.TextField()
    size_bytes = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "entry_id"], name="dead_letter_once"),
        ]
        indexes = [
            # Read by the admin's list and by retention.
            models.Index(fields=["received_at"], name="dead_letter_received"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.entry_id} {self.reason_code}"
