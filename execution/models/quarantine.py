"""Stored rows that cannot be read or used: set aside with their reason, while all others go on."""

from django.db import models
from django.db.models import Q

from execution.models.fields import code


class QuarantinedRow(models.Model):
    """One row that a sweep passed over, or whose times it bounded.

    `symbol` names a position that it may hold.
    """

    table = code(64)
    row_id = models.CharField(max_length=100)
    problem = models.TextField()
    symbol = code(40, blank=True)
    position_side = code(5, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    # Empty while the row is as it was.
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "quarantined row"
        verbose_name_plural = "quarantined rows"
        constraints = [
            models.UniqueConstraint(
                fields=["table", "row_id"], condition=Q(released_at__isnull=True), name="quarantine_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.table} {self.row_id}"

    @property
    def sentence(self) -> str:
        """What is wrong with which row, and whose position it may be about."""
        whose = f" symbol={self.symbol}" if self.symbol else ""
        return f"{self.table} {self.row_id}{whose}: {self.problem}"
