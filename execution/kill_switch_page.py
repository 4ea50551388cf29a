"""The admin's page of the kill switch: shows what is in force and what is left to do, and calls one function."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from execution import tasks, wiring
from execution.domain.kill_switch import KillLevel
from execution.models import KillSwitch
from execution.pipeline.kill_switch import KillSwitchError, Word
from execution.queries.kill_switch import RELEASED, describe

MOVE = "execution_killswitch_move"
PERMISSION = "execution.move_killswitch"
MEANINGS = {
    KillLevel.ENTRIES: "entries: no new entry is sent",
    KillLevel.HALT: "halt: entries that rest are cancelled as well",
    KillLevel.FLATTEN: "flatten: open positions are closed at market as well",
    RELEASED: "released: entries pass again",
}


class MoveForm(forms.Form):
    """What a person may say to the switch."""

    level = forms.ChoiceField(choices=list(MEANINGS.items()), widget=forms.RadioSelect)
    reason = forms.CharField(max_length=500, help_text="Why; it is written to the log.")


def move_page(page: Any) -> Callable[..., HttpResponse]:
    """Return the view for a model admin."""

    def view(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        form = MoveForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            _move(request, form)
            return HttpResponseRedirect(reverse(f"admin:{MOVE}"))
        context = {
            **page.admin_site.each_context(request),
            "opts": KillSwitch._meta,
            "title": "Kill switch",
            "switch": describe(),
            "form": form,
        }
        return TemplateResponse(request, "execution/kill_switch.html", context)

    return view


def _move(request: HttpRequest, form: MoveForm) -> None:
    word = Word(by=request.user.get_username(), reason=form.cleaned_data["reason"])
    try:
        tasks.move_kill_switch(form.cleaned_data["level"], word, now=wiring.clock())
    except KillSwitchError as error:
        messages.error(request, f"{error}. Nothing was done.")
        return
    messages.success(request, f"Kill switch: {describe()['level']}")
