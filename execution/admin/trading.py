"""Decisions, orders, trades and positions, each with its story."""

import json

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from execution.admin.shared import ReadOnlyAdmin, table, words
from execution.domain.outcomes import IncomeKind
from execution.domain.reasons import CloseReason, Reason
from execution.domain.states import ORDER_FINAL, OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, Source
from execution.models import (
    Bracket,
    BracketLeg,
    ExecutionRequest,
    ExternalPosition,
    Fill,
    Income,
    JournalHead,
    JournalSeal,
    Order,
    Position,
    Trade,
    Transition,
)
from execution.models.bracket import LegOrigin
from execution.queries.requests import transitions_of


def age_of(order: Order) -> str:
    """Return how long ago an order was sent that is not over yet."""
    return "" if order.state in ORDER_FINAL else timesince(order.sent_at)


def _as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


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
        "quote_asset",
        "net_pnl_usd",
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
        "quote_asset",
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


@admin.register(JournalSeal)
class JournalSealAdmin(ReadOnlyAdmin):
    """The journal's hash chain; `manage.py verify_journal` compares the lines with it."""

    list_display = ("position", "spans", "line_id", "removed_by")
    search_fields = ("line_id",)
    ordering = ("-position",)


@admin.register(JournalHead)
class JournalHeadAdmin(ReadOnlyAdmin):
    """Where the chain ends, and what retention may remove."""

    list_display = ("position", "line_id", "pending_id", "kept_days")
    ordering = ("id",)


@admin.register(Transition)
class TransitionAdmin(ReadOnlyAdmin):
    """What happened, why and with which numbers."""

    list_display = ("at", "entity", "entity_id", "from_state", "to_state", "trigger", "reason_code")
    list_filter = (words("reason_code", Reason), "at")
    search_fields = ("entity_id", "reason")
    ordering = ("-id",)
