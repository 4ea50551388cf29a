"""The shapes that are about the service itself: problems, figures, kill switch."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, In, Moment, TextIn
from execution.domain.kill_switch import KillLevel
from execution.queries.kill_switch import RELEASED


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


class MetricsOut(AnySerializer):
    """How the service executes. Averages are over the newest thousand."""

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
        help_text="Which of the two reports fills: the user-data stream, or the monitor.",
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


class KillSwitchIn(In):
    """A move of the kill switch."""

    level = serializers.ChoiceField(choices=[*KillLevel, RELEASED])
    reason = TextIn(max_length=500, help_text="Why; it is written to the log.")
    by = TextIn(max_length=150, default="rest", help_text="Who; the service key has no name.")


class KillSwitchOut(AnySerializer):
    """The level in force, with what is left of its work."""

    level = serializers.ChoiceField(choices=[*KillLevel, RELEASED])
    reason = serializers.CharField(allow_null=True)
    by = serializers.CharField(allow_null=True)
    engaged_at = Moment(allow_null=True)
    completed_at = Moment(allow_null=True, help_text="When the exchange confirmed that nothing is left to do.")
    report = serializers.DictField(help_text="Entries that still rest or are unknown, positions that are still open.")
