"""The admin's kill switch page: shows the level in force and what a level would do, and moves it."""

from collections.abc import Callable, Sequence

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextInputWidget  # type: ignore[import-untyped]  # the package brings no types

from execution import wiring
from execution.admin.tables import Table
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import KillSwitch
from execution.queries.kill_switch import RELEASED, Preview, describe, preview
from execution.risk.kill_switch import KillSwitchError
from execution.workflow import apply_kill_switch

MOVE = "execution_killswitch_move"
PERMISSION = "execution.move_killswitch"
MEANINGS = {
    KillLevel.ENTRIES: "entries: no new entry is sent",
    KillLevel.HALT: "halt: entries that rest are cancelled as well",
    KillLevel.FLATTEN: "flatten: open positions are closed at market as well",
    RELEASED: "released: entries pass again",
}


class MoveForm(forms.Form):
    """What an operator may ask of the kill switch.

    `confirmed` comes with the page that shows what will be done.
    """

    level = forms.ChoiceField(choices=list(MEANINGS.items()), widget=forms.RadioSelect)
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Why; it is written to the log.",
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    @property
    def asks_first(self) -> bool:
        """Whether the level cancels or closes something that the operator has not been shown yet."""
        level = self.cleaned_data["level"]
        return level != RELEASED and KillLevel(level).cancels_entries and not self.cleaned_data["confirmed"]


def move_page(
    page: "ModelAdmin[KillSwitch]", *, tables: Callable[[Preview], Sequence[Table]]
) -> Callable[..., HttpResponse]:
    """Return the view for a model admin.

    `tables` writes what a level would cancel and close.
    """

    def view(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        form = MoveForm(request.POST or None)
        switch = describe()
        context = {**page.admin_site.each_context(request), "opts": KillSwitch._meta, "switch": switch}
        if request.method == "POST" and form.is_valid():
            if form.asks_first:
                return _confirmation(request, form, context, tables)
            _move(request, form)
            return HttpResponseRedirect(reverse(f"admin:{MOVE}"))
        shown = {"title": "Kill switch", "form": form, "is_released": switch["level"] == RELEASED}
        return TemplateResponse(request, "execution/kill_switch.html", context | shown)

    return view


def _confirmation(
    request: HttpRequest, form: MoveForm, context: dict[str, object], tables: Callable[[Preview], Sequence[Table]]
) -> HttpResponse:
    """Show what will be cancelled and closed, and do nothing until it is sent again from there."""
    level = KillLevel(form.cleaned_data["level"])
    found = preview(level)
    asked = {"level": level, "reason": form.cleaned_data["reason"], "preview": found, "tables": tables(found)}
    shown = {"title": f"Kill switch: confirm {level}", "closes": level.closes_positions, **asked}
    return TemplateResponse(request, "execution/kill_switch_confirm.html", context | shown)


def _move(request: HttpRequest, form: MoveForm) -> None:
    authorization = Authorization(by=request.user.get_username(), reason=form.cleaned_data["reason"])
    try:
        apply_kill_switch(form.cleaned_data["level"], authorization, now=wiring.clock())
    except KillSwitchError as error:
        messages.error(request, f"{error}. Nothing was done.")
        return
    messages.success(request, f"Kill switch: {describe()['level']}")
