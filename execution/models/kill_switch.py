"""Each time that the kill switch was engaged: by whom, why, what came of it, and how it ended."""

from django.db import models
from django.db.models import Q

from execution.domain.kill_switch import KillLevel
from execution.models.fields import code, one_of


class KillSwitch(models.Model):
    """One engagement. The one without an end is in force.

    A stronger level ends the weaker one before it.
    """

    level = code()
    reason = models.TextField()
    engaged_by = models.CharField(max_length=150)
    engaged_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.CharField(max_length=150, blank=True)
    release_reason = models.TextField(blank=True)
    # What the last run of its work found: entries that still rest, positions that are still open, and when.
    report = models.JSONField(default=dict, blank=True)
    # Set when the exchange has confirmed that the work is done.
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "kill switch engagement"
        verbose_name_plural = "kill switch engagements"
        permissions = [("move_killswitch", "Can move the kill switch")]
        constraints = [
            one_of("kill_switch_level_known", "level", KillLevel),
            # Read before every entry leaves.
            models.UniqueConstraint(
                models.Value(1), name="kill_switch_one_in_force", condition=Q(released_at__isnull=True)
            ),
            models.CheckConstraint(name="kill_switch_has_a_reason", condition=~Q(reason="")),
        ]

    def __str__(self) -> str:
        return f"{self.level} {'in force' if self.released_at is None else 'released'}"
