"""The shapes of the answers: the neighbours' numbers as JSON numbers, our own exact amounts as strings."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from execution.domain.kill_switch import KillLevel
from execution.domain.money import basis_points, plain
from execution.domain.states import ORDER_FINAL
from execution.domain.trading import OrderPurpose
from execution.models import Order, OutboxEvent, Trade
from execution.pipeline.schemas import LARGEST, MAX_TARGETS, SMALLEST
from execution.pipeline.send_events import payload_of
from execution.queries.kill_switch import RELEASED
from execution.queries.positions import HeldPosition
from execution.queries.requests import Story
from execution.queries.story import lines
from execution.queries.trades import TradeStatus

AnySerializer = serializers.Serializer[Any]


@extend_schema_field({"type": "string", "format": "decimal", "example": "3.92"})
class Exact(serializers.Field[Any, Any, str, Any]):
    """A Decimal with all its digits, without exponent or trailing zeros."""

    def to_representation(self, value: Decimal) -> str:
        return plain(value)


@extend_schema_field({"type": "string", "format": "date-time"})
class Moment(serializers.Field[Any, Any, str, Any]):
    """A time with its zone written as +00:00, which every ISO reader understands."""

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


@extend_schema_field({"type": "string", "pattern": "^(LONG|SHORT)$"})
class DirectionWord(serializers.CharField):
    """Which way a position earns; a pattern, because the schema knows three sets of words for a `side`."""


class ProblemOut(AnySerializer):
    """Any error."""

    detail = serializers.CharField(help_text="What is wrong, in words.")
    errors = serializers.DictField(  # type: ignore[assignment]  # a field; the class's own `errors` stays
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="Field -> the rules that it broke.",
    )
    reason_code = serializers.CharField(required=False)
    error_id = serializers.UUIDField(required=False, help_text="The id of an unexpected error in the service's log.")


class OrderAnswerOut(AnySerializer):
    """What has become of an order so far."""

    success = serializers.BooleanField(help_text="True once the exchange has accepted the order.")
    order_id = serializers.CharField(allow_null=True, help_text="The exchange's order id.")
    trade_id = serializers.CharField(allow_null=True, help_text="The request's id, once the order was accepted.")
    symbol = serializers.CharField()
    side = serializers.ChoiceField(choices=["long", "short"])
    quantity = serializers.FloatField(help_text="In the base asset: filled, else approved, else asked.")
    price = serializers.FloatField(allow_null=True, help_text="Average fill price; the limit price while it rests.")
    status = serializers.ChoiceField(choices=["pending", "placed", "filled", "failed", "cancelled"])
    message = serializers.CharField(allow_null=True)
    timestamp = Moment()
    request_id = serializers.UUIDField()
    reason_code = serializers.CharField(allow_null=True)
    client_order_id = serializers.CharField(allow_null=True)


class TransitionOut(AnySerializer):
    """One step of a request, of one of its orders, or of its trade."""

    at = Moment()
    entity = serializers.ChoiceField(choices=["request", "order", "trade"])
    entity_id = serializers.CharField()
    from_state = serializers.CharField()
    to_state = serializers.CharField()
    trigger = serializers.CharField()
    reason_code = serializers.CharField()
    reason = serializers.CharField()
    details = serializers.DictField()


class OrderOut(AnySerializer):
    """One order of a trade, under all its ids."""

    purpose = serializers.ChoiceField(choices=[purpose.lower() for purpose in OrderPurpose])
    client_order_id = serializers.CharField()
    order_id = serializers.CharField(source="exchange_order_id", help_text="Empty until a conditional order triggers.")
    algo_id = serializers.CharField(help_text="Empty for ordinary orders.")
    state = serializers.CharField()
    quantity = Exact()
    executed_quantity = Exact()
    price = Exact(allow_null=True)
    trigger_price = Exact(allow_null=True)

    def to_representation(self, instance: Order) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return shown | {"purpose": instance.purpose.lower()}


class OrderEvidenceOut(OrderOut):
    """One order of a request, and what is known of it since when."""

    sent_at = Moment()
    age_seconds = serializers.SerializerMethodField(help_text="Since it was sent; null when the order is over.")
    last_evidence = serializers.CharField(help_text="What the exchange last said about it, and where.")
    last_evidence_at = Moment(allow_null=True)
    alarmed_at = Moment(allow_null=True, help_text="Since when its outcome should be known and is not.")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_age_seconds(self, order: Order) -> float | None:
        over = order.state in ORDER_FINAL
        return None if over else round((timezone.now() - order.sent_at).total_seconds(), 3)


class RequestOut(AnySerializer):
    """A decision on its way, with its story."""

    request_id = serializers.UUIDField(source="request.id")
    source = serializers.CharField(source="request.source")  # type: ignore[assignment]  # a field of that name
    symbol = serializers.CharField(source="request.symbol")
    side = DirectionWord(source="request.direction")
    state = serializers.CharField(source="request.state")
    reason_code = serializers.CharField(source="request.reason_code")
    reason = serializers.CharField(source="request.reason")
    received_at = Moment(source="request.received_at")
    moved_at = Moment(source="request.moved_at")
    trade_id = serializers.UUIDField(source="trade.id", allow_null=True, default=None)
    orders = OrderEvidenceOut(many=True)
    transitions = TransitionOut(many=True)
    story = serializers.SerializerMethodField(
        help_text="All of it in words, line by line, as `manage.py explain` tells it."
    )

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_story(self, story: Story) -> list[str]:
        return list(lines(story))


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


class TradeOut(AnySerializer):
    """One trade. `pnl_usd` is net of fees and funding, `pnl_percent` of the margin; null until it is closed."""

    trade_id = serializers.UUIDField(source="id")
    symbol = serializers.CharField()
    side = DirectionWord(source="direction")
    status = serializers.ChoiceField(choices=list(TradeStatus))
    quantity = serializers.FloatField()
    leverage = serializers.IntegerField()
    entry_price = serializers.FloatField()
    entry_time = Moment(source="entry_at")
    exit_price = serializers.FloatField(allow_null=True)
    exit_time = Moment(source="exit_at", allow_null=True)
    stop_loss = serializers.FloatField(source="stop_price")
    take_profit = serializers.FloatField(source="target_price")
    pnl_usd = serializers.FloatField(source="net_pnl", allow_null=True)
    pnl_percent = serializers.FloatField(allow_null=True)
    model = serializers.SerializerMethodField()
    confidence = serializers.SerializerMethodField()
    metadata = serializers.DictField(source="request.metadata")

    net_pnl = Exact(allow_null=True)
    gross_pnl = Exact(allow_null=True)
    fees_usd = serializers.SerializerMethodField()
    funding_usd = Exact(source="funding")
    other_income_usd = Exact(source="other_income", help_text="What a liquidation settles with the insurance fund.")
    unvalued_fees = serializers.DictField(help_text="Asset -> fees that are in no figure: nobody can tell their value.")
    max_adverse_excursion_usd = serializers.SerializerMethodField(
        help_text="How far it was in the red at the worst price seen: at fills, and by the mark at each monitor cycle."
    )
    max_favourable_excursion_usd = serializers.SerializerMethodField(help_text="How far in the black, likewise.")
    max_adverse_excursion_pct = serializers.SerializerMethodField(help_text="Percent of the entry price.")
    max_favourable_excursion_pct = serializers.SerializerMethodField(help_text="Percent of the entry price.")
    duration_seconds = serializers.SerializerMethodField(help_text="From first to last fill; null while open.")
    corrections = serializers.IntegerField(help_text="How often late fills or income changed the closed books.")
    exited_quantity = Exact()
    close_reason = serializers.CharField(help_text="Empty while the trade is open.")
    r_multiple = serializers.FloatField(allow_null=True, help_text="Net PnL in units of what the stop would have lost.")
    slippage_bps = serializers.SerializerMethodField(help_text="Of the entry; positive is worse than planned.")
    source = serializers.CharField(source="request.source")  # type: ignore[assignment]  # a field of that name
    strategy = serializers.CharField(source="request.strategy")
    orders = OrderOut(many=True, source="request.orders.all")

    def get_model(self, trade: Trade) -> str:
        return trade.request.model or "manual"

    def get_confidence(self, trade: Trade) -> float:
        return float(trade.request.confidence or 0)

    @extend_schema_field(Exact)
    def get_fees_usd(self, trade: Trade) -> str:
        return plain(trade.entry_fees + trade.exit_fees)

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_adverse_excursion_usd(self, trade: Trade) -> float | None:
        return _excursion(trade, "adverse")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_favourable_excursion_usd(self, trade: Trade) -> float | None:
        return _excursion(trade, "favourable")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_adverse_excursion_pct(self, trade: Trade) -> float | None:
        return _excursion(trade, "adverse_percent")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_favourable_excursion_pct(self, trade: Trade) -> float | None:
        return _excursion(trade, "favourable_percent")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_duration_seconds(self, trade: Trade) -> float | None:
        return (trade.exit_at - trade.entry_at).total_seconds() if trade.exit_at else None

    def get_slippage_bps(self, trade: Trade) -> float:
        return float(basis_points(trade.slippage_fraction))


def _excursion(trade: Trade, figure: str) -> float | None:
    moved = trade.excursion
    return None if moved is None else float(getattr(moved, figure))


class PriceIn(serializers.DecimalField):
    """A price in the quote asset, as a number or as text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=24, decimal_places=12, min_value=SMALLEST, max_value=LARGEST, **options)


class TargetMoveIn(AnySerializer):
    """A target that moves: `number` 1 is the nearest of the plan."""

    number = serializers.IntegerField(min_value=1, max_value=MAX_TARGETS, default=1)
    price = PriceIn()


class TrailingMoveIn(AnySerializer):
    """How far a trailing stop lets the price come back, in percent; the new order begins anew to follow it."""

    callback_percent = serializers.DecimalField(max_digits=6, decimal_places=3)


class ProtectionIn(AnySerializer):
    """What an operator moves; what is left out stays. A stop may be loosened here, and only here."""

    stop_loss = PriceIn(required=False)
    take_profits = TargetMoveIn(many=True, required=False, allow_empty=False)
    trailing = TrailingMoveIn(required=False)
    reason = serializers.CharField(max_length=500, help_text="Why; it is written to the journal.")
    by = serializers.CharField(max_length=150, default="rest", help_text="Who; the service key has no name.")

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Refuse what is not known: a misspelt field must not leave the position as it was without a word."""
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        if unknown:
            raise serializers.ValidationError({name: ["is not known"] for name in unknown})
        known: dict[str, Any] = super().to_internal_value(data)
        return known

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not {"stop_loss", "take_profits", "trailing"} & set(attrs):
            raise serializers.ValidationError({"request": ["one of stop_loss, take_profits, trailing is required"]})
        numbers = [target["number"] for target in attrs.get("take_profits", [])]
        if len(numbers) != len(set(numbers)):
            raise serializers.ValidationError({"take_profits": ["each number may stand there once"]})
        return attrs


class ProtectedLegOut(AnySerializer):
    """One exit of the plan, with the orders that live for it."""

    purpose = serializers.CharField(help_text="stop, target or trailing")
    number = serializers.IntegerField()
    price = Exact(source="leg.price", allow_null=True)
    callback_percent = Exact(source="leg.callback_percent", allow_null=True)
    share = Exact(source="leg.share")
    origin = serializers.CharField(source="leg.origin", help_text="OPERATOR: moved by hand.")
    orders = OrderOut(many=True)


class ProtectionOut(AnySerializer):
    """How a position is protected now."""

    trade_id = serializers.UUIDField(source="trade.id")
    symbol = serializers.CharField(source="trade.symbol")
    side = DirectionWord(source="trade.direction")
    settled = serializers.BooleanField(
        help_text="The exchange has confirmed every leg as planned, and nothing that was replaced rests."
    )
    legs = ProtectedLegOut(many=True)


class EventOut(AnySerializer):
    """One event as it stands on the bus, with its place in the record."""

    id = serializers.IntegerField(help_text="The cursor: ids grow, with gaps.")
    event_id = serializers.UUIDField(help_text="The same however often the event is sent.")
    event_type = serializers.CharField()
    aggregate = serializers.CharField(help_text="The trade's id, or what else the event is about.")
    sequence = serializers.IntegerField(help_text="Without gaps per aggregate.")
    payload = serializers.DictField()
    trace_id = serializers.CharField()
    timestamp = Moment(source="created_at")
    sent_at = Moment(allow_null=True, help_text="When the bus took it; null while it waits.")

    def to_representation(self, instance: OutboxEvent) -> dict[str, Any]:
        return super().to_representation(instance) | {"payload": payload_of(instance)}


class EventsOut(AnySerializer):
    """A page of events, in the order of their ids."""

    events = EventOut(many=True)
    next_after = serializers.IntegerField(help_text="Ask with this as `after` for what follows.")
    has_more = serializers.BooleanField(help_text="Whether more is there already.")
    oldest_id = serializers.IntegerField(
        allow_null=True, help_text="The oldest event that is still kept; null when there is none."
    )


class MetricsOut(AnySerializer):
    """How the service executes; averages are over the newest thousand."""

    orders_placed_total = serializers.IntegerField(help_text="Entry orders that the exchange accepted.")
    orders_filled_total = serializers.IntegerField(help_text="Entry orders with at least one fill.")
    orders_failed_total = serializers.IntegerField(
        help_text="Decisions that ended before the exchange accepted an order: refused, rejected, expired or abandoned."
    )
    success_rate_pct = serializers.FloatField(help_text="Placed, of placed and failed.")
    avg_order_latency_ms = serializers.FloatField(help_text="From a decision's arrival to the entry's acceptance.")
    avg_slippage_pct = serializers.FloatField(help_text="Of the planned price; positive is worse.")
    rate_limit_tokens_available = serializers.IntegerField(allow_null=True, help_text="Null when it is not known.")
    rate_limit_tokens_per_minute = serializers.IntegerField()
    circuit_breaker = serializers.DictField(
        allow_null=True, help_text="State of the line to the exchange: closed, open or half_open; null when not known."
    )
    rate_limits = serializers.DictField(
        allow_null=True, help_text="Counters, holds and waiters of the limiter; null when they are not known."
    )
    covering = serializers.ChoiceField(
        choices=["stream", "polling"],
        help_text="Which of the two tells of fills: the user-data stream, or the monitor.",
    )
    stream_lag_ms_p50 = serializers.FloatField(
        allow_null=True, help_text="From an event's sending by the exchange to its handling; of the newest 512."
    )
    stream_lag_ms_p99 = serializers.FloatField(allow_null=True)


class ServiceOut(AnySerializer):
    """Which service this is."""

    service = serializers.CharField()
    version = serializers.CharField()
    status = serializers.CharField()
    mode = serializers.ChoiceField(choices=["paper", "testnet", "live"])
    docs = serializers.CharField()


class KillSwitchIn(AnySerializer):
    """What is said to the kill switch."""

    level = serializers.ChoiceField(choices=[*KillLevel, RELEASED])
    reason = serializers.CharField(max_length=500, help_text="Why; it is written to the log.")
    by = serializers.CharField(max_length=150, default="rest", help_text="Who; the service key has no name.")


class KillSwitchOut(AnySerializer):
    """The level in force, with what is left of its work."""

    level = serializers.ChoiceField(choices=[*KillLevel, RELEASED])
    reason = serializers.CharField(allow_null=True)
    by = serializers.CharField(allow_null=True)
    engaged_at = Moment(allow_null=True)
    completed_at = Moment(allow_null=True, help_text="When the exchange confirmed that nothing is left to do.")
    report = serializers.DictField(help_text="Entries that still rest or are unknown, positions that are still open.")
