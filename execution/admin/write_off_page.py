"""The admin's page on which an operator writes off what the exchange denies."""

from collections.abc import Callable
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextInputWidget  # type: ignore[import-untyped]  # the package brings no types

from execution import wiring
from execution.domain.authorization import Authorization
from execution.domain.ports import ExchangeUnavailableError
from execution.models import ExecutionRequest
from execution.reconciliation.write_off import WriteOffRefusedError, write_off
from execution.reconciliation.write_off_conditions import VenueDenial, holding_of, read_denial

WRITE_OFF = "execution_executionrequest_write_off"
PERMISSION = "execution.write_off_trade"


class WriteOffForm(forms.Form):
    """The operator's reason, and his confirmation of what the exchange has answered."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Why; it is kept for auditors.",
    )
    confirmed = forms.BooleanField(label="The position is not at the exchange, and its last fills will not be found.")


def may_be_denied(pk: UUID) -> bool:
    """Whether the books hold anything of a decision that could be written off."""
    return not holding_of(pk).is_empty


def write_off_page(page: "ModelAdmin[ExecutionRequest]") -> Callable[..., HttpResponse]:
    """Return the view for a model admin."""

    def view(request: HttpRequest, pk: UUID) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        decision = get_object_or_404(ExecutionRequest, pk=pk)
        form = WriteOffForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            _write_off(request, pk, form.cleaned_data["reason"])
            return HttpResponseRedirect(reverse("admin:execution_executionrequest_change", args=[pk]))
        held = holding_of(pk)
        context = {
            **page.admin_site.each_context(request),
            "opts": ExecutionRequest._meta,
            "title": f"Write off {decision.symbol} {decision.direction}",
            "decision": decision,
            "held": [] if held.is_empty else held.states.items(),
            "denial": None if held.is_empty else _denial(request, pk),
            "form": form,
        }
        return TemplateResponse(request, "execution/write_off.html", context)

    return view


def _denial(request: HttpRequest, pk: UUID) -> VenueDenial | None:
    """Return what the exchange answers now, or None when it does not answer."""
    try:
        return read_denial(holding_of(pk), exchange=wiring.exchange(), clock=wiring.clock)
    except ExchangeUnavailableError:
        messages.error(request, "The exchange does not answer. Nothing can be written off without its authorization.")
        return None


def _write_off(request: HttpRequest, pk: UUID, reason: str) -> None:
    authorization = Authorization(by=request.user.get_username(), reason=reason)
    try:
        written = write_off(pk, authorization, exchange=wiring.exchange(), clock=wiring.clock)
    except WriteOffRefusedError as error:
        messages.error(request, f"{error}. Nothing was done.")
    except ExchangeUnavailableError:
        messages.error(request, "The exchange does not answer. Nothing was done.")
    else:
        action = written.action
        done = "had been written off already" if written.repeated else "is written off"
        messages.success(request, f"{action.symbol} {done}, by {action.by}.")
