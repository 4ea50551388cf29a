"""The right to hold a position: at most one request has it per symbol and position side."""

from django.db import models

from execution.models.fields import code


class PositionSlot(models.Model):
    """Taken when the guard approves, freed when the request or its trade ends.

    A request that ends without a position frees it at once.

    The unique constraint, not a look before the leap, is what serialises the entries of one symbol and side.
    """

    symbol = code(40)
    position_side = code(5)
    request = models.OneToOneField("execution.ExecutionRequest", on_delete=models.PROTECT, related_name="slot")
    claimed_at = models.DateTimeField()

    class Meta:
        verbose_name = "position slot"
        verbose_name_plural = "position slots"
        constraints = [
            models.UniqueConstraint(fields=["symbol", "position_side"], name="slot_one_per_symbol_and_side"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.position_side}"
