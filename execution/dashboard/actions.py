"""What an operator does from a trade's page: the forms, and the calls behind them."""

from decimal import Decimal
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from rest_framework.exceptions import APIException, ValidationError

from execution import wiring
from execution.api.protection import move_by_hand
from execution.api.serializers.protection import MoveAsked
from execution.domain.bounds import DECIMALS
from execution.domain.brackets import break_even_at
from execution.domain.money import plain
from execution.domain.trading import Direction
from execution.models import Bracket, Trade

MOVE_PERMISSION = "execution.move_protection"
MOST_DIGITS = 24


class StopForm(forms.Form):
    """A new price for the stop, why, and the operator's confirmation.

    Break-even is a price like any other.
    """

    price = forms.DecimalField(
        label="New stop price",
        min_value=Decimal("1e-12"),
        max_digits=MOST_DIGITS,
        decimal_places=DECIMALS,
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "decimal"}),
    )
    reason = forms.CharField(
        label="Reason",
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="Kept for auditors.",
    )
    confirmed = forms.BooleanField(label="The stop order at the exchange is replaced by one at this price.")


def break_even_price(trade: Trade) -> Decimal:
    """Return the entry price with the plan's room for fees, on the contract's tick."""
    bracket = Bracket.objects.get(pk=trade.pk)
    price: Decimal = break_even_at(
        Direction(trade.direction), trade.entry_price, bracket.break_even_buffer, bracket.tick_size
    )
    return price


def move_stop_by_hand(request: HttpRequest, pk: UUID, form: StopForm) -> bool:
    """Move the stop, and leave a message about what became of it. False when nothing was changed."""
    price: Decimal = form.cleaned_data["price"]
    asked: MoveAsked = {"stop_loss": price, "reason": form.cleaned_data["reason"], "by": request.user.get_username()}
    try:
        moved = move_by_hand(pk, asked, now=wiring.clock(), answer_seconds=settings.ENV.order_answer_seconds)
    except ValidationError as error:
        messages.error(request, f"{broken_rules_text(error)} Nothing was changed.")
        return False
    except APIException as error:
        messages.error(request, str(error.detail))
        return False
    ends = "and rests at the exchange." if moved.settled else "; its order is on its way."
    messages.success(request, f"The stop lies at {plain(price)} {ends}".replace(" ;", ";"))
    return True


def broken_rules_text(error: ValidationError) -> str:
    """Return the broken rules of a move in one line."""
    found = error.detail
    parts = found.values() if isinstance(found, dict) else [found]
    return " ".join(f"{sentence}." for part in parts for sentence in (part if isinstance(part, list) else [part]))
