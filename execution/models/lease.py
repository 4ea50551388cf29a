"""Leases of exchange accounts: which stack's settings may open positions on an account."""

from django.db import models
from django.db.models import Q

from execution.models.fields import code


class AccountLease(models.Model):
    """Renewed by reconciliation after every full cycle. Stacks with the same settings share it.

    `account` is a fingerprint of the API key, never the key. `fence` grows whenever other settings take it over.
    """

    account = code(64, primary_key=True)
    settings = code(64)
    holder = models.CharField(max_length=100)
    fence = models.PositiveBigIntegerField()
    taken_at = models.DateTimeField()
    renewed_at = models.DateTimeField()
    # When the last full cycle began to read the exchange.
    reconciled_at = models.DateTimeField()

    class Meta:
        verbose_name = "account lease"
        verbose_name_plural = "account leases"
        constraints = [models.CheckConstraint(name="lease_fence_positive", condition=Q(fence__gt=0))]

    def __str__(self) -> str:
        return f"{self.settings[:8]} fence={self.fence} {self.holder}"
