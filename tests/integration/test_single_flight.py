"""Periodic duties: one holder at a time, and a dead holder's place is free at once."""

from datetime import timedelta

import pytest
from django.db import connection

from execution.operations.single_flight import Duty, single_flight
from execution.reconciliation.cycle import swept_lately
from tests.support import builders
from tests.support.threads import at_once


def held_elsewhere(duty: Duty) -> bool:
    """Ask from another connection whether the duty is free, without keeping it."""

    def ask() -> bool:
        with single_flight(duty) as held:
            return not held

    (answer,) = at_once([ask])
    return answer


@pytest.mark.django_db(transaction=True)
def test_a_duty_has_one_holder_and_is_free_afterwards() -> None:
    with single_flight(Duty.WATCH_POSITIONS) as held:
        assert held
        # It should be taken for others, and other duties free.
        assert held_elsewhere(Duty.WATCH_POSITIONS)
        assert not held_elsewhere(Duty.READ_EVENTS)
    assert not held_elsewhere(Duty.WATCH_POSITIONS)


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_frees_the_duty_and_does_not_fail() -> None:
    with single_flight(Duty.READ_EVENTS) as held:
        assert held
        connection.close()
        # It should be free as soon as its holder's session is gone.
        assert not held_elsewhere(Duty.READ_EVENTS)


@pytest.mark.django_db
def test_a_sweep_that_has_just_begun_is_enough_for_two_clocks() -> None:
    # It took 1.5 s and ended a second ago, so it began 2.5 s ago.
    builders.heartbeat("monitor", at=builders.NOW, details={"duration_seconds": 1.5})
    now = builders.NOW + timedelta(seconds=1)

    assert swept_lately(now, within=timedelta(seconds=2.6))
    assert not swept_lately(now, within=timedelta(seconds=2.4))


@pytest.mark.django_db
@pytest.mark.parametrize("rows", [0, 1])
def test_a_sweep_that_could_not_read_the_exchange_is_none(rows: int) -> None:
    for _ in range(rows):
        builders.heartbeat("monitor", at=builders.NOW, healthy=False, details={"duration_seconds": 0.1})

    assert not swept_lately(builders.NOW, within=timedelta(seconds=10))
