"""The shapes of a plan that protects a position, and of what an operator moves in it."""

from decimal import Decimal
from typing import Required, TypedDict

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from execution.api.serializers.fields import (
    AnySerializer,
    CallbackIn,
    DirectionWord,
    Exact,
    In,
    PriceIn,
    TextIn,
    WholeIn,
)
from execution.api.serializers.orders import OrderOut
from execution.domain.protection_moves import MoveLimit
from execution.signals.schemas import MAX_TARGETS


class TargetAsked(TypedDict):
    """A target that moves, by its number from the nearest. `price` in the quote asset."""

    number: int
    price: Decimal


class TrailingAsked(TypedDict):
    """How far a trailing stop lets the price come back."""

    callback_percent: Decimal


class OverrideAsked(TypedDict):
    """Limits of the policy that do not hold for a move, by name, and why."""

    scope: set[str]
    reason: str


class MoveAsked(TypedDict, total=False):
    """A move of a bracket as `ProtectionIn` has checked it. `stop_loss` is a price in the quote asset."""

    stop_loss: Decimal
    take_profits: list[TargetAsked]
    trailing: TrailingAsked
    override: OverrideAsked
    reason: Required[str]
    by: Required[str]


class TargetMoveIn(In):
    """A target that moves: `number` 1 is the nearest of the plan."""

    number = WholeIn(min_value=1, max_value=MAX_TARGETS, default=1)
    price = PriceIn()


class TrailingMoveIn(In):
    """How far a trailing stop lets the price come back, in percent.

    The new order begins anew to follow it.
    """

    callback_percent = CallbackIn()


@extend_schema_field(
    {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [limit.value for limit in MoveLimit]}}
)
class ScopeIn(serializers.MultipleChoiceField):
    """The rules of a move that do not hold, by name: one at least."""


class OverrideIn(In):
    """Limits of the policy that do not hold for this move.

    The hard ceilings of the settings hold all the same.
    """

    scope = ScopeIn(choices=[limit.value for limit in MoveLimit], allow_empty=False, help_text="The rules by name.")
    reason = TextIn(max_length=500, help_text="Why more may be lost; it is written to the journal.")


class ProtectionIn(In):
    """What an operator moves. What is left out stays. A stop may be loosened here, and only here.

    A move that loosens is held against the limits of an entry: distance, open risk and loss of the day.
    """

    stop_loss = PriceIn(required=False)
    take_profits = TargetMoveIn(many=True, required=False, allow_empty=False)
    trailing = TrailingMoveIn(required=False)
    override = OverrideIn(required=False)
    reason = TextIn(max_length=500, help_text="Why; it is written to the journal.")
    by = TextIn(max_length=150, default="rest", help_text="Who; the service key has no name.")

    def validate(self, attrs: MoveAsked) -> MoveAsked:
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
