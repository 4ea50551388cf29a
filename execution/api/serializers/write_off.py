"""The shapes of an operator's write-off."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, In, Moment, TextIn


class WriteOffIn(In):
    """Why a position that the exchange denies is to be written off."""

    reason = TextIn(max_length=500, help_text="Why; it is kept for auditors.")
    by = TextIn(max_length=150, default="rest", help_text="Who; the service key has no name.")


class WrittenOffOut(AnySerializer):
    """What was written off, by whom, and what the exchange answered then."""

    request_id = serializers.UUIDField(source="action.subject", help_text="Of the decision, and of its trade.")
    symbol = serializers.CharField(source="action.symbol")
    by = serializers.CharField(source="action.by")
    reason = serializers.CharField(source="action.reason")
    at = Moment(source="action.at")
    before = serializers.DictField(
        source="action.before", help_text="The states that it has ended, by what they are of."
    )
    evidence = serializers.DictField(source="action.evidence", help_text="`read_at`, and the exchange's `answers`.")
    repeated = serializers.BooleanField(help_text="It was written off before: this call has changed nothing.")
