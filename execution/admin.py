"""The books for people: everything can be found and read; only dead letters and the kill switch can be acted on."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from unfold.admin import ModelAdmin  # type: ignore[import-untyped]  # the package brings no types

from execution.domain.kill_switch import KillLevel
from execution.domain.outcomes import IncomeKind
from execution.domain.reasons import CloseReason, Reason
from execution.domain.states import ORDER_FINAL, OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, Source
from execution.kill_switch_page import MOVE, move_page
from execution.models import (
    AccountLease,
    Bracket,
    BracketLeg,
    DeadLetter,
    EntryClaim,
    EntryHold,
    EssStatus,
    ExecutionRequest,
    ExternalPosition,
    Fill,
    Heartbeat,
    Impediment,
    InboxEvent,
    Income,
    KillSwitch,
    ModelPromotion,
    Order,
    OutboxEvent,
    OutboxSequence,
    PolicyValue,
    Position,
    StreamLoss,
    StreamPosition,
    Trade,
    Transition,
)
from execution.models.bracket import LegOrigin
from execution.models.dead_letter import RedriveOutcome
from execution.models.inbox import InboxOutcome
from execution.queries.requests import transitions_of
from execution.redrive_page import REDRIVE, redrive_page


def words(column: str, vocabulary: type[StrEnum]) -> type[SimpleListFilter]:
    """Return a filter by a column's known words; Django's own would read the whole table to find them."""

    class WordFilter(SimpleListFilter):
        title = column.replace("_", " ")
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
            return [(word, word) for word in vocabulary]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
            return queryset.filter(**{column: self.value()}) if self.value() else queryset

    return WordFilter


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> SafeString:
    """Return an HTML table; every cell is escaped."""
    line = format_html_join(
        "", "<th style='text-align:left;padding:2px 12px 2px 0'>{}</th>", ((word,) for word in head)
    )
    body = format_html_join("", "<tr>{}</tr>", ((_cells(row),) for row in rows))
    return format_html("<table><tr>{}</tr>{}</table>", line, body)


def _cells(row: tuple[Any, ...]) -> SafeString:
    return format_html_join("", "<td style='padding:2px 12px 2px 0;vertical-align:top'>{}</td>", ((c,) for c in row))


def age_of(order: Order) -> str:
    """Return how long ago an order was sent that is not over yet."""
    return "" if order.state in ORDER_FINAL else timesince(order.sent_at)


def _as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # as above
    """Shows every column; states change by evidence only, never by hand."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 -- the framework's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False


@admin.register(ExecutionRequest)
class RequestAdmin(ReadOnlyAdmin):
    """Decisions with every step that they took."""

    list_display = ("id", "symbol", "direction", "source", "state", "reason_code", "received_at", "moved_at")
    list_filter = (
        words("state", RequestState),
        words("source", Source),
        words("direction", Direction),
        words("reason_code", Reason),
        "received_at",
    )
    search_fields = ("id", "symbol", "trace_id", "orders__client_order_id")
    readonly_fields = ("orders_now", "story")
    ordering = ("-received_at",)

    @admin.display(description="Orders")
    def orders_now(self, request: ExecutionRequest) -> SafeString:
        """Show each order's state, and what is known of it since when."""
        return table(
            ("order", "state", "age of an unfinished one", "last evidence", "at", "unsettled since"),
            (
                (
                    f"{order.purpose} {order.client_order_id}",
                    order.state,
                    age_of(order),
                    order.last_evidence,
                    order.last_evidence_at or "",
                    order.alarmed_at or "",
                )
                for order in request.orders.order_by("id")
            ),
        )

    @admin.display(description="Transitions")
    def story(self, request: ExecutionRequest) -> SafeString:
        """Show the steps of the request, its orders and its trade."""
        steps = transitions_of(request.pk, list(request.orders.all()))
        return table(
            ("at", "entity", "from", "to", "trigger", "reason", "details"),
            (
                (
                    f"{step.at:%Y-%m-%d %H:%M:%S.%f}",
                    f"{step.entity} {step.entity_id}",
                    step.from_state,
                    step.to_state,
                    step.trigger,
                    step.reason or step.reason_code,
                    _as_text(step.details),
                )
                for step in steps
            ),
        )


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders under all their ids."""

    list_display = (
        "client_order_id",
        "symbol",
        "purpose",
        "side",
        "order_type",
        "state",
        "quantity",
        "executed_quantity",
        "trigger_price",
        "price",
        "exchange_order_id",
        "algo_id",
        "error_code",
        "age",
        "last_evidence",
        "alarmed_at",
        "created_at",
    )
    list_filter = (
        words("state", OrderState),
        words("purpose", OrderPurpose),
        ("alarmed_at", admin.EmptyFieldListFilter),
        "created_at",
    )
    search_fields = ("client_order_id", "exchange_order_id", "algo_id", "symbol", "request__id")
    ordering = ("-id",)

    @admin.display(description="Age")
    def age(self, order: Order) -> str:
        """Show how long an unfinished order has been on its way."""
        return age_of(order)


@admin.register(Fill)
class FillAdmin(ReadOnlyAdmin):
    """Fills as the exchange booked them."""

    list_display = (
        "exchange_trade_id",
        "symbol",
        "order",
        "entry",
        "buyer",
        "price",
        "quantity",
        "realized_pnl",
        "commission",
        "commission_asset",
        "fee_value",
        "maker",
        "filled_at",
    )
    list_filter = ("entry", "maker", "filled_at")
    list_select_related = ("order",)
    search_fields = ("symbol", "exchange_trade_id", "exchange_order_id", "order__client_order_id", "trade__id")
    ordering = ("-filled_at", "-id")


@admin.register(Income)
class IncomeAdmin(ReadOnlyAdmin):
    """What moved the wallet for a trade beside its fills."""

    list_display = ("at", "trade", "kind", "amount", "asset", "value", "transaction_id")
    list_filter = (words("kind", IncomeKind), "at")
    list_select_related = ("trade",)
    search_fields = ("transaction_id", "trade__id", "trade__symbol")
    ordering = ("-at", "-id")


@admin.register(Trade)
class TradeAdmin(ReadOnlyAdmin):
    """Trades with their books; of the origin EXTERNAL those that somebody else has opened."""

    list_display = (
        "id",
        "symbol",
        "direction",
        "state",
        "quantity",
        "entry_price",
        "entry_at",
        "exit_price",
        "exit_at",
        "close_reason",
        "net_pnl",
        "r_multiple",
        "origin",
    )
    list_filter = (
        words("state", TradeState),
        words("direction", Direction),
        words("close_reason", CloseReason),
        ("request__source", admin.AllValuesFieldListFilter),
        "entry_at",
        "exit_at",
    )
    list_select_related = ("request",)
    search_fields = ("id", "symbol", "request__orders__client_order_id")
    ordering = ("-entry_at", "-id")

    @admin.display(description="Origin")
    def origin(self, trade: Trade) -> str:
        """Show where the decision came from."""
        source: str = trade.request.source
        return source.upper()


@admin.register(Position)
class PositionAdmin(ReadOnlyAdmin):
    """Positions as the exchange last showed them."""

    list_display = (
        "symbol",
        "position_side",
        "direction",
        "quantity",
        "entry_price",
        "mark_price",
        "unrealized_pnl",
        "liquidation_price",
        "trade",
        "observed_at",
    )
    list_filter = (words("direction", Direction), "observed_at")
    list_select_related = ("trade",)
    search_fields = ("symbol", "trade__id")
    ordering = ("symbol", "position_side")


@admin.register(ExternalPosition)
class ExternalPositionAdmin(ReadOnlyAdmin):
    """Positions that no trade of ours explains; with a request where they have exits of ours."""

    list_display = (
        "symbol",
        "position_side",
        "direction",
        "quantity",
        "entry_price",
        "since",
        "seen_at",
        "readings",
        "flat_readings",
        "request",
    )
    list_filter = (words("direction", Direction), ("request", admin.EmptyFieldListFilter))
    list_select_related = ("request",)
    search_fields = ("symbol", "request__id")
    ordering = ("symbol", "position_side")


@admin.register(Transition)
class TransitionAdmin(ReadOnlyAdmin):
    """What happened, why and with which numbers."""

    list_display = ("at", "entity", "entity_id", "from_state", "to_state", "trigger", "reason_code")
    list_filter = (words("reason_code", Reason), "at")
    search_fields = ("entity_id", "reason")
    ordering = ("-id",)


@admin.register(InboxEvent)
class InboxAdmin(ReadOnlyAdmin):
    """Events as they came in."""

    list_display = ("received_at", "event_type", "identity", "outcome", "duplicates", "trace_id", "entry_id")
    list_filter = (words("outcome", InboxOutcome), "received_at")
    search_fields = ("identity", "trace_id", "entry_id", "event_type")
    ordering = ("-received_at",)


@admin.register(OutboxEvent)
class OutboxAdmin(ReadOnlyAdmin):
    """Events to send, and those that were sent."""

    list_display = ("id", "event_type", "aggregate", "sequence", "created_at", "sent_at")
    list_filter = (("sent_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("event_id", "aggregate", "event_type", "trace_id")
    ordering = ("-id",)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Messages that were not understood; each can be corrected and driven again, once, on a page of its own."""

    list_display = ("received_at", "event_type", "reason_code", "reason", "size_bytes", "entry_id", "outcome")
    list_filter = (words("reason_code", Reason), words("outcome", RedriveOutcome), "received_at")
    readonly_fields = ("drive_again",)
    search_fields = ("entry_id", "event_type", "reason", "raw", "sha256")
    ordering = ("-received_at",)

    @admin.display(description="Drive again")
    def drive_again(self, letter: DeadLetter) -> SafeString | str:
        """Lead to the page, as long as the letter has not been driven again."""
        if letter.redriven_at:
            return f"{letter.outcome} by {letter.redriven_by}"
        return format_html("<a href='{}'>Correct and drive again</a>", reverse(f"admin:{REDRIVE}", args=[letter.pk]))

    def get_urls(self) -> list[Any]:
        page = path("<int:pk>/redrive/", self.admin_site.admin_view(redrive_page(self)), name=REDRIVE)
        return [page, *super().get_urls()]


@admin.register(Bracket)
class BracketAdmin(ReadOnlyAdmin):
    """How each position is protected: its settings; the legs are a table of their own."""

    list_display = ("request_id", "break_even", "time_exit_seconds", "tick_size", "quantity_step")
    search_fields = ("request__id", "request__symbol")
    ordering = ("-pk",)


@admin.register(BracketLeg)
class LegAdmin(ReadOnlyAdmin):
    """Stops, targets and trailing stops as planned now; their orders say what became of each."""

    list_display = ("bracket_id", "purpose", "number", "origin", "price", "share", "callback_percent")
    list_filter = (words("purpose", OrderPurpose), words("origin", LegOrigin))
    search_fields = ("bracket__request__id", "bracket__request__symbol")
    ordering = ("-pk",)


@admin.register(EntryClaim)
class ClaimAdmin(ReadOnlyAdmin):
    """Who holds which symbol."""

    list_display = ("symbol", "position_side", "request", "claimed_at")
    list_select_related = ("request",)
    search_fields = ("symbol", "request__id")
    ordering = ("symbol", "position_side")


@admin.register(EntryHold)
class HoldAdmin(ReadOnlyAdmin):
    """What keeps positions from being opened; `manage.py release_entries` releases it."""

    list_display = ("scope", "reason_code", "reason", "since", "seen_at", "clear_readings")
    search_fields = ("scope", "reason")
    ordering = ("scope",)


@admin.register(Impediment)
class ImpedimentAdmin(ReadOnlyAdmin):
    """What the exchange says that entries cannot go by; it ends when the exchange says otherwise."""

    list_display = ("scope", "reason_code", "sentence", "alarming", "since")
    list_filter = ("alarming", "reason_code")
    search_fields = ("scope", "sentence")
    ordering = ("-alarming", "scope")


@admin.register(AccountLease)
class LeaseAdmin(ReadOnlyAdmin):
    """Which settings trade which account."""

    list_display = ("account", "settings", "holder", "fence", "taken_at", "renewed_at", "reconciled_at")
    ordering = ("account",)


@admin.register(PolicyValue)
class PolicyAdmin(ReadOnlyAdmin):
    """Policy values that differ from the defaults."""

    list_display = ("key", "value", "version", "source", "changed_at")
    search_fields = ("key",)
    ordering = ("key",)


@admin.register(EssStatus)
class EssAdmin(ReadOnlyAdmin):
    """The emergency stop."""

    list_display = ("state", "permitted", "reason", "source", "observed_at", "held_until", "unanswered")


@admin.register(KillSwitch)
class KillSwitchAdmin(ReadOnlyAdmin):
    """Each time that the kill switch was engaged; it is moved on a page of its own."""

    list_display = ("engaged_at", "level", "reason", "engaged_by", "completed_at", "released_at", "released_by")
    list_filter = (words("level", KillLevel), "engaged_at")
    search_fields = ("reason", "engaged_by", "release_reason")
    ordering = ("-engaged_at",)

    def get_urls(self) -> list[Any]:
        page = path("move/", self.admin_site.admin_view(move_page(self)), name=MOVE)
        return [page, *super().get_urls()]


@admin.register(ModelPromotion)
class PromotionAdmin(ReadOnlyAdmin):
    """Models that were promoted upstream."""

    list_display = ("promoted_at", "model", "old_version", "new_version", "received_at")
    list_filter = ("promoted_at",)
    search_fields = ("model", "new_version")
    ordering = ("-promoted_at",)


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """When each periodic part last did its work."""

    list_display = ("part", "at", "healthy", "details")
    ordering = ("part",)


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
