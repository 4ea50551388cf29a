"""The admin's page of execution quality: what executing decisions has cost, by part and by group."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal

from django import forms
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget  # type: ignore[import-untyped]  # no types

from execution import wiring
from execution.admin.numbers import NOTHING, rounded_text
from execution.admin.shared import Cell, moment_text
from execution.admin.tables import Columns, Table, link, side, table
from execution.models import Shortfall
from execution.models.shortfall import PARTS
from execution.queries.execution_quality import (
    GroupedBy,
    QualityFilter,
    QualitySums,
    TradeCost,
    quality_groups,
    quality_total,
    worst_trades,
)

QUALITY = "execution_shortfall_report"
PERMISSION = "execution.view_shortfall"
CENT = Decimal("0.01")
RANGES = {"1": "Last day", "7": "Last 7 days", "30": "Last 30 days", "90": "Last 90 days", "365": "Last year"}
DEFAULT_DAYS = "30"


class ReportForm(forms.Form):
    """Which trades, and by what their costs are summed."""

    days = forms.ChoiceField(choices=list(RANGES.items()), required=False, widget=UnfoldAdminSelectWidget)
    by = forms.ChoiceField(
        choices=[(each.value, each.value.replace("_", " ")) for each in GroupedBy],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    symbol = forms.CharField(max_length=40, required=False, widget=UnfoldAdminTextInputWidget)
    strategy = forms.CharField(max_length=100, required=False, widget=UnfoldAdminTextInputWidget)


def quality_page(page: "ModelAdmin[Shortfall]") -> Callable[..., HttpResponse]:
    """Return the view for a model admin."""

    def view(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        form = ReportForm({"days": DEFAULT_DAYS, "by": GroupedBy.STRATEGY, **request.GET.dict()})
        asked = form.cleaned_data if form.is_valid() else {"days": DEFAULT_DAYS, "by": GroupedBy.STRATEGY}
        now = wiring.clock()
        which = QualityFilter(
            since=now - timedelta(days=int(asked["days"] or DEFAULT_DAYS)),
            until=now,
            symbol=str(asked.get("symbol", "")).strip(),
            strategy=str(asked.get("strategy", "")).strip(),
        )
        by = GroupedBy(asked["by"] or GroupedBy.STRATEGY)
        context = {
            **page.admin_site.each_context(request),
            "opts": Shortfall._meta,
            "title": "Execution quality",
            "form": form,
            "tables": [
                _sums("All trades", [quality_total(which)], by=None),
                _sums(f"By {by.value.replace('_', ' ')}", quality_groups(which, by), by=by),
                _worst(worst_trades(which)),
            ],
        }
        return TemplateResponse(request, "execution/quality.html", context)

    return view


def _sums(caption: str, rows: Sequence[QualitySums], *, by: GroupedBy | None) -> Table:
    key: Columns[QualitySums] = (
        ((by.value.replace("_", " ").capitalize(), lambda row: row.key or NOTHING),) if by else ()
    )
    columns: Columns[QualitySums] = (
        *key,
        ("Trades", lambda row: str(row.trades)),
        ("Not known", lambda row: str(row.unknown)),
        ("Notional, USD", lambda row: _usd(row.notional_usd)),
        ("Shortfall, USD", lambda row: _usd(row.total_usd)),
        ("bps", lambda row: _usd(row.basis_points)),
        *((name.capitalize(), _part(name)) for name in PARTS),
    )
    return table(caption, columns, [row for row in rows if row.trades], empty="No trade was closed in this time.")


def _part(name: str) -> Callable[[QualitySums], Cell]:
    return lambda row: _usd(row.parts[name])


def _worst(rows: Iterable[TradeCost]) -> Table:
    columns: Columns[TradeCost] = (
        ("Trade", lambda cost: link(cost.row.trade, cost.row.symbol)),
        ("Side", lambda cost: side(cost.row.direction)),
        ("Strategy", lambda cost: cost.row.strategy or NOTHING),
        ("Shortfall, USD", lambda cost: _usd(cost.total_usd)),
        ("bps", lambda cost: _usd(cost.basis_points)),
        ("Parts", _parts_text),
        ("Closed at", lambda cost: moment_text(cost.row.closed_at)),
    )
    return table("The ten that have cost most", columns, rows, empty="No trade with a known shortfall.")


def _parts_text(cost: TradeCost) -> Cell:
    """Write the known parts that are not zero, in the quote asset."""
    known = [f"{name} {rounded_text(amount, CENT)}" for name, amount in cost.parts.items() if amount]
    return format_html("{} {}", ", ".join(known), cost.row.quote_asset) if known else NOTHING


def _usd(amount: Decimal | None) -> str:
    return rounded_text(amount, CENT)
