"""The history of the account's equity: a row for each monitor cycle, rolled up by age."""

from collections.abc import Mapping
from decimal import Decimal

from django.db import models

from execution.domain.equity import Parts, Resolution, WalletPart
from execution.models.fields import code, money, one_of


class EquityPoint(models.Model):
    """The account's wallets and open results at `at`, by the exchange's clock.

    A row that stands for a span is the last reading of it. `low_usd` and `high_usd` are the least and the greatest
    equity within. Amounts by asset are texts, exact to the last digit.
    """

    resolution = code(8, default=Resolution.SAMPLE)
    at = models.DateTimeField(unique=True)
    balances = models.JSONField(default=dict)
    unrealized = models.JSONField(default=dict)
    # USD per unit of each asset. An asset that is missing here is in no sum.
    prices = models.JSONField(default=dict)
    wallet_usd = money()
    unrealized_usd = money()
    low_usd = money()
    high_usd = money()
    # Since the row before, by asset and part. Empty for a sample: its parts follow from the account's income.
    parts = models.JSONField(null=True, blank=True)

    class Meta:
        verbose_name = "equity point"
        verbose_name_plural = "equity history"
        constraints = [one_of("equity_resolution_known", "resolution", Resolution)]
        # Read by the roll-up: the oldest rows of a resolution.
        indexes = [models.Index(fields=["resolution", "at"], name="equity_resolution")]

    def __str__(self) -> str:
        return f"{self.resolution} {self.at}"

    @property
    def equity_usd(self) -> Decimal:
        total: Decimal = self.wallet_usd + self.unrealized_usd
        return total


def read_amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    """Return amounts by asset as they were stored."""
    return {asset: Decimal(text) for asset, text in texts.items()}


def read_parts(texts: Mapping[str, Mapping[str, str]]) -> Parts:
    """Return parts by asset as they were stored."""
    return {asset: {WalletPart(part): Decimal(text) for part, text in parts.items()} for asset, parts in texts.items()}
