"""The answer to an alert that was taken in."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer
from execution.domain.alerts import AlertVerb
from execution.webhooks.intake import IdentifiedBy, TakenAlert


class TakenAlertOut(AnySerializer):
    """An alert that is stored: as a new signal, or as a repeat of one."""

    repeated = serializers.BooleanField(
        source="accepted.repeated", help_text="It had come before: nothing more will follow."
    )
    identified_by = serializers.ChoiceField(
        source="signal.identified_by",
        choices=[each.value for each in IdentifiedBy],
        help_text="By what a repeat is recognised: its own id, else its content with the time of its bar or its own.",
    )
    request_id = serializers.UUIDField(allow_null=True, help_text="The decision that it is, or was the first time.")
    grammar = serializers.CharField(source="signal.grammar")
    verb = serializers.ChoiceField(source="signal.verb", choices=[verb.value for verb in AlertVerb])
    symbol = serializers.CharField(source="signal.payload.symbol")
    see = serializers.SerializerMethodField(help_text="Where its outcome stands.")

    def get_see(self, taken: TakenAlert) -> str | None:
        return f"/api/execution/requests/{taken.request_id}" if taken.request_id else None
