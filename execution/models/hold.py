"""What blocks new positions until it is gone, for one symbol or for the whole account."""

from django.db import models

from execution.models.fields import code

ACCOUNT = "ACCOUNT"


class EntryHold(models.Model):
    """Placed by reconciliation for what it sees at the exchange and cannot explain.

    Exits and protection go on.
    """

    # A symbol, or ACCOUNT.
    scope = code(40, primary_key=True)
    reason_code = code(64)
    reason = models.TextField()
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    # Successive full cycles that did not see it any more.
    clear_readings = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name = "entry hold"
        verbose_name_plural = "entry holds"

    def __str__(self) -> str:
        return f"{self.scope}: {self.reason_code}"
