"""When each periodic part of the service last did its work. Health is judged by these rows."""

from django.db import models

from execution.models.fields import code


class Heartbeat(models.Model):
    """One part's last run. `healthy` and `details` are the part's own report."""

    part = code(primary_key=True)
    at = models.DateTimeField()
    healthy = models.BooleanField()
    details = models.JSONField(default=dict)

    class Meta:
        verbose_name = "heartbeat"
        verbose_name_plural = "heartbeats"

    def __str__(self) -> str:
        return f"{self.part} {self.at:%Y-%m-%d %H:%M:%S}"
