"""Positions as the exchange last showed them."""

from decimal import Decimal

from django.db import models

from execution.domain.quote_index import in_usd
from execution.models.fields import code, money, optional_money


class Position(models.Model):
    """One position row of the exchange, deleted when two readings have shown it flat.

    `quantity` is never negative. Amounts are in the quote asset; `usd` converts them at the index price of the reading.
    """

    symbol = code(40)
    position_side = code(5)
    direction = code(5)
    # Empty for a position that was not opened by us.
    trade = models.ForeignKey(
        "execution.Trade", on_delete=models.SET_NULL, null=True, blank=True, related_name="positions"
    )
    quote_asset = code(blank=True)
    # USD per unit of the quote asset, as last read.
    quote_index = optional_money()
    quantity = money()
    entry_price = money()
    mark_price = money()
    unrealized_pnl = money()
    initial_margin = money()
    liquidation_price = money()
    observed_at = models.DateTimeField()

    class Meta:
        verbose_name = "position"
        verbose_name_plural = "positions"
        constraints = [
            models.UniqueConstraint(fields=["symbol", "position_side"], name="position_one_row"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.position_side}"

    def usd(self, amount: Decimal) -> Decimal | None:
        """Return an amount of the quote asset in USD, or None where no index has ever priced it."""
        return in_usd(amount, self.quote_index)
