"""The first page: what brakes and waits, what is open, and the way to everything else."""

from typing import Any

from django.http import HttpRequest

from execution.admin import menu, tables
from execution.health.rows import unsettled_orders
from execution.models import DeadLetter, EntryHold, EssStatus, Position
from execution.queries.kill_switch import RELEASED, describe
from execution.queries.positions import held_positions

MOST_POSITIONS = 25


def with_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context what the first page shows; a reader sees only what he may see in the tables as well."""
    return context | {
        "brakes": _brakes(request),
        "positions": _positions(request),
        "pages": [page for page in (menu.KILL_SWITCH, menu.REPLAY) if request.user.has_perm(page.permission)],
    }


def _positions(request: HttpRequest) -> tables.Table | None:
    return tables.held(held_positions()[:MOST_POSITIONS]) if request.user.has_perm("execution.view_position") else None


def _brakes(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the figures at the top, each with its tone: done, warn or bad."""
    shown = (
        ("execution.view_killswitch", _kill_switch),
        ("execution.view_essstatus", _ess),
        ("execution.view_entryhold", _holds),
        ("execution.view_order", _unsettled),
        ("execution.view_deadletter", _letters),
        ("execution.view_position", _open),
    )
    return [figure() for permission, figure in shown if request.user.has_perm(permission)]


def _figure(title: str, value: object, tone: str, about: str = "") -> dict[str, Any]:
    return {"title": title, "value": value, "tone": tone, "about": about}


def _kill_switch() -> dict[str, Any]:
    level = describe()["level"]
    return _figure("Kill switch", level, "done" if level == RELEASED else "bad")


def _ess() -> dict[str, Any]:
    status = EssStatus.objects.first()
    if status is None:
        return _figure("Emergency stop", "never read", "warn")
    return _figure("Emergency stop", status.state, "done" if status.permitted else "bad", status.reason)


def _holds() -> dict[str, Any]:
    scopes = list(EntryHold.objects.order_by("scope").values_list("scope", flat=True))
    return _figure("Entries held", len(scopes), "warn" if scopes else "done", ", ".join(scopes))


def _unsettled() -> dict[str, Any]:
    count = unsettled_orders().count
    return _figure("Unsettled orders", count, "bad" if count else "done")


def _letters() -> dict[str, Any]:
    count = DeadLetter.objects.filter(redriven_at=None).count()
    return _figure("Dead letters waiting", count, "warn" if count else "done")


def _open() -> dict[str, Any]:
    return _figure("Open positions", Position.objects.count(), "plain")
