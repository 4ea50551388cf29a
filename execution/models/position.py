"""Positions as the exchange last showed them."""

from django.db import models

from execution.models.fields import code, money
from execution.models.trade import Trade


class Position(models.Model):
    """One position row of the exchange; deleted when two readings have shown it flat. `quantity` is never negative."""

    symbol = code(40)
    position_side = code(5)
    direction = code(5)
    # Empty for a position that was not opened by us.
    trade = models.ForeignKey(Trade, on_delete=models.SET_NULL, null=True, blank=True, related_name="positions")
    quantity = money()
    entry_price = money()
    mark_price = money()
    unrealized_pnl = money()
    initial_margin = money()
    liquidation_price = money()
    observed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["symbol", "position_side"], name="position_one_row"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.position_side}"
