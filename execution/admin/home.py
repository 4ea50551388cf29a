"""The first page: what brakes and waits, what is open, and the way to everything else."""

from typing import TypedDict

from django.http import HttpRequest

from execution.admin import menu, tables
from execution.models import EntryHold, EssStatus, Position
from execution.queries.dead_letters import waiting_letters
from execution.queries.health_rows import unsettled_orders
from execution.queries.kill_switch import RELEASED, describe
from execution.queries.positions import held_positions

MOST_POSITIONS = 25


class BrakeFigure(TypedDict):
    """A figure at the top of the first page. `tone` is done, warn, bad or plain."""

    title: str
    value: object
    tone: str
    about: str


def with_figures(request: HttpRequest, context: dict[str, object]) -> dict[str, object]:
    """Add to the context what the first page shows.

    A reader sees only what he may see in the tables as well.
    """
    sees_positions = request.user.has_perm("execution.view_position")
    return context | {
        "brakes": _brakes(request),
        "positions": tables.held(held_positions()[:MOST_POSITIONS]) if sees_positions else None,
        "pages": [page for page in (menu.KILL_SWITCH, menu.REPLAY) if request.user.has_perm(page.permission)],
    }


def _brakes(request: HttpRequest) -> list[BrakeFigure]:
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


def _figure(title: str, value: object, tone: str, about: str = "") -> BrakeFigure:
    return {"title": title, "value": value, "tone": tone, "about": about}


def _kill_switch() -> BrakeFigure:
    level = describe()["level"]
    return _figure("Kill switch", level, "done" if level == RELEASED else "bad")


def _ess() -> BrakeFigure:
    status = EssStatus.objects.first()
    if status is None:
        return _figure("Emergency stop", "never read", "warn")
    return _figure("Emergency stop", status.state, "done" if status.permitted else "bad", status.reason)


def _holds() -> BrakeFigure:
    scopes = list(EntryHold.objects.order_by("scope").values_list("scope", flat=True))
    return _figure("Entries held", len(scopes), "warn" if scopes else "done", ", ".join(scopes))


def _unsettled() -> BrakeFigure:
    count = unsettled_orders().count
    return _figure("Unsettled orders", count, "bad" if count else "done")


def _letters() -> BrakeFigure:
    count = waiting_letters()
    return _figure("Dead letters waiting", count, "warn" if count else "done")


def _open() -> BrakeFigure:
    return _figure("Open positions", Position.objects.count(), "plain")
