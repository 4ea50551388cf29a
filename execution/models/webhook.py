"""Webhooks: addresses at which alerts of charting and signal services come in."""

from enum import StrEnum

from django.db import models
from django.db.models import Q

from execution.models.fields import code, one_of, optional_money


class SizeRule(StrEnum):
    """How large an entry of a webhook is."""

    # The alert's own quantity, else that of the defaults.
    ALERT = "ALERT"
    # Always `size_quantity`, whatever the alert asks for.
    QUANTITY = "QUANTITY"


class Webhook(models.Model):
    """One webhook. The row keeps digests of its token and secret.

    The token is shown once, when it is made.

    `defaults` are fields of an order that an entry gets where its alert has none. `symbol_map` maps the symbols of
    alerts to contracts. `verbs` are the words of `execution.domain.alerts.AlertVerb` that it may use. `networks` are
    those from which it may be called, separated by commas; empty: any. Times are in seconds.
    """

    name = code(32)
    token_sha256 = models.CharField(max_length=64, unique=True)
    secret_sha256 = models.CharField(max_length=64, blank=True)
    enabled = models.BooleanField(default=True)
    defaults = models.JSONField(default=dict, blank=True)
    symbol_map = models.JSONField(default=dict, blank=True)
    verbs = models.JSONField(default=list)
    networks = models.CharField(max_length=1000, blank=True)
    size_rule = code(default=SizeRule.ALERT)
    size_quantity = optional_money()
    max_lag_seconds = models.PositiveIntegerField(null=True, blank=True)
    repeat_window_seconds = models.PositiveIntegerField(default=300)
    calls_per_minute = models.PositiveIntegerField(default=60)

    accepted = models.PositiveBigIntegerField(default=0)
    repeated = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_refusal = models.TextField(blank=True)

    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=150, blank=True)

    class Meta:
        verbose_name = "webhook"
        verbose_name_plural = "webhooks"
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(revoked_at=None), name="webhook_name_once"),
            one_of("webhook_size_rule_known", "size_rule", SizeRule),
            models.CheckConstraint(
                name="webhook_fixed_size_is_given",
                condition=~Q(size_rule=SizeRule.QUANTITY) | Q(size_quantity__isnull=False, size_quantity__gt=0),
            ),
            models.CheckConstraint(
                name="webhook_bounds_are_positive", condition=Q(repeat_window_seconds__gte=1, calls_per_minute__gte=1)
            ),
        ]
        permissions = [("manage_webhooks", "Can create and revoke webhooks")]

    def __str__(self) -> str:
        return f"{self.name}{' (revoked)' if self.revoked_at else ''}"
