"""The admin's page on which an operator corrects a dead letter and replays it."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import (  # type: ignore[import-untyped]  # the package brings no types
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from execution import wiring
from execution.models import DeadLetter
from execution.signals.accept import AcceptedEvent
from execution.signals.envelope import MAX_EVENT_BYTES, MalformedEventError
from execution.signals.replay_dead_letters import AlreadyReplayedError, Replay, replay_letter
from execution.workflow import start_accepted

REPLAY = "execution_deadletter_replay"
PERMISSION = "execution.replay_deadletter"
# The filter of the list that keeps the letters that were not replayed yet.
WAITING = "replayed_at__isempty=1"


class ReplayForm(forms.Form):
    """How an operator corrects and replays a letter."""

    payload = forms.CharField(
        max_length=MAX_EVENT_BYTES,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 16, "class": "xs-payload", "spellcheck": "false"}),
        help_text="The event's JSON object. Correct what the reason names.",
    )
    decided_now = forms.BooleanField(
        required=False,
        label="Decide it anew, now",
        help_text="Without this an order keeps its age, and expires when it is too old to trade.",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Why; it is written to the log.",
    )

    def clean_payload(self) -> str:
        # Browsers send line ends of their own.
        text: str = self.cleaned_data["payload"]
        return text.replace("\r\n", "\n")

    def word_of(self, request: HttpRequest) -> Replay:
        asked = self.cleaned_data
        return Replay(
            by=request.user.get_username(),
            reason=asked["reason"],
            payload=asked["payload"],
            decided_now=asked["decided_now"],
        )


def replay_page(page: "ModelAdmin[DeadLetter]") -> Callable[..., HttpResponse]:
    """Return the view for a model admin."""

    def view(request: HttpRequest, pk: int) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        letter = get_object_or_404(DeadLetter, pk=pk)
        form = ReplayForm(request.POST or None, initial={"payload": letter.payload})
        if request.method == "POST" and form.is_valid() and _replayed(request, letter, form):
            return HttpResponseRedirect(reverse("admin:execution_deadletter_change", args=[pk]))
        context = {
            **page.admin_site.each_context(request),
            "opts": DeadLetter._meta,
            "title": "Replay a dead letter",
            "letter": letter,
            "form": form,
        }
        return TemplateResponse(request, "execution/replay.html", context)

    return view


def _replayed(request: HttpRequest, letter: DeadLetter, form: ReplayForm) -> bool:
    """Replay the letter and show the result. False when it can be corrected further."""
    try:
        accepted = replay_letter(letter.pk, form.word_of(request), rules=wiring.intake_rules(), now=wiring.clock())
    except MalformedEventError as error:
        form.add_error("payload", str(error))
        return False
    except AlreadyReplayedError as error:
        messages.error(request, f"{error}. Nothing was done.")
        return True
    start_accepted(accepted)
    messages.success(request, replay_sentence(accepted))
    return True


def replay_sentence(accepted: AcceptedEvent) -> str:
    """Describe what came of a letter."""
    if accepted.repeated:
        return "An event with this identity had come already: nothing was executed."
    if accepted.request_id:
        return f"Accepted as request {accepted.request_id}."
    return "Accepted."
