"""A planned stop against its decision: what the judge of the fault matrix takes for right and for wrong."""

from decimal import Decimal
from typing import Any

import pytest

from tests.support.ledger import Ledger
from tests.support.stop_plans import BookedStop, wrong_plans

ENTRY, SYMBOL, EVENT = "es1-eabc-1", "BTCUSDT", "event:1"
TICKS = {SYMBOL: Decimal("0.1")}
# Filled at 50,010 where 50,000 was expected: a long's stop follows the fill up, a short's stays at what was expected.
EXPECTED, FILLED = Decimal(50000), Decimal(50010)
DEFAULTS = {"LONG": ("48759.7", "48750.0"), "SHORT": ("51250.0", "51260.3")}
SIDES = ["LONG", "SHORT"]


def booked(direction: str, level: str, **changed: Any) -> BookedStop:
    fields: dict[str, Any] = {
        "entry": ENTRY,
        "symbol": SYMBOL,
        "position_side": "BOTH",
        "direction": direction,
        "identity": EVENT,
        "asked": None,
        "reference_price": EXPECTED,
        "entry_price": FILLED,
        "tick": TICKS[SYMBOL],
        "level": Decimal(level),
        "earlier": (),
        "moved": False,
        "is_open": True,
    }
    return BookedStop(**(fields | changed))


def wrong(stop: BookedStop, asked: str | None = None, **options: Any) -> list[str]:
    fill = {"clientOrderId": ENTRY, "price": f"{FILLED}"}
    found = Ledger(requests=[], orders=[], algo_orders=[], fills=[fill], summary={})
    given: dict[str, Any] = {"published": {EVENT: None if asked is None else Decimal(asked)}, "ticks": TICKS}
    return wrong_plans([stop], found, **(given | options))


@pytest.mark.parametrize("direction", SIDES)
def test_default_distance_is_of_the_fill_or_of_what_was_expected(direction: str) -> None:
    for level in DEFAULTS[direction]:
        assert wrong(booked(direction, level)) == []


@pytest.mark.parametrize("factor", ["0.5", "0.987", "0.994", "1.006", "1.05"])
@pytest.mark.parametrize("direction", SIDES)
def test_another_distance_is_wrong(direction: str, factor: str) -> None:
    level = Decimal(DEFAULTS[direction][0]) * Decimal(factor)
    [said] = wrong(booked(direction, f"{level}"))
    assert said.startswith(f"{SYMBOL} {direction}: stop planned at")


@pytest.mark.parametrize("direction", SIDES)
def test_a_published_stop_is_meant_to_a_tick(direction: str) -> None:
    asked = {"LONG": "48000.04", "SHORT": "52000.04"}[direction]
    on_tick, off = ("48000", "47999.8") if direction == "LONG" else ("52000.1", "52000.3")
    assert wrong(booked(direction, on_tick), asked) == []
    assert len(wrong(booked(direction, off), asked)) == 1
    # The default is wrong where a stop was asked for, whatever the books say of the decision.
    assert len(wrong(booked(direction, DEFAULTS[direction][0], asked=Decimal(DEFAULTS[direction][0])), asked)) == 1
    # What came over REST is only in the books.
    assert wrong(booked(direction, on_tick, asked=Decimal(asked)), published={}) == []


@pytest.mark.parametrize("direction", SIDES)
def test_an_earlier_level_is_judged_too(direction: str) -> None:
    present, earlier = DEFAULTS[direction]
    assert wrong(booked(direction, present, earlier=(Decimal(earlier),))) == []
    assert len(wrong(booked(direction, present, earlier=(Decimal(earlier) / 2,)))) == 1


@pytest.mark.parametrize("direction", SIDES)
def test_a_stop_on_the_winning_side_is_wrong_even_when_it_was_published(direction: str) -> None:
    winning = "51000" if direction == "LONG" else "49000"
    assert len(wrong(booked(direction, winning), winning)) == 1


@pytest.mark.parametrize("direction", SIDES)
def test_an_expected_price_far_from_the_fill_is_wrong(direction: str) -> None:
    far = FILLED * Decimal("1.0051")
    sign = 1 if direction == "LONG" else -1
    level = far * (1 - Decimal("0.025") * sign)
    [said] = wrong(booked(direction, f"{level}", reference_price=far))
    assert "filled at 50010" in said


def test_what_never_filled_and_what_was_moved_is_not_asked_about() -> None:
    assert wrong(booked("LONG", "1", entry="es1-eother-1")) == []
    assert wrong(booked("LONG", "50060", moved=True)) == []
