"""The last known state of the emergency stop: one row."""

from django.db import models
from django.db.models import Q

from execution.models.fields import code


class EssStatus(models.Model):
    """The emergency stop's last known state, by event or by answer.

    A trip that came by event holds until `held_until`.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    state = code()
    permitted = models.BooleanField()
    reason = models.TextField(blank=True)
    source = code()
    observed_at = models.DateTimeField()
    held_until = models.DateTimeField(null=True, blank=True)
    # Successive checks that got no answer in time.
    unanswered = models.PositiveIntegerField(default=0)
    # All that were ever counted, by kind of failure.
    failures = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = "emergency stop"
        verbose_name_plural = "emergency stop"
        constraints = [models.CheckConstraint(name="ess_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"{self.state} permitted={self.permitted}"
