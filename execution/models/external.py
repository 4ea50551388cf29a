"""A position at the exchange that none of our trades explains, for as long as it is seen."""

from django.db import models

from execution.domain.trading import Direction, PositionSide
from execution.models.fields import code, money, one_of


class ExternalPosition(models.Model):
    """One external position, counted by successive reconciliation cycles.

    The lock on this row lets one cycle only take it. `request`: the rows of its protection, once it has some. Adopted,
    it becomes a trade and leaves this table.
    """

    symbol = code(40)
    position_side = code(5)
    direction = code(5)
    quantity = money()
    entry_price = money()
    request = models.OneToOneField(
        "execution.ExecutionRequest", on_delete=models.PROTECT, null=True, blank=True, related_name="external_position"
    )
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    # Successive full cycles that saw it, and that did not see it any more.
    readings = models.PositiveIntegerField(default=1)
    flat_readings = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "external position"
        verbose_name_plural = "external positions"
        constraints = [
            models.UniqueConstraint(fields=["symbol", "position_side"], name="external_position_once"),
            one_of("external_position_side_known", "position_side", PositionSide),
            one_of("external_direction_known", "direction", Direction),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.position_side} {self.direction}"
