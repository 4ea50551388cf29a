"""Sign-ins: the database alone opens no session, and every session ends."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from execution.operations.retention import RetentionRules, apply_retention

pytestmark = pytest.mark.django_db

COOKIE = settings.SESSION_COOKIE_NAME
MONDAY = datetime.fromisoformat("2026-11-30T08:00:00+00:00")


@pytest.fixture
def signed_in(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password=None))
    return client


def is_signed_in(client: Client) -> bool:
    """Whether the admin shows its home; otherwise it must send to the sign-in page."""
    answer: Any = client.get("/admin/")
    assert (answer.status_code, answer.headers.get("Location")) in {
        (200, None),
        (302, "/admin/login/?next=/admin/"),
    }
    return bool(answer.status_code == 200)


def test_what_stands_in_the_database_signs_nobody_in(signed_in: Client) -> None:
    key = signed_in.cookies[COOKIE].value
    stored = Session.objects.get()

    assert stored.session_key != key
    assert key not in stored.session_data
    thief = Client()
    thief.cookies[COOKIE] = stored.session_key
    assert not is_signed_in(thief)
    # It should be the copied row that fails, not the session.
    assert is_signed_in(signed_in)


def test_signing_out_ends_the_session_for_every_holder_of_its_key(signed_in: Client) -> None:
    copy = Client()
    copy.cookies[COOKIE] = signed_in.cookies[COOKIE].value
    assert is_signed_in(copy)

    signed_in.post("/admin/logout/")

    assert not is_signed_in(copy)
    assert not Session.objects.exists()


def test_signing_in_anew_leaves_no_session_behind(client: Client) -> None:
    user = User.objects.create_superuser("admin", password=None)
    client.force_login(user)
    first = client.cookies[COOKIE].value

    client.force_login(User.objects.create_superuser("other", password=None))

    assert client.cookies[COOKIE].value != first
    assert Session.objects.count() == 1


def test_a_session_ends_eight_hours_after_the_sign_in_however_busy(client: Client) -> None:
    with time_machine.travel(MONDAY, tick=False) as clock:
        client.force_login(User.objects.create_superuser("admin", password=None))
        for minutes in range(0, 8 * 60 + 1, 20):
            clock.move_to(MONDAY + timedelta(minutes=minutes))
            assert is_signed_in(client), minutes
        clock.move_to(MONDAY + timedelta(hours=8, seconds=1))
        assert not is_signed_in(client)


@pytest.mark.parametrize(("idle_seconds", "stays"), [(30 * 60, True), (30 * 60 + 1, False)])
def test_a_session_ends_when_nobody_uses_it(client: Client, idle_seconds: int, stays: bool) -> None:  # noqa: FBT001
    with time_machine.travel(MONDAY, tick=False) as clock:
        client.force_login(User.objects.create_superuser("admin", password=None))
        assert is_signed_in(client)
        clock.move_to(MONDAY + timedelta(seconds=idle_seconds))

        assert is_signed_in(client) is stays


def test_retention_removes_ended_sessions_and_no_others(client: Client) -> None:
    client.force_login(User.objects.create_superuser("admin", password=None))
    rules = RetentionRules(events=None, requests=None, trades=None)

    def sweep(now: datetime) -> int:
        return apply_retention(rules, clock=lambda: now, length=timedelta(seconds=5))["sessions"]

    ends = Session.objects.get().expire_date
    assert sweep(ends) == 0
    assert sweep(ends + timedelta(seconds=1)) == 1
    assert not Session.objects.exists()


def test_a_clock_that_was_set_back_does_not_prolong_a_session(client: Client) -> None:
    with time_machine.travel(MONDAY, tick=False) as clock:
        client.force_login(User.objects.create_superuser("admin", password=None))
        assert is_signed_in(client)
        clock.move_to(MONDAY - timedelta(days=1))

        assert not is_signed_in(client)
