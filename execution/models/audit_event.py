"""What happened, why and with which numbers: append-only, kept so by a trigger in the database."""

from django.db import models

from execution.models.fields import code


class AuditEvent(models.Model):
    """One step of one entity (request, order, trade, policy, ess)."""

    entity = code()
    entity_id = models.CharField(max_length=100)
    from_state = models.CharField(max_length=64, blank=True)
    to_state = models.CharField(max_length=64)
    trigger = code(64)
    reason_code = code(64, blank=True)
    reason = models.TextField(blank=True)
    details = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "audit event"
        verbose_name_plural = "audit events"
        indexes = [
            # Read by the journal and the admin: one entity's story.
            models.Index(fields=["entity", "entity_id", "id"], name="audit_story"),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.entity_id}: {self.from_state} -> {self.to_state}"
