"""What moved the wallet for a trade apart from its fills: funding, and insurance at a liquidation."""

from django.db import models
from django.db.models import Q

from execution.domain.outcomes import IncomeKind
from execution.models.fields import code, money, one_of, optional_money


class Income(models.Model):
    """A trade's part of one line of the exchange's income, booked once, however often the line is read.

    A line of funding is shared by those who held the position; any other belongs to one trade at most.
    """

    trade = models.ForeignKey("execution.Trade", on_delete=models.PROTECT, related_name="income")
    kind = code()
    transaction_id = models.CharField(max_length=40)
    amount = money()
    asset = code(16)
    # In the symbol's quote asset; empty when not known.
    value = optional_money()
    at = models.DateTimeField()

    class Meta:
        verbose_name = "income line"
        verbose_name_plural = "income"
        constraints = [
            one_of("income_kind_known", "kind", IncomeKind),
            models.UniqueConstraint(fields=["trade", "kind", "transaction_id"], name="income_booked_once"),
            models.UniqueConstraint(
                fields=["kind", "transaction_id"],
                condition=~Q(kind=IncomeKind.FUNDING),
                name="income_of_one_trade",
            ),
        ]
        indexes = [
            # Read by the admin: newest first, and by the exchange's number.
            models.Index(fields=["-at", "-id"], name="income_newest"),
            models.Index(fields=["transaction_id"], name="income_transaction"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.transaction_id}"
