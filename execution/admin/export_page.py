"""The admin's page from which tables of the books are taken as files."""

from collections.abc import Callable
from datetime import datetime

from django import forms
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from unfold.widgets import (  # type: ignore[import-untyped]  # the package brings no types
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from execution.domain import bounds
from execution.models import Trade
from execution.operations.export_files import FileFormat, NotInstalledError
from execution.queries.downloads import MOST_ROWS, TABLES, TAX, TooManyRowsError, download
from execution.queries.exports import DATASETS, ExportFilter, FilterError

EXPORT = "execution_trade_export"
PERMISSION = "execution.view_trade"
TIME_HELP = "As 2026-01-31 or 2026-01-31T12:00:00Z."


class MomentField(forms.CharField):
    """A time in ISO form. Without a zone it is UTC."""

    def clean(self, value: str) -> datetime | None:
        try:
            return bounds.clamped(bounds.iso_of(value)) if value else None
        except ValueError:
            raise forms.ValidationError(TIME_HELP) from None


class ExportForm(forms.Form):
    """Which table, which rows, which format."""

    table = forms.ChoiceField(choices=[(name, name) for name in TABLES], widget=UnfoldAdminSelectWidget)
    format = forms.ChoiceField(
        choices=[(each.value, each.value) for each in FileFormat], widget=UnfoldAdminSelectWidget
    )
    symbol = forms.CharField(max_length=40, required=False, widget=UnfoldAdminTextInputWidget)
    strategy = forms.CharField(max_length=100, required=False, widget=UnfoldAdminTextInputWidget)
    begin = MomentField(required=False, label="From", help_text=TIME_HELP, widget=UnfoldAdminTextInputWidget)
    to = MomentField(required=False, help_text=TIME_HELP, widget=UnfoldAdminTextInputWidget)


def export_page(page: "ModelAdmin[Trade]") -> Callable[..., HttpResponseBase]:
    """Return the view for a model admin."""

    def view(request: HttpRequest) -> HttpResponseBase:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        form = ExportForm(request.GET if "table" in request.GET else None)
        if form.is_valid():
            table = form.cleaned_data["table"]
            if not request.user.has_perm(permission_for(table)):
                raise PermissionDenied
            try:
                return download(table, filter_of(form), FileFormat(form.cleaned_data["format"]))
            except (FilterError, TooManyRowsError, NotInstalledError) as error:
                form.add_error(None, str(error))
        context = {
            **page.admin_site.each_context(request),
            "opts": Trade._meta,
            "title": "Export",
            "form": form,
            "most_rows": MOST_ROWS,
        }
        return TemplateResponse(request, "execution/export.html", context)

    return view


def permission_for(table: str) -> str:
    """Return who may read a table in the admin, and so may take it as a file."""
    model = Trade if table == TAX else DATASETS[table].model
    return f"execution.view_{model._meta.model_name}"


def filter_of(form: ExportForm) -> ExportFilter:
    """Return which rows were asked for."""
    asked = form.cleaned_data
    symbol = bounds.capitals(asked["symbol"].strip())
    return ExportFilter(since=asked["begin"], until=asked["to"], symbol=symbol, strategy=asked["strategy"].strip())
