"""The matrix's judge: what protects a position, what is a flip, and what is a burst, on ledgers written by hand."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.chaos.timeline import flips, longest_unprotected, most_orders_within
from tests.support.ledger import ORDER, Ledger
from tests.support.stops import StopPlan, mismatch

ENTRY, STOP = "es1-eabc-1", "es1-sabc-1"
# An entry at 50,000 and a stop 2.5 % on its losing side.
LEVELS = {"LONG": Decimal(48750), "SHORT": Decimal(51250)}
TICK = Decimal("0.1")
# Direction and position side: one-way mode, then hedge mode.
MODES = [("LONG", "BOTH"), ("SHORT", "BOTH"), ("LONG", "LONG"), ("SHORT", "SHORT")]
Changes = Callable[[str], dict[str, Any]]


def fill(
    number: int, at_ms: int, quantity: str, *, buyer: bool = True, client_id: str = ENTRY, position_side: str = "BOTH"
) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "positionSide": position_side,
        "id": number,
        "time": at_ms,
        "qty": quantity,
        "buyer": buyer,
        "clientOrderId": client_id,
    }


def stop(from_ms: int, quantity: str, *, until_ms: int | None = None, **changed: Any) -> dict[str, Any]:
    """Return a right stop of a long position in one-way mode; `changed` are the columns that are to differ."""
    return {
        "symbol": "BTCUSDT",
        "algoId": f"{from_ms}-{until_ms}-{quantity}-{changed}",
        "clientAlgoId": STOP,
        "orderType": "STOP_MARKET",
        "side": "SELL",
        "positionSide": "BOTH",
        "workingType": "MARK_PRICE",
        "reduceOnly": True,
        "triggerPrice": "48750.0",
        "quantity": quantity,
        "closePosition": False,
        "algoStatus": "NEW" if until_ms is None else "CANCELED",
        "createTime": from_ms,
        "updateTime": until_ms or from_ms,
    } | changed


def ledger(fills: list[Any], stops: list[Any] = [], requests: list[Any] = []) -> Ledger:  # noqa: B006 -- only read
    return Ledger(requests=requests, orders=[], algo_orders=stops, fills=fills, summary={})


def plan(direction: str = "LONG", **changed: Any) -> StopPlan:
    level = LEVELS[direction]
    fields: dict[str, Any] = {"levels": ((level, level),), "tick": TICK, "entry_price": Decimal(50000)}
    return StopPlan(**(fields | changed))


def opened(direction: str, position_side: str) -> dict[str, Any]:
    return fill(1, 1000, "2", buyer=direction == "LONG", position_side=position_side)


def right_stop(direction: str, position_side: str, **changed: Any) -> dict[str, Any]:
    fields = {
        "side": "SELL" if direction == "LONG" else "BUY",
        "positionSide": position_side,
        "triggerPrice": f"{LEVELS[direction]}",
        "algoId": f"{direction} {position_side}",
    }
    return stop(1300, "2") | fields | changed


@pytest.mark.parametrize(
    ("fills", "stops", "seconds"),
    [
        # Protected 300 ms after its fill, and ever since.
        ([fill(1, 1000, "2")], [stop(1300, "2")], 0.3),
        # Never protected: until now.
        ([fill(1, 1000, "2")], [], 9.0),
        # A stop over half of it protects nothing; two halves do, from the second on.
        ([fill(1, 1000, "2")], [stop(1300, "1")], 9.0),
        ([fill(1, 1000, "2")], [stop(1300, "1"), stop(1500, "1")], 0.5),
        # One that closes the position has no quantity.
        ([fill(1, 1000, "2")], [stop(1300, "0", closePosition=True, reduceOnly=False)], 0.3),
        # Replaced with overlap: no gap; replaced with a gap of 500 ms: that gap.
        ([fill(1, 1000, "2")], [stop(1000, "2", until_ms=4000), stop(3900, "2")], 0.0),
        ([fill(1, 1000, "2")], [stop(1000, "2", until_ms=4000), stop(4500, "2")], 0.5),
        # Two that were accepted in one millisecond, one of them cancelled.
        ([fill(1, 1000, "2")], [stop(1200, "2"), stop(1200, "2", until_ms=1300)], 0.2),
        # A gap that goes on over the next fill is one gap, also when two fills come at once.
        ([fill(1, 1000, "1"), fill(2, 2000, "1")], [stop(2600, "2")], 1.6),
        ([fill(1, 1000, "1"), fill(2, 2000, "1"), fill(3, 2000, "1")], [stop(2600, "3")], 1.6),
        # Closed before it was protected.
        ([fill(1, 1000, "2"), fill(2, 1700, "2", buyer=False, client_id=STOP)], [], 0.7),
        # What others add to it is ours to protect no longer than it is there.
        (
            [fill(1, 1000, "2"), fill(2, 3000, "1", client_id="else"), fill(3, 3400, "1", buyer=False)],
            [stop(1000, "2")],
            0.4,
        ),
    ],
)
def test_unprotected_is_the_longest_time_without_a_stop_over_all_of_it(fills: Any, stops: Any, seconds: float) -> None:
    assert longest_unprotected(ledger(fills, stops), {ENTRY: plan()}, now_ms=10_000).seconds == seconds


def test_a_position_without_a_plan_is_unprotected() -> None:
    assert longest_unprotected(ledger([fill(1, 1000, "2")], [stop(1300, "2")]), {}, now_ms=10_000).seconds == 9.0


@pytest.mark.parametrize(("direction", "position_side"), MODES)
def test_a_right_stop_protects(direction: str, position_side: str) -> None:
    found = ledger([opened(direction, position_side)], [right_stop(direction, position_side)])
    assert longest_unprotected(found, {ENTRY: plan(direction)}, now_ms=10_000).seconds == 0.3


def half_price(direction: str) -> dict[str, Any]:
    return {"triggerPrice": {"LONG": "24375.0", "SHORT": "76875.0"}[direction]}


def two_ticks_off(direction: str) -> dict[str, Any]:
    return {"triggerPrice": {"LONG": "48749.8", "SHORT": "51250.2"}[direction]}


def two_ticks_early(direction: str) -> dict[str, Any]:
    return {"triggerPrice": {"LONG": "48750.2", "SHORT": "51249.8"}[direction]}


def winning_side(direction: str) -> dict[str, Any]:
    return {"triggerPrice": f"{LEVELS['SHORT' if direction == 'LONG' else 'LONG']}"}


def entry_side(direction: str) -> dict[str, Any]:
    return {"side": "BUY" if direction == "LONG" else "SELL"}


WRONG: dict[str, tuple[Changes, str]] = {
    "half the price": (half_price, "price"),
    "two ticks off": (two_ticks_off, "price"),
    "two ticks early": (two_ticks_early, "price"),
    "the winning side": (winning_side, "price"),
    "the side of the entry": (entry_side, "side"),
    "a target": (lambda _: {"orderType": "TAKE_PROFIT_MARKET"}, "type"),
    "a trailing stop": (lambda _: {"orderType": "TRAILING_STOP_MARKET"}, "type"),
    "a limit": (lambda _: {"orderType": "STOP"}, "type"),
    "the last price": (lambda _: {"workingType": "CONTRACT_PRICE"}, "trigger type"),
}


@pytest.mark.parametrize(("direction", "position_side"), MODES)
@pytest.mark.parametrize(("change", "named"), list(WRONG.values()), ids=list(WRONG))
def test_a_wrong_attribute_leaves_the_position_unprotected(
    change: Changes, named: str, direction: str, position_side: str
) -> None:
    wrong = right_stop(direction, position_side, **change(direction))
    amount = Decimal(2) if direction == "LONG" else Decimal(-2)
    said = mismatch(wrong, amount=amount, position_side=position_side, plan=plan(direction))
    assert said.startswith(named)
    assert said.count(";") == 0
    found = ledger([opened(direction, position_side)], [wrong])
    assert longest_unprotected(found, {ENTRY: plan(direction)}, now_ms=10_000).seconds == 9.0


@pytest.mark.parametrize(("direction", "position_side"), MODES)
def test_a_stop_that_is_too_small_leaves_the_position_unprotected(direction: str, position_side: str) -> None:
    small = right_stop(direction, position_side, quantity="1.999")
    found = ledger([opened(direction, position_side)], [small])
    assert longest_unprotected(found, {ENTRY: plan(direction)}, now_ms=10_000).seconds == 9.0


@pytest.mark.parametrize(("direction", "position_side"), MODES)
def test_the_stop_of_another_position_side_protects_nothing(direction: str, position_side: str) -> None:
    other = {"BOTH": direction, "LONG": "SHORT", "SHORT": "LONG"}[position_side]
    found = ledger([opened(direction, position_side)], [right_stop(direction, other)])
    worst = longest_unprotected(found, {ENTRY: plan(direction)}, now_ms=10_000)
    assert (worst.seconds, f"position side {other} instead of {position_side}" in worst.why) == (9.0, True)


@pytest.mark.parametrize(
    ("direction", "position_side", "seconds"),
    # In hedge mode the position side alone makes an order reducing.
    [("LONG", "BOTH", 9.0), ("SHORT", "BOTH", 9.0), ("LONG", "LONG", 0.3), ("SHORT", "SHORT", 0.3)],
)
def test_a_stop_has_to_reduce_only(direction: str, position_side: str, seconds: float) -> None:
    opening = right_stop(direction, position_side, reduceOnly=False)
    found = ledger([opened(direction, position_side)], [opening])
    assert longest_unprotected(found, {ENTRY: plan(direction)}, now_ms=10_000).seconds == seconds


def test_long_and_short_of_one_symbol_are_two_positions() -> None:
    entries = {"LONG": "es1-elong-1", "SHORT": "es1-eshort-1"}
    fills = [
        fill(1, 1000, "2", position_side="LONG", client_id=entries["LONG"]),
        fill(2, 1000, "2", buyer=False, position_side="SHORT", client_id=entries["SHORT"]),
    ]
    plans = {entries[direction]: plan(direction) for direction in entries}
    both = [right_stop(direction, direction) for direction in entries]
    assert longest_unprotected(ledger(fills, both), plans, now_ms=10_000).seconds == 0.3
    for alone in both:
        assert longest_unprotected(ledger(fills, [alone]), plans, now_ms=10_000).seconds == 9.0


@pytest.mark.parametrize("direction", ["LONG", "SHORT"])
def test_a_plan_allows_a_tick_and_a_second_chance(direction: str) -> None:
    sign, level = (1, LEVELS["LONG"]) if direction == "LONG" else (-1, LEVELS["SHORT"])
    beyond = level * (1 - Decimal("0.001") * sign)
    allowed = {price: plan(direction).allows(price, sign=sign) for price in (level - TICK, level, level + TICK, beyond)}
    assert set(allowed.values()) == {True}
    assert not plan(direction).allows(beyond, sign=sign, second_chance=False)
    assert not plan(direction).allows((level + beyond) / 2, sign=sign)


@pytest.mark.parametrize("direction", ["LONG", "SHORT"])
def test_only_a_moved_stop_may_lie_on_the_winning_side_of_its_entry(direction: str) -> None:
    sign, winning = (1, Decimal(50050)) if direction == "LONG" else (-1, Decimal(49950))
    levels = ((winning, winning),)
    assert not plan(direction, levels=levels).allows(winning, sign=sign)
    assert plan(direction, levels=levels, moved=True).allows(winning, sign=sign)


def test_a_fill_that_turns_the_position_round_is_a_flip() -> None:
    assert flips(ledger([fill(1, 0, "2"), fill(2, 1, "2", buyer=False, client_id=STOP)])) == []
    assert len(flips(ledger([fill(1, 0, "2"), fill(2, 1, "3", buyer=False, client_id=STOP)]))) == 1


def test_an_exit_of_ours_that_opens_a_position_is_a_flip() -> None:
    assert len(flips(ledger([fill(1, 0, "2", buyer=False, client_id=STOP)]))) == 1


def test_the_burst_is_the_fullest_stretch_of_time() -> None:
    sent = [
        {"t_ns": int(second * 1e9), "method": "POST", "path": ORDER, "status": 200} for second in (0, 1, 9, 11, 30, 31)
    ]
    lost = {"t_ns": int(9.5e9), "method": "POST", "path": ORDER, "status": 0}

    assert most_orders_within(ledger([], requests=[*sent, lost]), 10) == 3
