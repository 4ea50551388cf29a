"""The account's income as it was read: one reading serves every trade whose books want it."""

from django.db import models

from execution.domain.equity import IncomeScope
from execution.domain.outcomes import IncomeKind
from execution.models.fields import code, money, one_of


class AccountIncome(models.Model):
    """One line of the income of the whole account, as the exchange reported it.

    A trade's part of it is in `Income`.
    """

    # As the exchange names it: new kinds may come, and none may be lost.
    kind = code(40)
    # Unique among the lines of its kind.
    transaction_id = models.CharField(max_length=40)
    # Empty where the exchange settles the whole account.
    symbol = code(40, blank=True)
    amount = money()
    asset = code(16)
    at = models.DateTimeField()

    class Meta:
        verbose_name = "account income"
        verbose_name_plural = "account income"
        constraints = [
            # A simulated exchange that begins anew counts from 1 again.
            models.UniqueConstraint(fields=["kind", "transaction_id", "symbol", "at"], name="account_income_read_once"),
        ]
        indexes = [
            # The books of a trade ask by symbol and time.
            models.Index(fields=["kind", "symbol", "at"], name="account_income_of_symbol"),
            # The equity history asks for all kinds by time.
            models.Index(fields=["at"], name="account_income_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.transaction_id} {self.symbol}"


class IncomeReading(models.Model):
    """From when to when, by the exchange's clock, the lines of a kind or of all kinds are complete."""

    kind = code(primary_key=True)
    covers_from = models.DateTimeField()
    read_to = models.DateTimeField()
    # When the last reading began, by our clock.
    read_at = models.DateTimeField()

    class Meta:
        verbose_name = "income reading"
        verbose_name_plural = "income readings"
        constraints = [one_of("income_reading_kind_known", "kind", [*IncomeKind, IncomeScope.ALL])]

    def __str__(self) -> str:
        return f"{self.kind} {self.covers_from}..{self.read_to}"
