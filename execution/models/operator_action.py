"""Operators' actions on one decision, with their reason and the exchange's answers, for auditors."""

from enum import StrEnum

from django.db import models
from django.db.models import Q

from execution.models.fields import code, one_of


class Verb(StrEnum):
    """What was done."""

    WRITE_OFF = "WRITE_OFF"


class OperatorAction(models.Model):
    """One action. It stays when retention removes the decision that it was about.

    `subject`: the request's id. `evidence`: what the exchange reported at that moment. `before`: the states that the
    action has ended.
    """

    verb = code()
    subject = models.UUIDField()
    symbol = code(40)
    by = models.CharField(max_length=150)
    reason = models.TextField()
    evidence = models.JSONField(default=dict, blank=True)
    before = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "operator action"
        verbose_name_plural = "operator actions"
        constraints = [
            one_of("operator_action_verb_known", "verb", Verb),
            models.CheckConstraint(name="operator_action_has_a_reason", condition=~Q(reason="") & ~Q(by="")),
        ]
        indexes = [
            # Read when an action is asked for again.
            models.Index(fields=["subject", "-id"], name="operator_action_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.symbol} {self.subject} by {self.by}"
