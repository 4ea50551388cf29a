"""The candles around a trade that has ended, kept so that its picture stays."""

from django.db import models

from execution.models.fields import code
from execution.models.trade import Trade


class TradeChart(models.Model):
    """Candles as the exchange showed them.

    `candles`: for each its begin in milliseconds, then open, high, low and close in the quote asset as text.
    """

    trade = models.OneToOneField(Trade, on_delete=models.PROTECT, related_name="chart", primary_key=True)
    interval = code(8)
    interval_seconds = models.PositiveIntegerField()
    candles = models.JSONField()
    read_at = models.DateTimeField()

    class Meta:
        verbose_name = "trade chart"
        verbose_name_plural = "trade charts"

    def __str__(self) -> str:
        return f"{self.interval} candles of {self.trade_id}"
