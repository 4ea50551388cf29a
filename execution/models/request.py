"""A decision on its way through the chain. Its state is the truth, the Celery message a fast path."""

from uuid import uuid4

from django.db import models
from django.db.models import Q

from execution.domain.risk_review import SizeMeasure
from execution.domain.states import REQUEST_FINAL, RequestState
from execution.domain.trading import Direction, OrderType, Source, TimeInForce
from execution.models.fields import code, one_of, optional_money


class ExecutionRequest(models.Model):
    """One decision: as asked for (`*_asked`), as approved, and where it stands.

    Its id is also its trade's id.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    inbox = models.OneToOneField("execution.InboxEvent", on_delete=models.PROTECT, related_name="request")
    source = code()
    symbol = code(40)
    direction = code(5)
    order_type = code()
    # As asked for; empty: a LIMIT entry rests until its time or the policy's is over.
    time_in_force = code(3, blank=True)
    notional_usd = optional_money()
    base_quantity_asked = optional_money()
    # Instead of both: by the account's equity or by what the stop may lose, in percent or USD.
    size_measure = code(16, blank=True)
    size_amount = optional_money()
    limit_price_asked = optional_money()
    expected_price = optional_money()
    stop_price_asked = optional_money()
    target_price_asked = optional_money()
    trail_percent = optional_money()
    # Targets, trailing, break-even and time exit as asked for; amounts are strings.
    exits_asked = models.JSONField(default=dict, blank=True)
    leverage = models.PositiveSmallIntegerField(default=1)
    confidence = models.DecimalField(max_digits=10, decimal_places=8, null=True, blank=True)
    model = models.CharField(max_length=100, blank=True)
    strategy = models.CharField(max_length=100, blank=True)
    meta_strategy = models.CharField(max_length=100, blank=True)
    regime = models.CharField(max_length=100, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    trace_id = models.CharField(max_length=200, blank=True)

    # As the guard found it: the asset of all prices, and what one unit of it was worth in USD at the approval.
    quote_asset = code(blank=True)
    quote_index = optional_money()
    reference_price = optional_money()
    limit_price = optional_money()
    quantity = optional_money()
    stop_price = optional_money()
    target_price = optional_money()
    position_side = code(5, blank=True)
    # When the guard approved it: entries a minute and look-alikes are counted by it.
    approved_at = models.DateTimeField(null=True, blank=True)
    policy_version = models.PositiveIntegerField(null=True, blank=True)

    state = code(default=RequestState.RECEIVED)
    reason_code = code(64, blank=True)
    reason = models.TextField(blank=True)
    decided_at = models.DateTimeField()
    received_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    # When a LIMIT entry that rests is cancelled; empty: by the policy in force, so long after the decision.
    entry_expires_at = models.DateTimeField(null=True, blank=True)
    # When the request last moved: reconciliation resumes those that have stood still for too long.
    moved_at = models.DateTimeField()

    class Meta:
        verbose_name = "request"
        verbose_name_plural = "requests"
        constraints = [
            one_of("request_state_known", "state", RequestState),
            one_of("request_source_known", "source", Source),
            one_of("request_direction_known", "direction", Direction),
            one_of("request_type_known", "order_type", [OrderType.MARKET, OrderType.LIMIT]),
            models.CheckConstraint(
                name="request_has_a_size",
                # A comparison with NULL is NULL, and a check lets NULL pass.
                condition=Q(notional_usd__isnull=False, notional_usd__gt=0)
                | Q(base_quantity_asked__isnull=False, base_quantity_asked__gt=0)
                | Q(size_amount__isnull=False, size_amount__gt=0),
            ),
            models.CheckConstraint(
                name="request_size_has_a_measure",
                condition=Q(size_measure="", size_amount__isnull=True)
                | Q(size_measure__in=sorted(SizeMeasure), size_amount__isnull=False, size_amount__gt=0),
            ),
            models.CheckConstraint(
                name="request_limit_has_a_price",
                condition=Q(order_type=OrderType.MARKET) | Q(limit_price_asked__isnull=False, limit_price_asked__gt=0),
            ),
            models.CheckConstraint(
                name="request_time_in_force_of_a_limit",
                condition=Q(time_in_force="") | Q(order_type=OrderType.LIMIT, time_in_force__in=sorted(TimeInForce)),
            ),
            models.CheckConstraint(name="request_leverage_range", condition=Q(leverage__gte=1, leverage__lte=125)),
        ]
        indexes = [
            # Read by reconciliation (stalled requests) and by health (requests in flight).
            models.Index(fields=["moved_at"], name="request_unfinished", condition=~Q(state__in=sorted(REQUEST_FINAL))),
            # Read by metrics and the admin's list.
            models.Index(fields=["received_at"], name="request_received"),
            # Read by the admin: a symbol's decisions, those of a source, how they ended, and why.
            models.Index(fields=["symbol", "-received_at"], name="request_symbol"),
            models.Index(fields=["source", "-received_at"], name="request_source"),
            models.Index(
                fields=["state", "-received_at"],
                name="request_outcome",
                condition=Q(state__in=sorted(REQUEST_FINAL - {RequestState.RECORDED})),
            ),
            models.Index(fields=["reason_code", "-received_at"], name="request_reason", condition=~Q(reason_code="")),
            models.Index(fields=["trace_id"], name="request_trace", condition=~Q(trace_id="")),
            # Read by the limits: approvals of the last minute, and look-alikes.
            models.Index(fields=["approved_at"], name="request_approved", condition=Q(approved_at__isnull=False)),
            # Read by retention, which may keep recorded trades for ever.
            models.Index(
                fields=["received_at"],
                name="request_ended_without_trade",
                condition=Q(state__in=sorted(REQUEST_FINAL - {RequestState.RECORDED})),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.state} {self.id}"
