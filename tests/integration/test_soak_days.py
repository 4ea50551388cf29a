"""A few hours of the long soak: green as it is, and red when a part of the service does not do its work."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from redis import Redis

from execution.domain import policy as keys
from execution.reconciliation.cycle import CycleResult
from execution.reconciliation.stop_watchdog import Guarded, ensure_cover
from tests.soak import world
from tests.soak.days import DaysSoak
from tests.soak.ear import Ear
from tests.soak.judge import Kind
from tests.soak.report import Figure
from tests.support.desk import Desk
from tests.support.house import House
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn

DAYS = 0.1


@pytest.fixture
def soak(
    transactional_db: None,  # noqa: ARG001 -- processes of ours come and go, and their connections with them
    paper: PaperExchange,
    risk: RiskSafetyStandIn,
    redis: "Redis",
    settings: LazySettings,
) -> Iterator[DaysSoak]:
    # As in a house of its own (tests/support/house.py).
    higher = {keys.MAX_POSITIONS: Decimal(10_000), keys.MAX_STOP_DISTANCE: Decimal("0.5")}
    settings.POLICY_CEILINGS = {**settings.POLICY_CEILINGS, **higher}
    found = DaysSoak(house=House(paper=paper, risk=risk, redis=redis), days=DAYS, seed=3, hedge=False, say=print)
    yield found
    found.world.close()
    with connection.cursor() as cursor:
        cursor.execute("SET search_path TO DEFAULT")


def red(figures: list[Figure]) -> set[str]:
    return {figure.name for figure in figures if not figure.ok}


def test_service_whose_monitor_stream_and_protector_die_is_red(soak: DaysSoak, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle, hear, dies_at = Desk.cycle, Ear.hear, 0.7 * soak.seconds
    cover = ensure_cover

    def watch(desk: Desk) -> CycleResult:
        return cycle(desk) if soak.world.passed_seconds < dies_at else CycleResult(actions=[], failed=0)

    def listen(ear: Ear) -> None:
        if soak.world.passed_seconds < dies_at:
            hear(ear)

    def protect(*arguments: Any, **options: Any) -> Guarded:
        if soak.world.passed_seconds < dies_at:
            return cover(*arguments, **options)
        return Guarded(went_to=0, failed=0, read_exchange=False)

    monkeypatch.setattr(Desk, "cycle", watch)
    monkeypatch.setattr(world, "ensure_cover", protect)
    monkeypatch.setattr(Ear, "hear", listen)

    figures = soak.run()

    # It should tell the trades that the people have closed at the end, and their legs.
    assert {"stuck trade", "order without position", "positions, orders, trades and claims left"} <= red(figures)
    # It should not call that money lost: it is to be booked still.
    assert "books differ from wallet" not in red(figures)


def test_stops_that_are_not_at_the_venue_are_red(soak: DaysSoak, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our rows say that they rest; nothing but the venue's own list of orders tells that they do not."""
    look = soak.evidence.resting
    monkeypatch.setattr(soak.evidence, "resting", lambda: [row for row in look() if row.kind != "STOP_MARKET"])

    figures = soak.run()

    assert {"unprotected position", "longest without cover, s"} <= red(figures)


def test_exception_of_a_step_is_red_and_does_not_end_the_run(soak: DaysSoak, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such figure")

    monkeypatch.setattr(Desk, "run", broken)

    figures = soak.run()

    assert "service raised" in red(figures)
    assert {violation.sentence for violation in soak.violations if violation.kind is Kind.RAISED} == {"no such figure"}
