"""What of the exchange's contracts and our account's settings blocks entries, while it does."""

from django.db import models

from execution.models.fields import code


class VenueBlock(models.Model):
    """One entry block, written by reconciliation at each cycle and read before each entry.

    Exits and protection go on.
    """

    # A symbol, or ACCOUNT.
    scope = code(40)
    reason_code = code(64)
    sentence = models.TextField()
    # Whether it concerns more than entries: an open position, or what our books rest on.
    alarming = models.BooleanField()
    since = models.DateTimeField()
    # When a contract that still trades will end; positions may have to be closed before.
    ends_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "entry block"
        verbose_name_plural = "entry blocks"
        constraints = [
            # Also read before each entry, by scope.
            models.UniqueConstraint(fields=["scope", "reason_code"], name="venue_block_once"),
        ]

    def __str__(self) -> str:
        return f"{self.scope}: {self.reason_code}"
