"""The second means: which outcomes let it stand, and when it protects; once long and once short."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from execution.domain.outcomes import Accepted, ExchangeStatus, OrderReport, PlaceOutcome, Refused, Unknown
from execution.domain.overdue import LiveStop, watch
from execution.domain.reasons import Reason
from execution.domain.software_stop import (
    AT_ONCE,
    BETWEEN_PROBES,
    GUARDED_WITHIN,
    LONGEST_PAUSE_BESIDE,
    STANDS_AFTER_SECONDS,
    TRIED_BESIDE_SECONDS,
    WATCHED_WITHIN,
    ProtectedBy,
    SoftwareStop,
    WithoutStop,
    is_outage,
    may_hold,
)
from execution.domain.trading import Side

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
D = Decimal
SECOND = timedelta(seconds=1)
CLOSE, IN_OUTAGE, HOLD = WithoutStop.CLOSE, WithoutStop.HOLD_IN_OUTAGE, WithoutStop.HOLD


def refused(code: int | None, **fields: object) -> Refused:
    return Refused(code=code, message="", **({"retry_safe": False} | fields))  # type: ignore[arg-type] # its fields


REPORT = OrderReport(
    client_order_id="es1-s", symbol="BTCUSDT", status=ExchangeStatus.NEW, quantity=D(1), executed_quantity=D(0)
)
# Each with whether it is held under 1 and under 2; 0 closes all of them.
OUTCOMES: dict[str, tuple[PlaceOutcome | None, bool, bool]] = {
    "no answer": (Unknown(message="time-out"), True, True),
    "not sent": (refused(None, retry_safe=True), True, True),
    "waits for its limit": (refused(None, reason=Reason.RATE_LIMIT_WAIT_EXCEEDED), True, True),
    "503, failed for certain": (refused(None, retry_safe=True), True, True),
    "throttled": (refused(-1008, retry_safe=True), True, True),
    "too many stops": (refused(-4045), True, True),
    "no conditional orders": (refused(-4120), True, True),
    "no such type": (refused(-1116), True, True),
    "an account that may not": (refused(-4087), True, True),
    "the key": (refused(-2015), True, True),
    "a code that nobody knows": (refused(-9999), True, True),
    "a parameter": (refused(-1102), False, True),
    "a filter": (refused(-4014, by_filters=True), False, True),
    "nothing to reduce": (refused(-2022), False, True),
    "nothing to reduce, said otherwise": (refused(-4118), False, True),
    "margin": (refused(-2019), False, True),
    "the position mode": (refused(-4061), False, True),
    "a contract that does not trade": (refused(-4140), False, True),
    "the level has passed": (refused(-2021), False, False),
    "its trailing sibling": (refused(-4142), False, False),
    # What has never left, or may be sent again, says nothing of the order, whatever its code would say.
    "throttled with a code of the order": (refused(-2019, retry_safe=True), True, True),
    "not sent with a code of the order": (refused(-2022, reason=Reason.RATE_LIMIT_WAIT_EXCEEDED), True, True),
    # A filter is one by our own judgement, too.
    "a filter with a code that nobody knows": (refused(-9999, by_filters=True), False, True),
    "taken": (Accepted(report=REPORT), False, False),
    "sent by another process": (None, False, False),
}


@pytest.mark.parametrize(("outcome", "in_outage", "always"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_each_outcome_is_held_or_closed(outcome: PlaceOutcome | None, *, in_outage: bool, always: bool) -> None:
    assert not may_hold(outcome, CLOSE)
    assert may_hold(outcome, IN_OUTAGE) is in_outage
    assert may_hold(outcome, HOLD) is always
    assert is_outage(outcome) is in_outage


@pytest.mark.parametrize("code", [-2021, -4142])
def test_a_level_that_has_passed_closes_whatever_else_is_said(code: int) -> None:
    again = refused(code, retry_safe=True)

    assert is_outage(again)
    assert [may_hold(again, wanted) for wanted in WithoutStop] == [False, False, False]


def test_codes_of_this_stop_are_these() -> None:
    """Groups of the exchange's page of error codes, each with its first and last one, and what lies between."""
    groups = [
        *((-1014, -1013), (-1020, -1020), (-1115, -1100), (-1136, -1117)),
        *((-2010, -2010), (-2016, -2016), (-2022, -2018), (-2024, -2024), (-2028, -2026)),
        *((-4024, -4001), (-4062, -4060), (-4104, -4104), (-4118, -4118), (-4131, -4131), (-4144, -4135)),
        *((-4164, -4164), (-4184, -4183), (-4211, -4210), (-4531, -4531)),
        *((-5000, -5000), (-5022, -5021), (-5041, -5037)),
    ]
    spoken_of = {code for first, last in groups for code in range(first, last + 1)}

    outages = {code for code in range(-6000, 0) if is_outage(refused(code))}
    assert set(range(-6000, 0)) - outages == spoken_of


def test_the_policy_names_what_becomes_of_a_position_without_a_stop() -> None:
    assert [WithoutStop(number) for number in range(3)] == [CLOSE, IN_OUTAGE, HOLD]
    assert [each.value for each in ProtectedBy] == ["venue", "software", "none"]


def test_the_times_of_a_stop_of_our_own_are_as_documented() -> None:
    assert (WATCHED_WITHIN, GUARDED_WITHIN) == (5 * SECOND, 10 * SECOND)
    assert (BETWEEN_PROBES, LONGEST_PAUSE_BESIDE) == (2 * SECOND, 15 * SECOND)
    assert (STANDS_AFTER_SECONDS, TRIED_BESIDE_SECONDS) == (0.5, 1.0)


# By the order's side: prices before, at and past a stop at 100.
@pytest.mark.parametrize(
    ("side", "mark", "reached"),
    [
        (Side.SELL, "100.1", False),
        (Side.SELL, "100", True),
        (Side.SELL, "99.9", True),
        (Side.BUY, "99.9", False),
        (Side.BUY, "100", True),
        (Side.BUY, "100.1", True),
    ],
)
def test_it_is_reached_at_its_price_at_once(side: Side, mark: str, *, reached: bool) -> None:
    stop = LiveStop(side=side, level=D(100), tick=D("0.1"))
    found = watch(stop, D(mark), AT_ONCE, now=NOW)
    assert (found.overdue, found.due_at) == (reached, NOW if reached else None)
    assert not watch(stop, None, AT_ONCE, now=NOW).overdue


def standing(**fields: datetime) -> SoftwareStop:
    return SoftwareStop(**({"since": NOW - timedelta(hours=1), "seen_at": NOW} | fields))


@pytest.mark.parametrize(
    ("stop", "guarded_at", "flaw"),
    [
        (standing(), NOW, ""),
        (standing(seen_at=NOW - WATCHED_WITHIN), NOW - GUARDED_WITHIN, ""),
        (standing(seen_at=NOW - WATCHED_WITHIN - SECOND), NOW, "SOFTWARE_STOP unwatched: mark_price_age=6s"),
        (standing(), NOW - GUARDED_WITHIN - SECOND, "SOFTWARE_STOP unguarded: protector_age=11s"),
        (standing(), None, "SOFTWARE_STOP unguarded: protector_age=never"),
        # It has just begun: nobody could have looked yet.
        (standing(since=NOW - GUARDED_WITHIN), None, ""),
        (standing(since=NOW - GUARDED_WITHIN), NOW - GUARDED_WITHIN - SECOND, ""),
        (
            standing(since=NOW - GUARDED_WITHIN - SECOND),
            NOW - GUARDED_WITHIN - 2 * SECOND,
            "SOFTWARE_STOP unguarded: protector_age=12s",
        ),
        # What is reached is told first, then what nobody sees.
        (standing(passed_at=NOW, seen_at=NOW - 9 * SECOND), None, "SOFTWARE_STOP reached=2026-11-30T12:00:00+00:00"),
        (standing(seen_at=NOW - 9 * SECOND), None, "SOFTWARE_STOP unwatched: mark_price_age=9s"),
        (standing(passed_at=NOW), NOW, "SOFTWARE_STOP reached=2026-11-30T12:00:00+00:00"),
        # A clock that was set back makes nothing look fresh.
        (standing(seen_at=NOW + timedelta(hours=1)), NOW, "SOFTWARE_STOP unwatched: mark_price_age=86400s"),
    ],
)
def test_what_nobody_watches_protects_nothing(stop: SoftwareStop, guarded_at: datetime | None, flaw: str) -> None:
    assert stop.flaw(guarded_at=guarded_at, now=NOW) == flaw
