"""Decisions, orders, trades and positions, each with its story."""

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution.admin import tables
from execution.admin.export_page import EXPORT, export_page
from execution.admin.lookups import LargeTableAdmin, by_entity, by_id, by_number, by_order, by_symbol, by_text
from execution.admin.numbers import NOTHING, Grid, amount, display_grid, price, quantity, ratio, won
from execution.admin.quality_page import QUALITY, quality_page
from execution.admin.shared import ReadOnlyAdmin, moment_text, words
from execution.admin.write_off_page import WRITE_OFF, may_be_denied, write_off_page
from execution.domain.equity import Resolution, WalletIncome
from execution.domain.outcomes import IncomeKind
from execution.domain.reasons import CloseReason, Reason
from execution.domain.shortfall import Benchmark, TradeSize
from execution.domain.states import OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, Source
from execution.domain.typed_ids import TypedId
from execution.models import (
    AccountIncome,
    AuditEvent,
    Bracket,
    BracketLeg,
    EquityPoint,
    ExecutionRequest,
    ExternalPosition,
    Fill,
    Income,
    IncomeReading,
    JournalHead,
    JournalSeal,
    Order,
    Position,
    Shortfall,
    StreamedFill,
    Trade,
    TradeChart,
)
from execution.models.bracket import LegOrigin
from execution.models.shortfall import PARTS
from execution.queries.requests import Story, story_of
from execution.queries.story import chapters
from execution.queries.trade_now import TradeNow, trade_now

# Title, value, and what explains it.
Figure = tuple[str, SafeString | str, SafeString | str]


class StoryAdmin(LargeTableAdmin):
    """A page that begins with figures and tables of its own, above all columns."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        own = self.page_context(row) if row else {}
        answer: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **own})
        return answer

    def page_context(self, row: Any) -> dict[str, object]:
        """Return what the page's own template shows."""
        raise NotImplementedError


@admin.register(ExecutionRequest)
class RequestAdmin(StoryAdmin):
    """Decisions with every step that they took, in words.

    An operator writes off from here what the exchange denies.
    """

    change_form_template = "execution/request.html"
    list_display = ("id", "what", "in_state", "reason_code", "source", "received_at", "moved_at")
    list_filter = (
        words("state", RequestState),
        words("source", Source),
        words("direction", Direction),
        words("reason_code", Reason),
        "received_at",
    )
    list_select_related = ("bracket",)
    search_fields = ("id", "symbol", "trace_id", "orders__client_order_id")
    searches = {
        TypedId.ID: by_id("pk"),
        TypedId.CLIENT_ORDER_ID: by_order("pk", of="request_id"),
        TypedId.NUMBER: by_number("pk"),
        TypedId.SYMBOL: by_symbol(),
        TypedId.OTHER: by_text("trace_id"),
    }
    sortable_by = ("received_at",)
    ordering = ("-received_at",)

    @admin.display(description="Decision", ordering="symbol")
    def what(self, request: ExecutionRequest) -> SafeString:
        return format_html("{} {}", request.symbol, tables.side(request.direction))

    @admin.display(description="State", ordering="state")
    def in_state(self, request: ExecutionRequest) -> SafeString:
        return tables.state(request.state)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(write_off_page(self))
        return [path("<uuid:pk>/write-off/", view, name=WRITE_OFF), *super().get_urls()]

    def page_context(self, row: ExecutionRequest) -> dict[str, object]:
        story = story_of(row.pk)
        grid = display_grid(story.request)
        return {
            "figures": _figures_of(story, grid),
            "chapters": chapters(story),
            "may_be_denied": may_be_denied(row.pk),
            "tables": [tables.orders(story.orders, grid), tables.fills(story.fills, grid)],
        }


def _figures_of(story: Story, grid: Grid | None) -> list[Figure]:
    request, trade = story.request, story.trade
    asked = f"asked for {request.notional_usd:.2f} USD" if request.notional_usd else ""
    if request.size_amount is not None:
        asked = f"asked for by {request.size_measure.replace('_', ' ').lower()}: {request.size_amount.normalize():f}"
    return [
        (f"{request.symbol} {request.order_type}", tables.side(request.direction), f"from {request.source}"),
        ("State", tables.state(request.state), request.reason or request.reason_code),
        ("Quantity", quantity(request.quantity or request.base_quantity_asked, grid), asked),
        ("Stop", price(request.stop_price or request.stop_price_asked, grid), ""),
        ("Target", price(request.target_price or request.target_price_asked, grid), ""),
        ("Trade", tables.link(trade, trade.state) if trade else NOTHING, won(trade.net_pnl) if trade else ""),
    ]


@admin.register(Order)
class OrderAdmin(LargeTableAdmin):
    """Orders under all their ids."""

    list_display = (
        "what",
        "in_state",
        "kind",
        "executed",
        "trigger_price",
        "price",
        "created_at",
        "age",
        "known",
        "client_id",
        "error_code",
    )
    list_filter = (
        words("state", OrderState),
        words("purpose", OrderPurpose),
        ("alarmed_at", admin.EmptyFieldListFilter),
        "created_at",
    )
    list_select_related = ("request__bracket",)
    search_fields = ("client_order_id", "exchange_order_id", "algo_id", "symbol", "request__id")
    searches = {
        TypedId.ID: by_id("request_id"),
        TypedId.CLIENT_ORDER_ID: by_text("client_order_id"),
        TypedId.NUMBER: by_text("exchange_order_id", "algo_id"),
        TypedId.SYMBOL: by_symbol(),
    }
    ordering = ("-id",)

    @admin.display(description="Order", ordering="symbol")
    def what(self, order: Order) -> str:
        return f"{order.symbol} {order.purpose}"

    @admin.display(description="State", ordering="state")
    def in_state(self, order: Order) -> SafeString:
        return tables.state(order.state)

    @admin.display(description="Side and type", ordering="order_type")
    def kind(self, order: Order) -> str:
        return f"{order.side} {order.order_type}"

    @admin.display(description="Executed", ordering="executed_quantity")
    def executed(self, order: Order) -> SafeString:
        grid = display_grid(order)
        text = f"{quantity(order.executed_quantity, grid)} of {quantity(order.quantity, grid)}"
        return format_html('<span class="xs-level">{}</span>', text)

    @admin.display(description="Client order id", ordering="client_order_id")
    def client_id(self, order: Order) -> SafeString:
        return format_html('<span class="xs-code xs-cut" title="{0}">{0}</span>', order.client_order_id)

    @admin.display(description="Open for")
    def age(self, order: Order) -> str:
        """Show how long an unfinished order has been on its way."""
        return tables.age_text(order)

    @admin.display(description="Last evidence")
    def known(self, order: Order) -> SafeString | str:
        return tables.evidence(order, dated=False)


@admin.register(Fill)
class FillAdmin(LargeTableAdmin):
    """Fills as the exchange booked them."""

    list_display = (
        "exchange_trade_id",
        "symbol",
        "whose",
        "side",
        "quantity",
        "price",
        "realized_pnl",
        "fee",
        "maker",
        "filled_at",
    )
    list_filter = ("entry", "maker", "filled_at")
    list_select_related = ("order", "trade__request__bracket")
    search_fields = ("symbol", "exchange_trade_id", "exchange_order_id", "order__client_order_id", "trade__id")
    searches = {
        TypedId.ID: by_id("trade_id"),
        TypedId.CLIENT_ORDER_ID: by_order("order_id", of="pk"),
        TypedId.NUMBER: by_text("exchange_trade_id", "exchange_order_id"),
        TypedId.SYMBOL: by_symbol(),
    }
    sortable_by = ("filled_at",)
    ordering = ("-filled_at", "-id")

    @admin.display(description="For", ordering="order__purpose")
    def whose(self, fill: Fill) -> SafeString | str:
        return tables.link(fill.order, fill.order.purpose) if fill.order else "not ours"

    @admin.display(description="Side", ordering="buyer")
    def side(self, fill: Fill) -> str:
        return "BUY" if fill.buyer else "SELL"

    @admin.display(description="Fee", ordering="fee_value")
    def fee(self, fill: Fill) -> str:
        return f"{amount(fill.commission)} {fill.commission_asset}"


@admin.register(Income)
class IncomeAdmin(LargeTableAdmin):
    """What moved the wallet for a trade beside its fills."""

    list_display = ("at", "trade", "kind", "amount", "asset", "value", "transaction_id")
    list_filter = (words("kind", IncomeKind), "at")
    list_select_related = ("trade__request__bracket",)
    search_fields = ("transaction_id", "trade__id")
    searches = {TypedId.ID: by_id("trade_id"), TypedId.NUMBER: by_text("transaction_id")}
    sortable_by = ("at",)
    ordering = ("-at", "-id")


@admin.register(AccountIncome)
class AccountIncomeAdmin(LargeTableAdmin):
    """The account's income as it was read, with and without a trade of the service."""

    list_display = ("at", "kind", "symbol", "amount", "asset", "transaction_id")
    list_filter = (words("kind", WalletIncome), "at")
    search_fields = ("transaction_id",)
    searches = {TypedId.NUMBER: lambda word: Q(kind__in=list(WalletIncome), transaction_id=word)}
    sortable_by = ("at",)
    ordering = ("-at", "-id")


@admin.register(EquityPoint)
class EquityPointAdmin(LargeTableAdmin):
    """What the account was worth at each monitor cycle, and by spans where that is long ago."""

    list_display = ("at", "resolution", "wallet_usd", "unrealized_usd", "low_usd", "high_usd", "balances", "parts")
    list_filter = (words("resolution", Resolution), "at")
    ordering = ("-at",)


@admin.register(Shortfall)
class ShortfallAdmin(LargeTableAdmin):
    """What the execution of each closed trade has cost, by part, with a report over them."""

    list_display = ("trade", "way", "strategy", "total", *PARTS, "quote_asset", "benchmark", "closed_at")
    list_filter = (words("benchmark", Benchmark), words("direction", Direction), words("size", TradeSize), "closed_at")
    list_select_related = ("trade__request__bracket",)
    ordering = ("-closed_at",)

    @admin.display(description="Side", ordering="direction")
    def way(self, row: Shortfall) -> SafeString:
        return tables.side(row.direction)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(quality_page(self))
        return [path("report/", view, name=QUALITY), *super().get_urls()]


@admin.register(IncomeReading)
class IncomeReadingAdmin(ReadOnlyAdmin):
    """From when to when the account's income is known."""

    list_display = ("kind", "covers_from", "read_to", "read_at")


@admin.register(StreamedFill)
class StreamedFillAdmin(LargeTableAdmin):
    """Fills of our orders as the user-data stream reported them, before they were booked."""

    list_display = ("filled_at", "symbol", "buyer", "price", "quantity", "order", "reported_at")
    list_filter = ("filled_at",)
    list_select_related = ("order__request__bracket",)
    search_fields = ("order__client_order_id",)
    searches = {TypedId.CLIENT_ORDER_ID: by_order("order_id", of="pk")}
    ordering = ("-id",)


@admin.register(Trade)
class TradeAdmin(StoryAdmin):
    """Trades with their books. Those of the origin EXTERNAL were opened by another client."""

    change_form_template = "execution/trade.html"
    list_display = (
        "what",
        "in_state",
        "net",
        "risked",
        "quantity",
        "entry_price",
        "exit_price",
        "entry_at",
        "exit_at",
        "ended_by",
        "origin",
    )
    list_filter = (
        words("state", TradeState),
        words("direction", Direction),
        words("close_reason", CloseReason),
        "entry_at",
        "exit_at",
    )
    list_select_related = ("request__bracket",)
    search_fields = ("id", "symbol", "request__orders__client_order_id")
    searches = {
        TypedId.ID: by_id("pk"),
        TypedId.CLIENT_ORDER_ID: by_order("pk", of="request_id"),
        TypedId.NUMBER: by_number("pk"),
        TypedId.SYMBOL: by_symbol(),
    }
    sortable_by = ("entry_at",)
    ordering = ("-entry_at", "-id")

    def get_urls(self) -> list[URLPattern]:
        return [path("export/", self.admin_site.admin_view(export_page(self)), name=EXPORT), *super().get_urls()]

    @admin.display(description="Trade", ordering="symbol")
    def what(self, trade: Trade) -> SafeString:
        return format_html("{} {}", trade.symbol, tables.side(trade.direction))

    @admin.display(description="State", ordering="state")
    def in_state(self, trade: Trade) -> SafeString:
        return tables.state(trade.state)

    @admin.display(description="Net PnL", ordering="net_pnl_usd")
    def net(self, trade: Trade) -> SafeString | str:
        return won(trade.net_pnl, trade.quote_asset)

    @admin.display(description="R", ordering="r_multiple")
    def risked(self, trade: Trade) -> SafeString | str:
        """Show the result in units of what was risked."""
        return ratio(trade.r_multiple)

    @admin.display(description="Ended by", ordering="close_reason")
    def ended_by(self, trade: Trade) -> str:
        reason: str = trade.close_reason
        return reason or NOTHING

    @admin.display(description="Origin")
    def origin(self, trade: Trade) -> str:
        """Show where the decision came from."""
        return Source(trade.request.source).name

    def page_context(self, row: Trade) -> dict[str, object]:
        now, grid = trade_now(row), display_grid(row)
        shown = _result_of(row, grid) if now.position is None else _live(now, grid)
        return {
            "may_be_denied": may_be_denied(row.pk),
            "figures": [
                (row.symbol, tables.side(row.direction), f"{row.leverage}x"),
                ("State", tables.state(row.state), row.close_reason),
                *shown,
            ],
            "tables": [tables.orders(now.orders, grid), tables.fills(now.fills, grid)],
        }


def _live(now: TradeNow, grid: Grid | None) -> list[Figure]:
    """Return an open trade by the last reading: what it would earn, and how far its stop is."""
    trade, position, away = now.trade, now.position, now.stop_distance
    read = format_html("read {}", moment_text(position.observed_at)) if position else ""
    booked = format_html("booked so far {}", won(now.realized_pnl)) if trade.exited_quantity else ""
    return [
        ("Live PnL", won(now.unrealized_pnl, trade.quote_asset), booked or "before fees"),
        ("Open quantity", quantity(now.open_quantity, grid), f"entered at {price(trade.entry_price, grid)}"),
        ("Mark price", price(position.mark_price if position else None, grid), read),
        ("Stop", price(away.trigger if away else None, grid), f"planned {price(trade.stop_price, grid)}"),
        ("Mark to stop", tables.distance(away, grid), ""),
        ("Target", price(trade.target_price, grid), ""),
    ]


def _result_of(trade: Trade, grid: Grid | None) -> list[Figure]:
    """Return the books of a trade that the exchange shows no position of."""
    fees = f"fees {amount(trade.entry_fees + trade.exit_fees)}, funding {amount(trade.funding)}"
    return [
        ("Net PnL", won(trade.net_pnl, trade.quote_asset), fees),
        ("R multiple", ratio(trade.r_multiple), f"of {amount(trade.margin)} margin"),
        ("Entry", price(trade.entry_price, grid), moment_text(trade.entry_at)),
        ("Exit", price(trade.exit_price, grid), moment_text(trade.exit_at)),
        ("Stop", price(trade.stop_price, grid), "planned"),
        ("Target", price(trade.target_price, grid), "planned"),
    ]


@admin.register(Position)
class PositionAdmin(ReadOnlyAdmin):
    """Positions as the exchange last showed them."""

    list_display = (
        "symbol",
        "way",
        "pnl",
        "quantity",
        "entry_price",
        "mark_price",
        "liquidation_price",
        "of_trade",
        "observed_at",
    )
    list_filter = (words("direction", Direction), "observed_at")
    list_select_related = ("trade__request__bracket",)
    search_fields = ("symbol", "trade__id")
    ordering = ("symbol", "position_side")

    @admin.display(description="Side", ordering="direction")
    def way(self, position: Position) -> SafeString:
        return tables.side(position.direction)

    @admin.display(description="PnL", ordering="unrealized_pnl")
    def pnl(self, position: Position) -> SafeString | str:
        return won(position.unrealized_pnl, position.quote_asset)

    @admin.display(description="Trade")
    def of_trade(self, position: Position) -> SafeString | str:
        return tables.link(position.trade, position.trade.state) if position.trade else "not ours"


@admin.register(ExternalPosition)
class ExternalPositionAdmin(ReadOnlyAdmin):
    """Positions that none of our trades explains, with a request where our exits protect them."""

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
    list_select_related = ("request__bracket",)
    search_fields = ("symbol", "request__id")
    ordering = ("symbol", "position_side")


@admin.register(Bracket)
class BracketAdmin(LargeTableAdmin):
    """The settings that protect each position. The legs are a table of their own."""

    list_display = ("request_id", "break_even", "time_exit_seconds", "tick_size", "quantity_step")
    search_fields = ("request__id",)
    searches = {TypedId.ID: by_id("request_id")}
    ordering = ("-pk",)


@admin.register(BracketLeg)
class LegAdmin(LargeTableAdmin):
    """Stops, targets and trailing stops as planned now. Their orders show what became of each."""

    list_display = ("bracket_id", "purpose", "number", "origin", "price", "share", "callback_percent")
    list_filter = (words("purpose", OrderPurpose), words("origin", LegOrigin))
    list_select_related = ("bracket",)
    search_fields = ("bracket__request__id",)
    searches = {TypedId.ID: by_id("bracket_id")}
    ordering = ("-pk",)


@admin.register(JournalSeal)
class JournalSealAdmin(ReadOnlyAdmin):
    """The journal's hash chain, with which `manage.py verify_journal` compares the lines."""

    list_display = ("position", "spans", "line_id", "removed_by")
    search_fields = ("line_id",)
    ordering = ("-position",)


@admin.register(JournalHead)
class JournalHeadAdmin(ReadOnlyAdmin):
    """Where the chain ends, and what retention may remove."""

    list_display = ("position", "line_id", "pending_id", "kept_days")
    ordering = ("id",)


@admin.register(AuditEvent)
class AuditEventAdmin(LargeTableAdmin):
    """What happened, why and with which numbers."""

    list_display = ("at", "entity", "entity_id", "from_state", "to_state", "trigger", "reason_code")
    list_filter = (words("reason_code", Reason), "at")
    search_fields = ("entity_id",)
    searches = {TypedId.ID: by_entity("request", "trade"), TypedId.CLIENT_ORDER_ID: by_entity("order")}
    ordering = ("-id",)


@admin.register(TradeChart)
class TradeChartAdmin(ReadOnlyAdmin):
    """Candles that are kept with trades that have ended."""

    list_display = ("trade", "interval", "read_at")
    list_select_related = ("trade",)
    search_fields = ("trade__id", "trade__symbol")
    ordering = ("-read_at",)
