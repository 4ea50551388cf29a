"""The shape of a preview: verdicts, size and orders of a decision that is not carried out."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, DirectionWord, Exact, Moment
from execution.domain.entry_preview import Layer, Outlook, RuleFinding
from execution.domain.trading import OrderPurpose
from execution.queries.preview import PlannedOrder


class PreviewedRuleOut(AnySerializer):
    """One rule's verdict with its numbers."""

    layer = serializers.ChoiceField(choices=[layer.value for layer in Layer])
    rule = serializers.CharField()
    finding = serializers.ChoiceField(choices=[finding.value for finding in RuleFinding])
    reason_code = serializers.CharField(source="code", allow_null=True)
    numbers = serializers.CharField(help_text="What was expected, and what was found.")
    before = Exact(allow_null=True, help_text="The number that the rule has adjusted.")
    after = Exact(allow_null=True)


class PlannedOrderOut(AnySerializer):
    """An order as it would be sent."""

    purpose = serializers.ChoiceField(choices=[purpose.lower() for purpose in OrderPurpose])
    service = serializers.CharField(source="ticket.service", help_text="ALGO: a conditional order.")
    symbol = serializers.CharField(source="ticket.symbol")
    side = serializers.CharField(source="ticket.side")
    position_side = serializers.CharField(source="ticket.position_side")
    type = serializers.CharField(source="ticket.order_type")
    quantity = Exact(source="ticket.quantity", help_text="In the base asset.")
    price = Exact(source="ticket.price", allow_null=True, help_text="Of a LIMIT order.")
    trigger_price = Exact(source="ticket.trigger_price", allow_null=True)
    callback_percent = Exact(source="ticket.callback_percent", allow_null=True)
    reduce_only = serializers.BooleanField(source="ticket.reduce_only")
    time_in_force = serializers.CharField(
        source="ticket.time_in_force", allow_null=True, help_text="Of a LIMIT order; null: GTD until good_till, or GTC."
    )
    good_till = Moment(source="ticket.good_till", allow_null=True)

    def to_representation(self, instance: PlannedOrder) -> dict[str, object]:
        return super().to_representation(instance) | {"purpose": instance.purpose.lower()}


class PreviewSizeOut(AnySerializer):
    """The approved numbers. Prices are in the quote asset."""

    quantity = Exact(help_text="In the base asset.")
    notional_usd = Exact(help_text="As the limits count it.")
    reference_price = Exact()
    limit_price = Exact(allow_null=True)
    stop_price = Exact(allow_null=True)
    target_price = Exact()
    leverage = serializers.IntegerField()
    policy_version = serializers.IntegerField()


class PreviewOut(AnySerializer):
    """What would become of a decision now. Nothing was stored or sent."""

    outcome = serializers.ChoiceField(
        source="outlook",
        choices=[outlook.value for outlook in Outlook],
        help_text="waits: nothing refuses it, and something keeps it back until it is too old.",
    )
    reason_code = serializers.CharField(source="decisive.code", allow_null=True, default=None)
    reason = serializers.CharField(
        source="decisive.numbers", allow_null=True, default=None, help_text="Of the first rule that stops it."
    )
    symbol = serializers.CharField(source="request.symbol")
    side = DirectionWord(source="request.direction")
    type = serializers.CharField(source="request.order_type")
    size = PreviewSizeOut(allow_null=True, help_text="Null when a rule of the guard refuses.")
    rules = PreviewedRuleOut(many=True, help_text="Every rule that was asked, in the order of the chain.")
    orders = PlannedOrderOut(many=True, help_text="The entry and its exits; sent only if the outcome is approved.")
