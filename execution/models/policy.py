"""Policy values in force that differ from the defaults in `domain/policy.py`."""

from django.db import models

from execution.models.fields import money


class PolicyValue(models.Model):
    """One value in force. Every change raises the version of the whole policy.

    The history of values is in the journal.
    """

    key = models.CharField(max_length=100, primary_key=True)
    value = money()
    source = models.CharField(max_length=32)
    version = models.PositiveIntegerField()
    changed_at = models.DateTimeField()

    class Meta:
        verbose_name = "policy value"
        verbose_name_plural = "policy values"

    def __str__(self) -> str:
        return f"{self.key}={self.value}"
