"""The shapes of positions: numbers as neighbours read them."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, DirectionWord, Moment
from execution.domain.software_stop import ProtectedBy
from execution.queries.positions import HeldPosition


class ExitOrderOut(AnySerializer):
    """One live exit of a position."""

    client_order_id = serializers.CharField()
    algo_id = serializers.CharField()
    trigger_price = serializers.FloatField(allow_null=True)
    quantity = serializers.FloatField()
    state = serializers.CharField()


class PositionOut(AnySerializer):
    """One position. `unrealized_pnl` is in USD at `quote_index`, `unrealized_pnl_pct` of the margin."""

    symbol = serializers.CharField(source="position.symbol")
    side = DirectionWord(source="position.direction")
    quantity = serializers.FloatField(source="position.quantity")
    entry_price = serializers.FloatField(source="position.entry_price")
    current_price = serializers.FloatField(source="position.mark_price")
    quote_asset = serializers.CharField(source="position.quote_asset")
    quote_index = serializers.FloatField(
        source="position.quote_index", allow_null=True, help_text="USD per unit of the quote asset, as last read."
    )
    unrealized_pnl = serializers.FloatField(
        source="unrealized_pnl_usd", allow_null=True, help_text="USD; null where no index has priced the quote asset."
    )
    unrealized_pnl_quote = serializers.FloatField(source="position.unrealized_pnl", help_text="In the quote asset.")
    unrealized_pnl_pct = serializers.FloatField()
    leverage = serializers.IntegerField()
    margin_usd = serializers.FloatField(allow_null=True)
    liquidation_price = serializers.FloatField(source="position.liquidation_price")
    has_tp_sl = serializers.BooleanField(
        source="cover.has_tp_sl", help_text="Live stops cover the whole position and a target rests."
    )
    stop_required = serializers.BooleanField(help_text="False where the plan has no stop, which policy permits.")
    protected = serializers.BooleanField(
        source="cover.protected",
        help_text="Live stops cover the whole position, and the mark price has passed none of them for too long.",
    )
    protected_by = serializers.ChoiceField(
        source="cover.protected_by",
        choices=[each.value for each in ProtectedBy],
        help_text="venue: live stops at the exchange; software: stops of our own, where it takes none; none: neither.",
    )
    overdue_stops = serializers.ListField(
        source="cover.overdue",
        child=serializers.CharField(),
        help_text="Stops and trailing stops whose price was passed without a fill.",
    )
    tp_orders = ExitOrderOut(many=True, source="targets")
    sl_orders = ExitOrderOut(many=True, source="stops")
    trade_id = serializers.UUIDField(
        source="position.trade_id", allow_null=True, help_text="Null for a position that was not opened by the service."
    )
    phantom = serializers.BooleanField(
        help_text="The exchange shows it no more and no fills of its trade explain that: it is in no total."
    )
    observed_at = Moment(source="position.observed_at")


class PositionsOut(AnySerializer):
    """All positions, as the exchange last showed them. The totals are in USD."""

    positions = PositionOut(many=True)
    total_positions = serializers.IntegerField()
    total_margin_usd = serializers.FloatField()
    total_unrealized_pnl = serializers.FloatField()
    unpriced = serializers.ListField(
        child=serializers.CharField(), help_text="Symbols that are in no total: no index prices their quote asset."
    )

    @classmethod
    def of(cls, held: list[HeldPosition]) -> "PositionsOut":
        there = [each for each in held if not each.phantom]
        return cls(
            {
                "positions": held,
                "total_positions": len(there),
                "total_margin_usd": sum(each.margin_usd or 0 for each in there),
                "total_unrealized_pnl": sum(each.unrealized_pnl_usd or 0 for each in there),
                "unpriced": [each.position.symbol for each in there if each.position.quote_index is None],
            }
        )
