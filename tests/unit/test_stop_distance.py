"""How far the mark price is from the stop that triggers first: once long and once short."""

from decimal import Decimal

import pytest

from execution.domain.stop_distance import stop_distance
from execution.domain.trading import Direction

LONG, SHORT = Direction.LONG, Direction.SHORT


@pytest.mark.parametrize(
    ("direction", "mark", "triggers", "expected"),
    [
        (LONG, "100", ["90", "95"], ("95", "5", "5")),
        (SHORT, "100", ["110", "105"], ("105", "5", "5")),
        (LONG, "80", ["90"], ("90", "-10", "-12.5")),
        (SHORT, "80", ["70"], ("70", "-10", "-12.5")),
        (LONG, "90", ["90"], ("90", "0", "0")),
    ],
)
def test_the_nearest_stop_counts(
    direction: Direction, mark: str, triggers: list[str], expected: tuple[str, str, str]
) -> None:
    away = stop_distance(direction, Decimal(mark), map(Decimal, triggers))

    assert away is not None
    assert (away.trigger, away.price, away.percent) == tuple(map(Decimal, expected))


def test_without_a_stop_or_a_mark_price_there_is_no_distance() -> None:
    assert stop_distance(LONG, Decimal(100), []) is None
    assert stop_distance(SHORT, Decimal(0), [Decimal(90)]) is None
