"""The shapes of orders and of decisions on their way."""

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, DirectionWord, Exact, Moment
from execution.domain.states import ORDER_FINAL
from execution.domain.trading import OrderPurpose
from execution.models import Order
from execution.queries.requests import Story
from execution.queries.story import lines


class OrderAnswerOut(AnySerializer):
    """What has become of an order so far."""

    success = serializers.BooleanField(help_text="True once the exchange has accepted the order.")
    order_id = serializers.CharField(allow_null=True, help_text="The exchange's order id.")
    trade_id = serializers.CharField(allow_null=True, help_text="The request's id, once the order was accepted.")
    symbol = serializers.CharField()
    side = serializers.ChoiceField(choices=["long", "short"])
    quantity = serializers.FloatField(
        allow_null=True,
        help_text="In the base asset: filled, else approved, else asked; null before another size has become one.",
    )
    price = serializers.FloatField(allow_null=True, help_text="Average fill price; the limit price while it rests.")
    status = serializers.ChoiceField(choices=["pending", "placed", "filled", "failed", "canceled"])
    message = serializers.CharField(allow_null=True)
    timestamp = Moment()
    request_id = serializers.UUIDField()
    reason_code = serializers.CharField(allow_null=True)
    client_order_id = serializers.CharField(allow_null=True)


class AuditEventOut(AnySerializer):
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

    def to_representation(self, instance: Order) -> dict[str, object]:
        shown = super().to_representation(instance)
        return shown | {"purpose": instance.purpose.lower()}


class OrderEvidenceOut(OrderOut):
    """One order of a request, and what is known of it since when."""

    sent_at = Moment()
    age_seconds = serializers.SerializerMethodField(help_text="Since it was sent; null when the order is over.")
    last_evidence = serializers.CharField(help_text="What the exchange last reported of it, and where.")
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
    entry_expires_at = Moment(
        source="request.entry_expires_at",
        allow_null=True,
        help_text="When a LIMIT entry that rests is cancelled.",
    )
    trade_id = serializers.UUIDField(source="trade.id", allow_null=True, default=None)
    orders = OrderEvidenceOut(many=True)
    transitions = AuditEventOut(many=True)
    story = serializers.SerializerMethodField(
        help_text="All of it in words, line by line, as `manage.py explain` prints it."
    )

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_story(self, story: Story) -> list[str]:
        return list(lines(story))
