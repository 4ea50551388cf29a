"""The shapes of the report of execution quality: amounts are strings with all their digits."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, DirectionWord, Exact, Moment
from execution.domain.shortfall import Benchmark
from execution.queries.execution_quality import GroupedBy


class ShortfallPartsOut(AnySerializer):
    """Where a shortfall comes from. Costs are positive. Null: not known."""

    delay = Exact(allow_null=True, help_text="From the decision's price to the middle of the book at its arrival.")
    spread = Exact(allow_null=True, help_text="From the middle of that book to its best price.")
    impact = Exact(allow_null=True, help_text="From there to the fills.")
    unsplit = Exact(allow_null=True, help_text="These three together, where that book was not stored.")
    missed = Exact(allow_null=True, help_text="What the quantity that was not filled would have earned.")
    fees = Exact(allow_null=True)
    funding = Exact(allow_null=True)
    other = Exact(allow_null=True, help_text="Insurance, and what the exchange's rounding leaves.")


class QualitySumsOut(AnySerializer):
    """Sums in USD over a group of trades. `parts` add up to `total_usd`."""

    key = serializers.CharField(help_text="Empty: all trades, or those without this word.")
    trades = serializers.IntegerField()
    unknown = serializers.IntegerField(
        help_text="Trades in no sum: no benchmark, no index, or something without a value."
    )
    notional_usd = Exact()
    total_usd = Exact()
    basis_points = Exact(allow_null=True, help_text="Of the notional.")
    parts = ShortfallPartsOut()


class TradeCostOut(AnySerializer):
    """One trade. `parts` add up to `total`, in the quote asset."""

    trade_id = serializers.UUIDField()
    symbol = serializers.CharField(source="row.symbol")
    side = DirectionWord(source="row.direction")
    strategy = serializers.CharField(source="row.strategy")
    order_type = serializers.CharField(source="row.order_type")
    closed_at = Moment(source="row.closed_at")
    quote_asset = serializers.CharField(source="row.quote_asset")
    quote_index = Exact(source="row.quote_index", allow_null=True)
    benchmark = serializers.ChoiceField(source="row.benchmark", choices=list(Benchmark))
    benchmark_price = Exact(source="row.benchmark_price", allow_null=True)
    wanted_quantity = Exact(source="row.wanted_quantity")
    missed_quantity = Exact(source="row.missed_quantity")
    total = Exact(source="row.total", allow_null=True)
    total_usd = Exact(allow_null=True)
    basis_points = Exact(allow_null=True)
    complete = serializers.BooleanField(source="row.complete", help_text="False: something of the trade has no value.")
    parts = ShortfallPartsOut()


class TcaOut(AnySerializer):
    """Execution quality of the trades that were closed in a range of time."""

    begin = Moment(help_text="From this time on.")
    end = Moment(help_text="Before this time.")
    by = serializers.ChoiceField(choices=list(GroupedBy))
    total = QualitySumsOut()
    groups = QualitySumsOut(many=True, help_text="The largest turnover first, at most 200.")
    worst = TradeCostOut(many=True, help_text="The ten trades that have cost most in USD.")
