"""Events in and out: as they came, as they leave, what was not understood and what was lost."""

from django.contrib import admin
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution.admin.lookups import LargeTableAdmin, by_id, by_order, by_text
from execution.admin.replay_page import REPLAY, replay_page
from execution.admin.shared import ReadOnlyAdmin, shortened, words
from execution.domain.reasons import Reason
from execution.domain.typed_ids import TypedId
from execution.models import (
    DeadLetter,
    InboxEvent,
    ModelPromotion,
    OutboxEvent,
    OutboxSequence,
    QuarantinedRow,
    SeenNonce,
    StreamLoss,
    StreamPosition,
)
from execution.models.dead_letter import ReplayOutcome
from execution.models.inbox import InboxOutcome

BUTTON = '<a class="xs-button xs-button-primary" href="{}">Correct and replay</a>'


@admin.register(InboxEvent)
class InboxAdmin(LargeTableAdmin):
    """Events as they came in."""

    list_display = (
        "received_at",
        "event_type",
        "producer",
        "identity",
        "outcome",
        "duplicates",
        "trace_id",
        "entry_id",
    )
    list_filter = (words("outcome", InboxOutcome), "received_at")
    search_fields = ("request__id",)
    searches = {TypedId.ID: by_id("request__id"), TypedId.CLIENT_ORDER_ID: by_order("request__id", of="request_id")}
    sortable_by = ("received_at",)
    ordering = ("-received_at",)


@admin.register(OutboxEvent)
class OutboxAdmin(LargeTableAdmin):
    """Events to send, and those that were sent."""

    list_display = ("id", "event_type", "aggregate", "sequence", "created_at", "sent_at")
    list_filter = (("sent_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("aggregate",)
    searches = {TypedId.ID: by_text("aggregate")}
    ordering = ("-id",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Messages that could not be read. Each can be corrected and replayed once, on a page of its own."""

    list_display = ("received_at", "replay", "event_type", "reason_code", "why", "size_bytes", "entry_id")
    list_filter = (
        ("replayed_at", admin.EmptyFieldListFilter),
        words("reason_code", Reason),
        words("outcome", ReplayOutcome),
        "received_at",
    )
    readonly_fields = ("replay",)
    search_fields = ("entry_id", "event_type", "reason", "raw", "sha256")
    ordering = ("-received_at",)

    @admin.display(description="reason", ordering="reason")
    def why(self, letter: DeadLetter) -> SafeString | str:
        return shortened(letter.reason)

    @admin.display(description="Replay")
    def replay(self, letter: DeadLetter) -> SafeString | str:
        """Link to the page until the letter has been replayed."""
        if letter.replayed_at:
            return f"{letter.outcome} by {letter.replayed_by}"
        return format_html(BUTTON, reverse(f"admin:{REPLAY}", args=[letter.pk]))

    def get_urls(self) -> list[URLPattern]:
        page = path("<int:pk>/replay/", self.admin_site.admin_view(replay_page(self)), name=REPLAY)
        return [page, *super().get_urls()]


@admin.register(SeenNonce)
class SeenNonceAdmin(ReadOnlyAdmin):
    """Signatures of events that were seen."""

    list_display = ("signed_at", "key_id", "nonce", "stream", "entry_id")
    search_fields = ("key_id", "nonce", "entry_id")
    ordering = ("-signed_at",)


@admin.register(OutboxSequence)
class OutboxSequenceAdmin(ReadOnlyAdmin):
    """The last event number of each aggregate."""

    list_display = ("aggregate", "last")
    search_fields = ("aggregate",)
    ordering = ("aggregate",)


@admin.register(StreamPosition)
class StreamPositionAdmin(ReadOnlyAdmin):
    """How far the incoming streams are handled."""

    list_display = ("event_type", "entry_id", "entries_read", "noted_at")
    ordering = ("event_type",)


@admin.register(StreamLoss)
class StreamLossAdmin(ReadOnlyAdmin):
    """Entries of incoming streams that were gone before they were read."""

    list_display = ("noticed_at", "event_type", "entries", "after_id", "before_id")
    list_filter = ("noticed_at",)
    search_fields = ("event_type", "after_id", "before_id")
    ordering = ("-noticed_at",)


@admin.register(ModelPromotion)
class PromotionAdmin(ReadOnlyAdmin):
    """Models that were promoted upstream."""

    list_display = ("promoted_at", "model", "old_version", "new_version", "received_at")
    list_filter = ("promoted_at",)
    search_fields = ("model", "new_version")
    ordering = ("-promoted_at",)


@admin.register(QuarantinedRow)
class QuarantineAdmin(ReadOnlyAdmin):
    """Stored rows that cannot be used as they are, until `manage.py quarantine` repairs them."""

    list_display = ("first_seen_at", "table", "row_id", "symbol", "problem", "last_seen_at", "released_at")
    list_filter = (("released_at", admin.EmptyFieldListFilter), "first_seen_at")
    search_fields = ("table", "row_id", "symbol", "problem")
    ordering = ("-first_seen_at",)
