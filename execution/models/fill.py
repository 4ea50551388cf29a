"""Fills as the exchange booked them. Each can be stored once only."""

from django.db import models
from django.db.models import Q

from execution.models.fields import code, money, optional_money


class Fill(models.Model):
    """One fill of a trade.

    `order` is empty when the exchange or another client closed the position by an order that is not ours.
    """

    symbol = code(40)
    exchange_trade_id = models.BigIntegerField()
    exchange_order_id = models.CharField(max_length=32)
    order = models.ForeignKey("execution.Order", on_delete=models.PROTECT, null=True, blank=True, related_name="fills")
    trade = models.ForeignKey("execution.Trade", on_delete=models.PROTECT, related_name="fills")
    entry = models.BooleanField()
    buyer = models.BooleanField()
    price = money()
    quantity = money()
    realized_pnl = money()
    # Its asset, where that is not the symbol's quote asset, and its value in that; empty when the value is not known.
    pnl_asset = code(16, blank=True)
    pnl_value = optional_money()
    commission = money()
    commission_asset = code(16)
    # The fee in the symbol's quote asset; empty where no market of its minute prices it.
    fee_value = optional_money()
    maker = models.BooleanField()
    filled_at = models.DateTimeField()

    class Meta:
        verbose_name = "fill"
        verbose_name_plural = "fills"
        constraints = [
            models.UniqueConstraint(fields=["symbol", "exchange_trade_id"], name="fill_booked_once"),
            models.CheckConstraint(name="fill_positive", condition=Q(quantity__gt=0, price__gt=0)),
        ]
        indexes = [
            # Read by the admin: newest first, a symbol's, and those of a number of the exchange.
            models.Index(fields=["-filled_at", "-id"], name="fill_newest"),
            models.Index(fields=["symbol", "-filled_at"], name="fill_symbol"),
            models.Index(fields=["exchange_trade_id"], name="fill_exchange_trade"),
            models.Index(fields=["exchange_order_id"], name="fill_exchange_order"),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.exchange_trade_id}"
