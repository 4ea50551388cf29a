"""The search among decisions: what is asked for, and the page of what was found."""

from datetime import UTC, datetime
from uuid import UUID

from django import forms
from django.core.validators import RegexValidator

from execution.admin.numbers import NOTHING
from execution.admin.shared import moment_text
from execution.admin.tables import side, state, table
from execution.dashboard.board import asked_size
from execution.dashboard.cells import address_of_decision, linked
from execution.domain.reasons import Reason
from execution.domain.states import RequestState
from execution.models import ExecutionRequest
from execution.queries.search import PAGE, Asked, find_by_id, find_decisions

ANY = [("", "any")]
WORD = RegexValidator(r"^[^\x00-\x1f]*$", "no control characters")


class SearchForm(forms.Form):
    """Everything is optional. An id alone leads to its decision."""

    id = forms.CharField(label="Id of decision, trade or order", required=False, max_length=64, validators=[WORD])
    symbol = forms.CharField(required=False, max_length=40, validators=[WORD])
    strategy = forms.CharField(required=False, max_length=100, validators=[WORD])
    state = forms.ChoiceField(label="Verdict", required=False, choices=[*ANY, *((each, each) for each in RequestState)])
    reason_code = forms.ChoiceField(required=False, choices=[*ANY, *((each, each) for each in Reason)])
    since = forms.DateTimeField(required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    before = forms.DateTimeField(required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))


def search_context(form: SearchForm) -> dict[str, object] | UUID:
    """Return what the page shows, or the one decision that an id names."""
    if not form.is_valid():
        return {"decisions": None, "note": ""}
    asked = form.cleaned_data
    if asked["id"]:
        found = find_by_id(asked["id"].strip())
        return found or {"decisions": None, "note": "There is no decision, trade or order of this id."}
    rows = find_decisions(
        Asked(
            symbol=asked["symbol"].strip().upper(),
            strategy=asked["strategy"].strip(),
            state=asked["state"],
            reason_code=asked["reason_code"],
            since=asked["since"],
            before=asked["before"],
        )
    )
    columns = (
        ("Received", received_cell),
        ("Symbol", lambda each: each.symbol),
        ("Side", lambda each: side(each.direction)),
        ("Size", asked_size),
        ("Strategy", lambda each: each.strategy or NOTHING),
        ("Verdict", lambda each: state(each.state)),
        ("Why", lambda each: each.reason or each.reason_code or NOTHING),
    )
    older = rows[PAGE - 1].received_at.astimezone(UTC) if len(rows) > PAGE else None
    shown = table("Decisions, newest first", columns, rows[:PAGE], empty="No decision matches.")
    return {"decisions": shown, "note": "", "older": older_query(form, older) if older else ""}


def received_cell(each: ExecutionRequest) -> str:
    return linked(address_of_decision(each.pk), moment_text(each.received_at), f"d-{each.pk}")


def older_query(form: SearchForm, before: datetime) -> str:
    """Return the address of the next page: the same search among what came before its last row."""
    query = form.data.copy()  # type: ignore[attr-defined]  # a QueryDict: the form is bound to GET
    query["before"] = before.isoformat(sep=" ").removesuffix("+00:00")
    text: str = query.urlencode()
    return text
