"""The admin's three groups of tables and pages, of which home, sidebar and the full list are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from execution import models as m
from execution.admin import export_page, kill_switch_page, quality_page, replay_page

TRADING, CONTROLS, MACHINERY = "Trading", "Controls", "Machinery"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that is no table: its name, address and who may use it."""

    title: str
    icon: str
    about: str
    address: Callable[[], str]
    permission: str


KILL_SWITCH = Page(
    title="Kill switch",
    icon="emergency_home",
    about="Stop entries, cancel resting ones, or close everything",
    address=lambda: reverse(f"admin:{kill_switch_page.MOVE}"),
    permission=kill_switch_page.PERMISSION,
)
REPLAY = Page(
    title="Replay",
    icon="replay",
    about="Correct messages that were not understood, and take them again",
    address=lambda: f"{reverse('admin:execution_deadletter_changelist')}?{replay_page.WAITING}",
    permission="execution.view_deadletter",
)
QUALITY = Page(
    title="Execution report",
    icon="query_stats",
    about="What executing decisions has cost, and by what",
    address=lambda: reverse(f"admin:{quality_page.QUALITY}"),
    permission=quality_page.PERMISSION,
)
EXPORT = Page(
    title="Export",
    icon="download",
    about="The books as CSV, JSON Lines or Parquet, and a tax file",
    address=lambda: reverse(f"admin:{export_page.EXPORT}"),
    permission=export_page.PERMISSION,
)
# Their addresses lie below that of a table, which is not shown as open then.
PAGES_UNDER_TABLES = (KILL_SWITCH, QUALITY, EXPORT)
Entry = Page | tuple[type[Model], str]
GROUPS: Mapping[str, tuple[Entry, ...]] = {
    TRADING: (
        (m.Position, "account_balance"),
        (m.Trade, "candlestick_chart"),
        (m.ExecutionRequest, "psychology"),
        (m.Order, "receipt_long"),
        (m.Fill, "done_all"),
        (m.Income, "payments"),
        (m.AccountIncome, "account_balance_wallet"),
        (m.EquityPoint, "show_chart"),
        QUALITY,
        (m.Shortfall, "savings"),
        EXPORT,
        (m.ExternalPosition, "group"),
        (m.Bracket, "shield"),
        (m.BracketLeg, "shield_with_heart"),
        (m.TradeChart, "monitoring"),
    ),
    CONTROLS: (
        KILL_SWITCH,
        REPLAY,
        (m.KillSwitch, "history"),
        (m.OperatorAction, "gavel"),
        (m.EssStatus, "e911_emergency"),
        (m.EntryHold, "front_hand"),
        (m.VenueBlock, "block"),
        (m.PolicyValue, "tune"),
        (m.Webhook, "webhook"),
        (m.DeadLetter, "mark_email_unread"),
        (m.QuarantinedRow, "coronavirus"),
    ),
    MACHINERY: (
        (m.Heartbeat, "monitor_heart"),
        (m.AuditEvent, "history_edu"),
        (m.InboxEvent, "inbox"),
        (m.OutboxEvent, "outbox"),
        (m.OutboxSequence, "format_list_numbered"),
        (m.StreamPosition, "sync_alt"),
        (m.StreamLoss, "sync_problem"),
        (m.StreamedFill, "campaign"),
        (m.IncomeReading, "receipt"),
        (m.SeenNonce, "signature"),
        (m.ModelPromotion, "model_training"),
        (m.PositionSlot, "lock"),
        (m.AccountLease, "key"),
        (m.Metric, "monitoring"),
        (m.JournalHead, "link"),
        (m.JournalSeal, "verified"),
        (User, "person"),
        (Group, "groups"),
    ),
}


def sidebar(request: HttpRequest) -> list[dict[str, object]]:
    """Return the groups for the theme, without what the reader may not see.

    Home shows the same.
    """
    groups = [
        {
            "title": title,
            "separator": title != TRADING,
            "items": [item for each in entries if (item := _item(request, each))],
        }
        for title, entries in GROUPS.items()
    ]
    return [group for group in groups if group["items"]]


def _item(request: HttpRequest, entry: Entry) -> dict[str, object] | None:
    if isinstance(entry, Page):
        allowed = request.user.has_perm(entry.permission)
        item: dict[str, object] = {
            "title": entry.title,
            "icon": entry.icon,
            "link": entry.address(),
            "about": entry.about,
        }
        # The table below has the same address.
        return item | ({"active": False} if entry is REPLAY else {}) if allowed else None
    model, icon = entry
    if not admin.site.get_model_admin(model).has_view_permission(request):
        return None
    names = model._meta
    link = reverse(f"admin:{names.app_label}_{names.model_name}_changelist")
    active = request.path.startswith(link) and request.path not in {page.address() for page in PAGES_UNDER_TABLES}
    return {"title": str(names.verbose_name_plural).capitalize(), "icon": icon, "link": link, "active": active}


def mode_label(request: HttpRequest) -> list[str]:  # noqa: ARG001 -- the theme's signature
    """Return the mode and its colour, shown on every page: money is at stake in one of them only."""
    mode = settings.ENV.mode
    return [str(mode), {"live": "danger", "testnet": "warning"}.get(str(mode), "info")]


def stylesheet(request: HttpRequest) -> str:  # noqa: ARG001 -- the theme's signature
    return static("execution/admin.css")


def favicon(request: HttpRequest) -> str:  # noqa: ARG001 -- the theme's signature
    return static("execution/favicon.svg")
