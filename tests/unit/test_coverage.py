"""How much of a position has a live stop, and what health says of the rest: long and short."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.coverage import Coverage, is_covered
from execution.domain.outcomes import PositionReport, held_in
from execution.domain.software_stop import ProtectedBy
from execution.domain.trading import Direction

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT


def position(covered: str, *, direction: Direction = LONG, **facts: Any) -> Coverage:
    """Return 0.010 ETH of which so much has live stops."""
    return Coverage(
        symbol="ETHUSDT",
        position_side="BOTH",
        direction=direction,
        quantity=D("0.010"),
        covered=D(covered),
        **facts,
    )


@pytest.mark.parametrize("direction", [LONG, SHORT])
@pytest.mark.parametrize(
    ("covered", "out_of_reach", "uncovered", "said"),
    [
        ("0.010", "0", "0", "POSITION_UNPROTECTED: uncovered=0 of=0.01"),
        ("0.012", "0.002", "0", "POSITION_UNPROTECTED: uncovered=0 of=0.01"),
        ("0.004", "0", "0.006", "POSITION_UNPROTECTED: uncovered=0.006 of=0.01"),
        ("0", "0.004", "0.010", "POSITION_UNPROTECTED: uncovered=0.01 of=0.01"),
        # What no order can close is told as what it is, up to all that is uncovered.
        ("0.007", "0.003", "0.003", "REMAINDER_UNTRADABLE: uncovered=0.003 of=0.01 step=0.004"),
        ("0.007", "0.0029", "0.003", "POSITION_UNPROTECTED: uncovered=0.003 of=0.01"),
        ("0.008", "0.003", "0.002", "REMAINDER_UNTRADABLE: uncovered=0.002 of=0.01 step=0.004"),
    ],
)
def test_what_of_a_position_is_uncovered(
    direction: Direction, covered: str, out_of_reach: str, uncovered: str, said: str
) -> None:
    found = position(
        covered,
        direction=direction,
        out_of_reach=D(out_of_reach),
        step=D("0.004"),
    )

    assert (found.uncovered, found.sentence) == (D(uncovered), f"ETHUSDT {direction} {said}")


def test_without_a_grid_nothing_is_out_of_reach() -> None:
    found = Coverage(symbol="X", position_side="LONG", direction=LONG, quantity=D(1), covered=D(0))

    assert (found.out_of_reach, found.step, found.since) == (D(0), D(0), None)
    assert (found.by_software, found.software_since, found.overdue, found.flaws) == (D(0), None, (), ())


AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("direction", [LONG, SHORT])
@pytest.mark.parametrize(
    ("covered", "by_software", "since", "overdue", "flaws", "protected_by", "said"),
    [
        ("0.010", "0", None, (), (), "venue", "POSITION_UNPROTECTED: uncovered=0 of=0.01"),
        # A stop of our own for what the exchange's leave, to the last digit.
        ("0.004", "0.006", AT, (), (), "software", "PROTECTED_BY_SOFTWARE: uncovered=0.006 of=0.01 since={at}"),
        ("0.004", "0.007", AT, (), (), "software", "PROTECTED_BY_SOFTWARE: uncovered=0.006 of=0.01 since={at}"),
        ("0", "0.010", None, (), (), "software", "PROTECTED_BY_SOFTWARE: uncovered=0.01 of=0.01 since=unknown"),
        ("0.004", "0.0059", AT, (), (), "none", "POSITION_UNPROTECTED: uncovered=0.006 of=0.01"),
        # One that the price has passed protects nothing, whatever it would close, and whatever stands beside it.
        ("0.010", "0", None, ("late-1", "late-2"), (), "none", "{bare}: uncovered=0 of=0.01 late-1 late-2"),
        ("0.004", "0.006", AT, ("late-1",), ("flaw-1",), "none", "{bare}: uncovered=0.006 of=0.01 late-1 flaw-1"),
        ("0.004", "0", None, (), ("flaw-1", "flaw-2"), "none", "{bare}: uncovered=0.006 of=0.01 flaw-1 flaw-2"),
    ],
)
def test_what_protects_a_position(
    direction: Direction,
    covered: str,
    by_software: str,
    since: datetime | None,
    overdue: tuple[str, ...],
    flaws: tuple[str, ...],
    protected_by: str,
    said: str,
) -> None:
    found = position(
        covered,
        direction=direction,
        overdue=overdue,
        by_software=D(by_software),
        software_since=since,
        flaws=flaws,
    )

    assert found.protected_by is ProtectedBy(protected_by)
    told = said.format(at="2026-03-02T09:30:00+00:00", bare="POSITION_UNPROTECTED")
    assert found.sentence == f"ETHUSDT {direction} {told}"


@pytest.mark.parametrize(
    ("stops", "covered"),
    [((), False), (("0.010",), True), (("0.0099",), False), (("0.006", "0.004"), True), (("0.02",), True)],
)
def test_stops_cover_a_position_together(stops: tuple[str, ...], covered: bool) -> None:  # noqa: FBT001
    assert is_covered(D("0.010"), map(D, stops)) is covered


@pytest.mark.parametrize(
    ("side", "quantity", "long", "short"),
    [
        ("BOTH", "2", "2", "0"),
        ("BOTH", "-2", "0", "2"),
        ("BOTH", "0", "0", "0"),
        ("LONG", "2", "2", "0"),
        ("LONG", "-2", "2", "2"),
        ("SHORT", "-2", "0", "2"),
        ("SHORT", "2", "2", "2"),
    ],
)
def test_what_the_exchange_holds_in_a_direction(side: str, quantity: str, long: str, short: str) -> None:
    row = PositionReport(
        symbol="BTCUSDT",
        position_side=side,
        quantity=D(quantity),
        entry_price=D(1),
        mark_price=D(1),
        unrealized_pnl=D(0),
        liquidation_price=D(0),
        initial_margin=D(0),
        notional=D(0),
    )

    assert (held_in(row, LONG), held_in(row, SHORT)) == (D(long), D(short))
    assert (held_in(None, LONG), held_in(None, SHORT)) == (D(0), D(0))


@pytest.mark.parametrize(
    ("covered", "by_software", "overdue", "required", "unprotected"),
    [
        ("0.010", "0", (), True, False),
        ("0.004", "0", (), True, True),
        ("0.004", "0.006", (), True, False),
        ("0.004", "0.005", (), True, True),
        # A plan without a stop lacks none, and a stop that stands for one may still be overdue.
        ("0", "0", (), False, False),
        ("0.010", "0", ("STOP_OVERDUE order=es1-s",), True, True),
        ("0.010", "0", ("STOP_OVERDUE order=es1-s",), False, True),
    ],
)
def test_whether_somebody_has_to_act(
    covered: str, by_software: str, overdue: tuple[str, ...], *, required: bool, unprotected: bool
) -> None:
    found = position(
        covered,
        by_software=D(by_software),
        overdue=overdue,
        stop_required=required,
    )

    assert found.is_unprotected is unprotected
