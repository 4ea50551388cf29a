"""The shapes of positions: numbers as neighbours read them."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, DirectionWord, Moment
from execution.queries.positions import HeldPosition


class ExitOrderOut(AnySerializer):
    """One live exit of a position."""

    client_order_id = serializers.CharField()
    algo_id = serializers.CharField()
    trigger_price = serializers.FloatField(allow_null=True)
    quantity = serializers.FloatField()
    state = serializers.CharField()


class PositionOut(AnySerializer):
    """One position; `unrealized_pnl_pct` is of the margin."""

    symbol = serializers.CharField(source="position.symbol")
    side = DirectionWord(source="position.direction")
    quantity = serializers.FloatField(source="position.quantity")
    entry_price = serializers.FloatField(source="position.entry_price")
    current_price = serializers.FloatField(source="position.mark_price")
    unrealized_pnl = serializers.FloatField(source="position.unrealized_pnl")
    unrealized_pnl_pct = serializers.FloatField()
    leverage = serializers.IntegerField()
    margin_usd = serializers.FloatField(source="position.initial_margin")
    liquidation_price = serializers.FloatField(source="position.liquidation_price")
    has_tp_sl = serializers.BooleanField(help_text="Live stops cover the whole position and a target rests.")
    tp_orders = ExitOrderOut(many=True, source="targets")
    sl_orders = ExitOrderOut(many=True, source="stops")
    trade_id = serializers.UUIDField(
        source="position.trade_id", allow_null=True, help_text="Null for a position that was not opened by the service."
    )
    observed_at = Moment(source="position.observed_at")


class PositionsOut(AnySerializer):
    """All positions, as the exchange last showed them."""

    positions = PositionOut(many=True)
    total_positions = serializers.IntegerField()
    total_margin_usd = serializers.FloatField()
    total_unrealized_pnl = serializers.FloatField()

    @classmethod
    def of(cls, held: list[HeldPosition]) -> "PositionsOut":
        return cls(
            {
                "positions": held,
                "total_positions": len(held),
                "total_margin_usd": sum(each.position.initial_margin for each in held),
                "total_unrealized_pnl": sum(each.position.unrealized_pnl for each in held),
            }
        )
