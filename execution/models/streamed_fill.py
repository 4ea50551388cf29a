"""Fills that the user-data stream has reported and that need not be read from the exchange again."""

from django.db import models
from django.db.models import Q

from execution.models.fields import code, money


class StreamedFill(models.Model):
    """One fill of our order as the stream reported it. The books (`Fill`) take it from here.

    The stream names no margin asset: whether the result is in the quote asset is for the reader to judge.
    """

    order = models.ForeignKey("execution.Order", on_delete=models.PROTECT, related_name="streamed_fills")
    symbol = code(40)
    exchange_trade_id = models.BigIntegerField()
    exchange_order_id = models.CharField(max_length=32)
    buyer = models.BooleanField()
    position_side = code(5)
    price = money()
    quantity = money()
    realized_pnl = money()
    commission = money()
    commission_asset = code(16)
    maker = models.BooleanField()
    filled_at = models.DateTimeField()
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name = "streamed fill"
        verbose_name_plural = "streamed fills"
        constraints = [
            models.UniqueConstraint(fields=["symbol", "exchange_trade_id"], name="streamed_fill_once"),
            models.CheckConstraint(name="streamed_fill_positive", condition=Q(quantity__gt=0, price__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.exchange_trade_id}"
