"""The shapes of recorded events."""

from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, Moment
from execution.models import OutboxEvent
from execution.outbox.relay import payload_of


class EventOut(AnySerializer):
    """One event as it stands on the bus, with its place in the record."""

    id = serializers.IntegerField(help_text="The cursor: ids grow, with gaps.")
    event_id = serializers.UUIDField(help_text="The same however often the event is sent.")
    event_type = serializers.CharField()
    aggregate = serializers.CharField(help_text="The trade's id, or what else the event is about.")
    sequence = serializers.IntegerField(help_text="Without gaps per aggregate.")
    payload = serializers.DictField()
    trace_id = serializers.CharField()
    timestamp = Moment(source="created_at")
    sent_at = Moment(allow_null=True, help_text="When the bus took it; null while it waits.")

    def to_representation(self, instance: OutboxEvent) -> dict[str, object]:
        return super().to_representation(instance) | {"payload": payload_of(instance)}


class EventsOut(AnySerializer):
    """A page of events, in the order of their ids."""

    events = EventOut(many=True)
    next_after = serializers.IntegerField(help_text="Ask with this as `after` for what follows.")
    has_more = serializers.BooleanField(help_text="Whether more is there already.")
    oldest_id = serializers.IntegerField(
        allow_null=True, help_text="The oldest event that is still kept; null when there is none."
    )
