"""The shapes of the equity history: amounts are strings with all their digits."""

from decimal import Decimal

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, Exact, Moment
from execution.domain.equity import Resolution

CENTS = Decimal("0.0001")


class Percent(Exact):
    """A percentage, to four decimals."""

    def to_representation(self, value: Decimal) -> str:
        return super().to_representation(value.quantize(CENTS))


class DrawdownOut(AnySerializer):
    """How far the equity is below its highest point since the begin of the range."""

    usd = Exact(help_text="Transfers count neither as a rise nor as a fall.")
    percent = Percent(allow_null=True, help_text="Of the highest point.")


class PartsOut(AnySerializer):
    """What has moved the wallets since the point before. Paid amounts are negative."""

    realised = Exact(default=Decimal(0))
    fees = Exact(default=Decimal(0))
    funding = Exact(default=Decimal(0))
    transfers = Exact(default=Decimal(0), help_text="Deposits and withdrawals: never a result.")
    other = Exact(default=Decimal(0), help_text="Insurance, rewards, conversions and kinds that are not known yet.")
    unexplained = Exact(default=Decimal(0), help_text="What the exchange's income does not explain.")


class AssetOut(AnySerializer):
    """One asset, in units of the asset."""

    balance = Exact()
    unrealized = Exact()
    price_usd = Exact(allow_null=True, help_text="USD per unit; null where no index prices it.")
    parts = PartsOut()


class EquityPointOut(AnySerializer):
    """The account at one time. `parts` and `revaluation_usd` add up to the change of `wallet_usd`."""

    at = Moment()
    wallet_usd = Exact()
    unrealized_usd = Exact()
    equity_usd = Exact()
    low_usd = Exact(help_text="The least equity within the span.")
    high_usd = Exact(help_text="The greatest equity within the span.")
    drawdown = DrawdownOut()
    parts = PartsOut(help_text="In USD.")
    revaluation_usd = Exact(help_text="What other prices of the assets have changed.")
    assets = serializers.DictField(child=AssetOut())
    unpriced = serializers.ListField(child=serializers.CharField(), help_text="Assets that are in no sum.")


class EquityOut(AnySerializer):
    """A page of the equity history, oldest first."""

    resolution = serializers.ChoiceField(choices=list(Resolution))
    points = EquityPointOut(many=True)
    totals = PartsOut(help_text="The sums over this page, in USD.")
    revaluation_usd = Exact()
    worst = DrawdownOut(allow_null=True, help_text="The deepest drawdown of this page.")
    explained_to = Moment(
        allow_null=True,
        help_text="Until when the account's income was read; what is unexplained later may be explained.",
    )
    following = serializers.CharField(
        allow_null=True, source="cursor", help_text="Ask with this as `after` for the next page; null on the last one."
    )
