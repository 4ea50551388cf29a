"""What the exchange says of a contract or of our account that entries cannot go by, for as long as it says so."""

from django.db import models

from execution.models.fields import code


class Impediment(models.Model):
    """Written by the monitor at each cycle and read before each entry; exits and protection go on."""

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
        verbose_name = "impediment"
        verbose_name_plural = "impediments"
        constraints = [
            # Also read before each entry, by scope.
            models.UniqueConstraint(fields=["scope", "reason_code"], name="impediment_once"),
        ]

    def __str__(self) -> str:
        return f"{self.scope}: {self.reason_code}"
