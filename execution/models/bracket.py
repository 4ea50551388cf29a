"""The plan that protects a position, written with the approval before the entry is sent."""

from enum import StrEnum

from django.db import models
from django.db.models import Q

from execution.domain.distances import Measure
from execution.domain.trading import OrderPurpose
from execution.models.fields import code, money, one_of, optional_money

LEG_PURPOSES = (OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING)


class LegOrigin(StrEnum):
    """Where a leg's present price comes from.

    A default is measured from the real entry price, once that is known.
    """

    ASKED = "ASKED"
    DEFAULT = "DEFAULT"
    BREAK_EVEN = "BREAK_EVEN"
    OPERATOR = "OPERATOR"


class Bracket(models.Model):
    """The protection of one life of a position, which its request's id names.

    No other life reads these rows.

    The grid is the symbol's as far as we know: written with the approval, and again, with the legs on it, whenever the
    exchange is seen with another one. It is kept here so that a stop need not wait for an answer about filters.
    """

    request = models.OneToOneField(
        "execution.ExecutionRequest", on_delete=models.PROTECT, related_name="bracket", primary_key=True, editable=False
    )
    tick_size = money()
    quantity_step = money()
    minimum_quantity = money()
    # Of one order; empty where it was never read.
    maximum_quantity = optional_money()
    # What the entry had to be worth at least; orders that reduce are exempt.
    minimum_notional = money()
    # Since when the grid is another one than that of the approval.
    regridded_at = models.DateTimeField(null=True, blank=True)
    # Whether the first target that fills moves the stop to the entry, and how far beyond it for the fees.
    break_even = models.BooleanField(default=False)
    break_even_buffer = money(default=0)
    # Closed at market this long after the first fill.
    time_exit_seconds = models.PositiveIntegerField(null=True, blank=True)
    # Since when a stop of our own stands in for one that the exchange does not take; empty when none does. Its price is
    # the stop leg's. Then when a mark price was last compared with it, and when that reached it.
    software_since = models.DateTimeField(null=True, blank=True)
    software_seen_at = models.DateTimeField(null=True, blank=True)
    software_passed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "protection plan"
        verbose_name_plural = "protection plans"
        constraints = [
            models.CheckConstraint(
                name="bracket_grid_positive", condition=Q(tick_size__gt=0, quantity_step__gt=0, minimum_quantity__gt=0)
            ),
        ]
        indexes = [
            # Read with every message of mark prices: almost always empty.
            models.Index(fields=["software_since"], name="bracket_software", condition=Q(software_since__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"bracket of {self.request_id}"


class BracketLeg(models.Model):
    """One exit of a plan. Its orders come and go while it stays.

    `number` counts the targets, nearest first.
    """

    bracket = models.ForeignKey(Bracket, on_delete=models.PROTECT, related_name="legs")
    purpose = code(8)
    number = models.PositiveSmallIntegerField(default=1)
    origin = code(16, default=LegOrigin.ASKED)
    # Trigger price; for a trailing leg where it begins to follow, empty for at once.
    price = optional_money()
    # Of all that the entry fills.
    share = money(default=1)
    # Of a stop or target that was asked for by its distance from the entry price: in percent of that price, in R, or in
    # the quote asset by the ATR at the approval. It moves to that distance from the real entry price.
    measure = code(8, blank=True)
    distance = optional_money()
    # For a trailing leg: how far the price may come back, in percent.
    callback_percent = optional_money()

    class Meta:
        verbose_name = "protection leg"
        verbose_name_plural = "protection legs"
        constraints = [
            models.UniqueConstraint(fields=["bracket", "purpose", "number"], name="leg_once"),
            one_of("leg_purpose_known", "purpose", LEG_PURPOSES),
            one_of("leg_origin_known", "origin", LegOrigin),
            models.CheckConstraint(name="leg_share_range", condition=Q(share__gt=0, share__lte=1)),
            # One stop and one trailing leg at most; each covers all of the position.
            models.CheckConstraint(
                name="leg_only_targets_are_many", condition=Q(purpose=OrderPurpose.TARGET) | Q(number=1, share=1)
            ),
            models.CheckConstraint(
                name="leg_distance_has_a_measure",
                condition=Q(measure="", distance__isnull=True)
                | Q(measure__in=sorted(Measure), distance__isnull=False, distance__gt=0),
            ),
            models.CheckConstraint(
                name="leg_has_its_figures",
                condition=Q(purpose=OrderPurpose.TRAILING, callback_percent__isnull=False, callback_percent__gt=0)
                | (~Q(purpose=OrderPurpose.TRAILING) & Q(price__isnull=False, price__gt=0)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.number} of {self.bracket_id}"
