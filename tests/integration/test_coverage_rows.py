"""What of a position has a stop, by rows: every case of the one definition, long and short, beside a second one."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.states import OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, PositionSide
from execution.models import ExecutionRequest
from execution.protection.coverage import coverage, uncovered_positions
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db
D = Decimal
BTC, ETH = "BTCUSDT", "ETHUSDT"
EACH = pytest.mark.parametrize("direction", list(Direction))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# When the entry's last fill, the stop's last news and the trade's last change were known.
FILLED_AT, STOP_AT, CHANGED_AT = at(1), at(4), at(6)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request for 0.010 in BTCUSDT with its rows, and what of it should count; None: it is no position of ours."""

    name: str
    expected: tuple[str, str] | None
    since: datetime | None = None
    state: RequestState = RequestState.RECORDED
    filled: str = "0.004"
    trade: dict[str, Any] | None = field(default_factory=dict)
    stops: tuple[dict[str, Any], ...] = ()
    position: dict[str, Any] | None = None

    def store(self, direction: Direction, symbol: str = BTC) -> ExecutionRequest:
        owner = builders.approved(symbol=symbol, direction=direction, quantity=D("0.010"), state=self.state)
        builders.bracket(owner)
        builders.order(
            owner, state=OrderState.PARTIALLY_FILLED, executed_quantity=D(self.filled), last_evidence_at=FILLED_AT
        )
        if self.trade is not None:
            builders.trade(owner, **({"quantity": D("0.004"), "updated_at": CHANGED_AT} | self.trade))
        for number, columns in enumerate(self.stops, start=1):
            builders.order(owner, **({"purpose": OrderPurpose.STOP, "sequence": number} | columns))
        if self.position is not None:
            row: dict[str, Any] = {
                "symbol": symbol,
                "direction": direction,
                "quantity": D("0.006"),
                "observed_at": at(9),
            }
            if self.position.get("direction") == "OPPOSITE":
                other = Direction.SHORT if direction is Direction.LONG else Direction.LONG
                builders.position(**(row | {"direction": other}))
            else:
                builders.position(**(row | self.position))
        return owner


def stop(quantity: str, **columns: Any) -> dict[str, Any]:
    return {"quantity": D(quantity), "state": OrderState.ACCEPTED, "last_evidence_at": STOP_AT} | columns


PART_OUT = {"exited_quantity": D("0.001"), "state": TradeState.REDUCED}
CLOSED = {
    "state": TradeState.CLOSED,
    "exited_quantity": D("0.004"),
    "exit_price": D(1),
    "exit_at": NOW,
    "net_pnl": D(0),
}
CASES = [
    Case(name="covered", expected=("0.004", "0.004"), stops=(stop("0.004"),)),
    Case(name="covered by more than it is", expected=("0.004", "0.010"), stops=(stop("0.010"),)),
    Case(name="partly out", expected=("0.003", "0.003"), trade=PART_OUT, stops=(stop("0.003"),)),
    Case(name="no stop", expected=("0.004", "0"), since=FILLED_AT),
    Case(name="partly covered", expected=("0.004", "0.003"), since=FILLED_AT, stops=(stop("0.003"),)),
    Case(
        name="stop gone",
        expected=("0.004", "0"),
        since=STOP_AT,
        stops=(stop("0.004", state=OrderState.CANCELED),),
    ),
    # One that was refused never stood.
    Case(
        name="stop refused",
        expected=("0.004", "0"),
        since=FILLED_AT,
        stops=(stop("0.004", state=OrderState.REJECTED, algo_id=""),),
    ),
    Case(
        name="stop forgotten by the exchange",
        expected=("0.004", "0"),
        since=FILLED_AT,
        stops=(stop("0.004", missing_readings=2),),
    ),
    # The entry has filled further than its trade knows: 0.007 less what is out.
    Case(name="fills not booked yet", expected=("0.006", "0"), filled="0.007", since=FILLED_AT, trade=PART_OUT),
    # A stop has executed 0.001 that is not booked: less is left, and the stop covers less.
    Case(
        name="exit not booked yet",
        expected=("0.003", "0.003"),
        stops=(stop("0.004", executed_quantity=D("0.001"), state=OrderState.PARTIALLY_FILLED),),
    ),
    Case(name="no trade yet", expected=("0.004", "0"), since=FILLED_AT, state=RequestState.ACCEPTED, trade=None),
    Case(
        name="no trade yet and a part out",
        expected=("0.003", "0.003"),
        state=RequestState.ACCEPTED,
        trade=None,
        stops=(stop("0.004", executed_quantity=D("0.001"), state=OrderState.PARTIALLY_FILLED),),
    ),
    Case(name="nothing filled yet", expected=None, filled="0", state=RequestState.ACCEPTED, trade=None),
    Case(name="ended without a position", expected=None, state=RequestState.CANCELED, trade=None),
    Case(name="closed", expected=None, trade=CLOSED),
    # The exchange's row counts when it is larger, of this direction, and no older than the books.
    Case(name="larger at the exchange", expected=("0.006", "0.004"), since=at(9), stops=(stop("0.004"),), position={}),
    Case(name="larger and without stop before", expected=("0.006", "0"), since=FILLED_AT, position={}),
    Case(
        name="read at the books' last change",
        expected=("0.006", "0.004"),
        since=CHANGED_AT,
        stops=(stop("0.004"),),
        position={"observed_at": CHANGED_AT},
    ),
    Case(
        name="read before the books' last change",
        expected=("0.004", "0.004"),
        stops=(stop("0.004"),),
        position={"observed_at": CHANGED_AT - timedelta(microseconds=1)},
    ),
    Case(
        name="smaller at the exchange",
        expected=("0.004", "0.004"),
        stops=(stop("0.004"),),
        position={"quantity": D("0.001")},
    ),
    Case(
        name="the other way at the exchange",
        expected=("0.004", "0.004"),
        stops=(stop("0.004"),),
        position={"direction": "OPPOSITE"},
    ),
]


@EACH
@pytest.mark.parametrize("case", CASES, ids=lambda each: each.name)
def test_a_position_counts_for_what_is_open_and_its_stops_for_what_they_would_close(
    case: Case, direction: Direction
) -> None:
    case.store(direction)
    # A second position, whose rows are none of the first one's.
    Case(name="other", expected=None, stops=(stop("0.004"),)).store(direction, ETH)

    found = {each.symbol: each for each in coverage()}

    assert (found[ETH].quantity, found[ETH].covered, found[ETH].since) == (D("0.004"), D("0.004"), None)
    if case.expected is None:
        assert BTC not in found
        return
    quantity, covered = map(D, case.expected)
    each = found[BTC]
    assert (each.quantity, each.covered, each.since, each.direction) == (quantity, covered, case.since, direction)
    assert [row.symbol for row in uncovered_positions()] == ([BTC] if covered < quantity else [])


@EACH
def test_two_sides_of_a_symbol_are_two_positions(direction: Direction) -> None:
    for each in Direction:
        owner = builders.approved(direction=each, position_side=PositionSide(each), quantity=D("0.004"))
        builders.bracket(owner)
        builders.order(owner, last_evidence_at=FILLED_AT)
        builders.trade(owner)
        if each is direction:
            builders.order(owner, purpose=OrderPurpose.STOP)

    found = {each.position_side: (each.quantity, each.covered) for each in coverage()}

    assert found == {each: (D("0.004"), D("0.004") if each is direction else D(0)) for each in Direction}
