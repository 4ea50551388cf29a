"""Webhooks in the admin: their table, and the pages that make one and revoke one."""

from collections.abc import Callable
from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import (  # type: ignore[import-untyped]  # the package brings no types
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from execution import wiring
from execution.admin.numbers import NOTHING
from execution.admin.shared import ReadOnlyAdmin, shortened
from execution.domain.alerts import AlertVerb
from execution.domain.authorization import Authorization
from execution.models import Webhook
from execution.webhooks.manage import WebhookError, WebhookRules, create_webhook, revoke_webhook
from execution_project.networks import networks

CREATE, REVOKE = "execution_webhook_create", "execution_webhook_revoke"
PERMISSION = "execution.manage_webhooks"
BUTTON = '<a class="xs-button" href="{}">Revoke</a>'


def _text(help_text: str, *, required: bool = False, initial: str = "") -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    return forms.CharField(max_length=1000, required=required, initial=initial, widget=widget, help_text=help_text)


def _whole(help_text: str, *, required: bool = True, initial: int | None = None) -> forms.IntegerField:
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "inputmode": "numeric"})
    return forms.IntegerField(required=required, initial=initial, widget=widget, help_text=help_text)


def _object(help_text: str) -> forms.JSONField:
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 4, "class": "xs-payload", "spellcheck": "false"})
    return forms.JSONField(required=False, initial=dict, widget=widget, help_text=help_text)


class WebhookForm(forms.Form):
    """What a new webhook may do."""

    name = _text("1 to 32 of a-z 0-9 and -. Signals carry it as webhook:NAME.", required=True)
    verbs = forms.MultipleChoiceField(
        choices=[(verb.value, verb.value) for verb in AlertVerb],
        initial=["long", "short"],
        widget=forms.CheckboxSelectMultiple,
        help_text="What its alerts may ask for.",
    )
    quantity = forms.DecimalField(
        required=False,
        min_value=Decimal(0),
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Of each entry, in the base asset, whatever the alert asks for. Empty: the alert's own.",
    )
    defaults = _object('Fields of an order where the alert has none, such as {"leverage": 3, "stop_loss": "49000"}.')
    symbol_map = _object('Contracts by the alerts\' symbols, such as {"BYBIT:BTCUSDT.P": "BTCUSDT"}.')
    networks = _text("From where it may be called, such as 52.89.214.238, 10.0.0.0/8. Empty: from anywhere.")
    secret = _text("What the alert must carry in its field secret. Empty: nothing. It is not shown again.")
    max_lag_seconds = _whole("An alert that comes later after its time is refused. Empty: no bound.", required=False)
    repeat_window_seconds = _whole("For so long the same content without an id is a repeat.", initial=300)
    calls_per_minute = _whole("More are answered with 429.", initial=60)
    reason = _text("Why; it is written to the log.", required=True)

    def rules(self) -> WebhookRules:
        asked = {name: value for name, value in self.cleaned_data.items() if name != "reason"}
        return WebhookRules(**{**asked, "defaults": asked["defaults"] or {}, "symbol_map": asked["symbol_map"] or {}})


class RevokeForm(forms.Form):
    """The operator's reason for the end of a webhook."""

    reason = _text("Why; it is written to the log.", required=True)


def _authorization(request: HttpRequest, form: forms.Form) -> Authorization:
    return Authorization(by=request.user.get_username(), reason=form.cleaned_data["reason"])


def create_page(page: "admin.ModelAdmin[Webhook]") -> Callable[..., HttpResponse]:
    """Return the view that makes a webhook. Its token stands in this one answer and nowhere else."""

    def view(request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        form = WebhookForm(request.POST or None)
        context = {**page.admin_site.each_context(request), "opts": Webhook._meta, "title": "Create a webhook"}
        if request.method == "POST" and form.is_valid():
            try:
                authorization = _authorization(request, form)
                made = create_webhook(form.rules(), authorization, check_networks=networks, now=wiring.clock())
            except WebhookError as error:
                form.add_error(None, str(error))
            else:
                shown = {"webhook": made[0], "address": request.build_absolute_uri(f"/hooks/{made[1]}")}
                # Pages of the admin are not cached.
                return TemplateResponse(request, "execution/webhook_created.html", context | shown)
        return TemplateResponse(request, "execution/webhook_create.html", context | {"form": form})

    return view


def revoke_page(page: "admin.ModelAdmin[Webhook]") -> Callable[..., HttpResponse]:
    """Return the view that revokes a webhook."""

    def view(request: HttpRequest, pk: int) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        webhook = get_object_or_404(Webhook, pk=pk, revoked_at=None)
        form = RevokeForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            revoke_webhook(webhook.name, _authorization(request, form), now=wiring.clock())
            messages.success(request, f"Webhook {webhook.name} is revoked.")
            return HttpResponseRedirect(reverse("admin:execution_webhook_changelist"))
        context = {
            **page.admin_site.each_context(request),
            "opts": Webhook._meta,
            "title": f"Revoke the webhook {webhook.name}",
            "webhook": webhook,
            "form": form,
        }
        return TemplateResponse(request, "execution/webhook_revoke.html", context)

    return view


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Webhooks with what they may do and how they are used. Tokens are not stored."""

    list_display = ("name", "revoke", "verbs", "accepted", "repeated", "refused", "why", "last_used_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("name", "created_by", "last_refusal")
    ordering = ("name",)
    exclude = ("token_sha256", "secret_sha256")
    readonly_fields = ("has_secret", "revoke")
    list_before_template = "execution/parts/webhooks.html"

    @admin.display(description="Revoke")
    def revoke(self, webhook: Webhook) -> SafeString | str:
        """Link to the page that ends it."""
        if webhook.revoked_at:
            return f"by {webhook.revoked_by}"
        return format_html(BUTTON, reverse(f"admin:{REVOKE}", args=[webhook.pk]))

    @admin.display(description="last refusal", ordering="last_refusal")
    def why(self, webhook: Webhook) -> SafeString | str:
        return shortened(webhook.last_refusal) or NOTHING

    @admin.display(description="secret", boolean=True)
    def has_secret(self, webhook: Webhook) -> bool:
        """Whether alerts must carry a secret."""
        return bool(webhook.secret_sha256)

    def get_urls(self) -> list[URLPattern]:
        views = self.admin_site.admin_view
        pages = [
            path("create/", views(create_page(self)), name=CREATE),
            path("<int:pk>/revoke/", views(revoke_page(self)), name=REVOKE),
        ]
        return [*pages, *super().get_urls()]
