"""Admin tables of entry blocks and controls: slots, holds, policy, kill switch, heartbeats, metrics."""

from collections.abc import Mapping
from decimal import Decimal

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, path

from execution.admin import tables
from execution.admin.kill_switch_page import MOVE, move_page
from execution.admin.shared import ReadOnlyAdmin, words
from execution.domain.kill_switch import KillLevel
from execution.domain.policy import capped
from execution.models import (
    AccountLease,
    EntryHold,
    EssStatus,
    Heartbeat,
    KillSwitch,
    Metric,
    OperatorAction,
    PolicyValue,
    PositionSlot,
    VenueBlock,
)
from execution.queries.kill_switch import Preview


def what_goes(preview: Preview) -> list[tables.Table]:
    """Return the tables of what a level of the kill switch would close, cancel and leave alone."""
    shown = [
        tables.closing(preview.positions, "Positions that are closed"),
        tables.unread(preview.unread),
        tables.entries((*preview.entries_resting, *preview.entries_unsettled)),
        tables.closing(preview.positions_not_ours, "Positions that are not ours and stay"),
    ]
    return [each for each in shown if each.rows]


@admin.register(PositionSlot)
class PositionSlotAdmin(ReadOnlyAdmin):
    """Who holds which symbol."""

    list_display = ("symbol", "position_side", "request", "claimed_at")
    list_select_related = ("request",)
    search_fields = ("symbol", "request__id")
    ordering = ("symbol", "position_side")


@admin.register(EntryHold)
class HoldAdmin(ReadOnlyAdmin):
    """What keeps positions from being opened, until `manage.py release_entries` releases it."""

    list_display = ("scope", "reason_code", "reason", "since", "seen_at", "clear_readings")
    search_fields = ("scope", "reason")
    ordering = ("scope",)


@admin.register(VenueBlock)
class VenueBlockAdmin(ReadOnlyAdmin):
    """Entry blocks that come from the exchange's contract and account states, and end with them."""

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
    """Policy values that differ from the defaults.

    `manage.py set_policy` sets one, with its reason.
    """

    list_display = ("key", "value", "in_force", "version", "source", "changed_at")
    search_fields = ("key",)
    ordering = ("key",)

    @admin.display(description="in force, below its hard ceiling")
    def in_force(self, row: PolicyValue) -> str:
        ceilings: Mapping[str, Decimal] = settings.POLICY_CEILINGS
        return f"{capped(row.key, row.value, ceilings).normalize():f}"


@admin.register(EssStatus)
class EssAdmin(ReadOnlyAdmin):
    """The emergency stop."""

    list_display = ("state", "permitted", "reason", "source", "observed_at", "held_until", "unanswered")


@admin.register(KillSwitch)
class KillSwitchAdmin(ReadOnlyAdmin):
    """Each engagement of the kill switch, with the page that moves it."""

    list_display = ("engaged_at", "in_words", "reason", "engaged_by", "completed_at", "released_at", "released_by")
    list_filter = (words("level", KillLevel), "engaged_at")
    search_fields = ("reason", "engaged_by", "release_reason")
    ordering = ("-engaged_at",)

    @admin.display(description="level", ordering="level")
    def in_words(self, row: KillSwitch) -> str:
        return tables.state(row.level)

    def get_urls(self) -> list[URLPattern]:
        page = path("move/", self.admin_site.admin_view(move_page(self, tables=what_goes)), name=MOVE)
        return [page, *super().get_urls()]


@admin.register(OperatorAction)
class OperatorActionAdmin(ReadOnlyAdmin):
    """What operators have done by hand to one decision, with their reason and the exchange's answer."""

    list_display = ("at", "verb", "symbol", "subject", "by", "reason")
    list_filter = ("verb", "at")
    search_fields = ("subject", "symbol", "by", "reason")
    ordering = ("-pk",)


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """When each periodic part last did its work."""

    list_display = ("part", "at", "healthy", "details")
    ordering = ("part",)


@admin.register(Metric)
class MetricAdmin(ReadOnlyAdmin):
    """What /metrics adds up over processes and restarts."""

    list_display = ("name", "kind", "bound", "count", "total")
    search_fields = ("name", "kind")
    ordering = ("name", "kind", "bound")
