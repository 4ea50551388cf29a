"""Orders as intended and sent. The row is committed before the call and settled after it."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from execution.domain.states import ORDER_FINAL, OrderState
from execution.domain.trading import OrderPurpose, OrderService, OrderType, PositionSide, Side
from execution.models.fields import code, money, one_of, optional_money

# Nearly every trade has them.
COMMON_PURPOSES = frozenset({OrderPurpose.ENTRY, OrderPurpose.STOP, OrderPurpose.TARGET})


class Order(models.Model):
    """One order at the exchange: entry, stop, target, trailing stop or close of a request's trade."""

    request = models.ForeignKey("execution.ExecutionRequest", on_delete=models.PROTECT, related_name="orders")
    # The leg of the plan that it serves; empty for entries and for what closes the whole position.
    leg = models.ForeignKey(
        "execution.BracketLeg", on_delete=models.PROTECT, null=True, blank=True, related_name="orders"
    )
    purpose = code(8)
    sequence = models.PositiveIntegerField()
    client_order_id = models.CharField(max_length=36, unique=True)
    service = code(8)
    # The exchange's ids; a conditional order gets its order id when it triggers.
    exchange_order_id = models.CharField(max_length=32, blank=True)
    algo_id = models.CharField(max_length=32, blank=True)

    symbol = code(40)
    side = code(4)
    position_side = code(5)
    order_type = code()
    quantity = money()
    price = optional_money()
    # For a trailing stop where it begins to follow the price.
    trigger_price = optional_money()
    callback_percent = optional_money()
    # As the decision asked for; empty: GTD where the entry has an end, else GTC.
    time_in_force = code(3, blank=True)
    reduce_only = models.BooleanField(default=False)

    state = code(default=OrderState.SUBMITTING)
    executed_quantity = money(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    # When the last attempt was signed: with the receive window it bounds how long the exchange may still accept it.
    sent_at = models.DateTimeField()
    recv_window_ms = models.PositiveIntegerField()
    # What it means for a trade to be ended by this order, where its purpose alone does not say it.
    close_reason = code(blank=True)
    error_code = models.IntegerField(null=True, blank=True)
    last_evidence = models.TextField(blank=True)
    last_evidence_at = models.DateTimeField(null=True, blank=True)
    # Successive look-ups that found nothing; counted anew whenever other evidence arrives.
    missing_readings = models.PositiveIntegerField(default=0)
    # When the first of these was.
    missing_since = models.DateTimeField(null=True, blank=True)
    # Successive cancels after which it still rested, and when the last was sent: the pause before the next grows.
    cancel_tries = models.PositiveIntegerField(default=0)
    cancel_tried_at = models.DateTimeField(null=True, blank=True)
    # When an entry that has rested for too long was first to be cancelled for that.
    expired_at = models.DateTimeField(null=True, blank=True)
    # Since when the order's outcome is unknown, although it should be known; empty when it is known again.
    alarmed_at = models.DateTimeField(null=True, blank=True)
    # Of a live stop: since when the mark price is seen past it, or it has triggered, and since when that is too long.
    passed_since = models.DateTimeField(null=True, blank=True)
    overdue_at = models.DateTimeField(null=True, blank=True)
    # Of a live trailing stop: the best mark price seen since it rests.
    best_mark = optional_money()
    created_at = models.DateTimeField()
    # When the exchange made it, by its own clock; empty until it has reported that.
    accepted_at = models.DateTimeField(null=True, blank=True)

    # No column: the quantity of its fills that is booked, where a statement has read it beside the order.
    booked: Decimal | None = None

    class Meta:
        verbose_name = "order"
        verbose_name_plural = "orders"
        constraints = [
            models.UniqueConstraint(fields=["request", "purpose", "sequence"], name="order_once_per_step"),
            # One decision, at most one entry order: not even a second attempt under another id.
            models.UniqueConstraint(
                fields=["request"], condition=Q(purpose=OrderPurpose.ENTRY), name="order_one_entry_per_request"
            ),
            one_of("order_state_known", "state", OrderState),
            one_of("order_purpose_known", "purpose", OrderPurpose),
            one_of("order_service_known", "service", OrderService),
            one_of("order_side_known", "side", Side),
            one_of("order_position_side_known", "position_side", PositionSide),
            one_of("order_type_known", "order_type", OrderType),
            models.CheckConstraint(name="order_quantity_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(name="order_executed_not_negative", condition=Q(executed_quantity__gte=0)),
        ]
        indexes = [
            # Read by reconciliation: everything that is not over.
            models.Index(fields=["id"], name="order_unfinished", condition=~Q(state__in=sorted(ORDER_FINAL))),
            # Read when a fill's order is looked for.
            models.Index(fields=["exchange_order_id"], name="order_exchange_id"),
            # Read by the admin: a conditional order's number, a symbol's orders, what ended unfilled, what is rare.
            models.Index(fields=["algo_id"], name="order_algo_id", condition=~Q(algo_id="")),
            models.Index(fields=["symbol", "-id"], name="order_symbol"),
            models.Index(
                fields=["state", "-id"],
                name="order_outcome",
                condition=Q(state__in=sorted(ORDER_FINAL - {OrderState.FILLED})),
            ),
            models.Index(
                fields=["purpose", "-id"],
                name="order_rare_purpose",
                condition=Q(purpose__in=sorted(set(OrderPurpose) - COMMON_PURPOSES)),
            ),
            models.Index(fields=["-id"], name="order_alarmed", condition=Q(alarmed_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} {self.client_order_id} {self.state}"
