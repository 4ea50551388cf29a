"""The tables of docs/reconciliation.md, row by row: each row is a case of the pure comparison, and must be true."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest

from execution.domain.external import ExternalPositions
from execution.domain.outcomes import ExchangeStatus, OrderReport, PositionReport
from execution.domain.reasons import CloseReason
from execution.domain.states import OrderState, RequestState
from execution.reconciliation.actions import Action
from execution.reconciliation.diff import reconcile
from execution.reconciliation.state import Deadline, LocalState, OurExternal, OurOrder, OurRequest, OurTrade, VenueState
from tests.unit.test_reconcile import (
    BEGUN_AT,
    ENTRY,
    EXTERNAL,
    ID,
    JUST_NOW,
    LOT,
    NOW,
    PATIENCE,
    POSITION,
    REQUEST,
    RESTING_STOP,
    RESTING_TARGET,
    STOP,
    TARGET,
    TRADE,
    report_of,
)

PAGE = Path(__file__).parents[2] / "docs" / "reconciliation.md"
SECTIONS = ("Orders", "Positions", "Requests")
HALF = LOT / 2
OLDER = replace(STOP, id=9, client_order_id="es1-s-0")
STRAY = replace(STOP, client_order_id="es1-s-7")
SMALLER_STOP = replace(RESTING_STOP, quantity=HALF)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the page, with books and readings that are an example of it; no actions stand for "none"."""

    section: str
    ours: str
    exchange: str
    actions: tuple[str, ...] = ()
    orders: Sequence[OurOrder] = ()
    trades: Sequence[OurTrade] = ()
    requests: Sequence[OurRequest] = ()
    open_orders: Sequence[OrderReport] = ()
    positions: Sequence[PositionReport] = ()
    just_ended: frozenset[str] = frozenset()
    just_closed: frozenset[tuple[str, str]] = frozenset()
    to_look_over: bool = False
    external: Sequence[OurExternal] = ()
    wish: ExternalPositions = ExternalPositions.IGNORE

    def compared(self) -> tuple[str, ...]:
        """Return the names of what the comparison asks for."""
        books = LocalState(
            requests=self.requests,
            orders=self.orders,
            trades=self.trades,
            just_ended=self.just_ended,
            just_closed=self.just_closed,
            to_look_over=[ID] if self.to_look_over else [],
            external=self.external,
        )
        seen = VenueState(
            open_orders={row.client_order_id: row for row in self.open_orders},
            positions=self.positions,
            begun_at=BEGUN_AT,
        )
        actions = reconcile(books, seen, patience=PATIENCE, now=NOW, wish=self.wish)
        return tuple(type(action).__name__ for action in actions)


def order(ours: str, exchange: str, *actions: str, **sides: object) -> Case:
    return Case(section="Orders", ours=ours, exchange=exchange, actions=actions, **sides)  # type: ignore[arg-type]


def position(ours: str, exchange: str, *actions: str, **sides: object) -> Case:
    return Case(section="Positions", ours=ours, exchange=exchange, actions=actions, **sides)  # type: ignore[arg-type]


def request(ours: str, exchange: str, *actions: str, **sides: object) -> Case:
    return Case(section="Requests", ours=ours, exchange=exchange, actions=actions, **sides)  # type: ignore[arg-type]


def resting(*orders: OurOrder) -> tuple[OrderReport, ...]:
    return tuple(report_of(each) for each in orders)


LARGER = replace(POSITION, quantity=LOT * 2)
PART = report_of(ENTRY, "0.001", ExchangeStatus.PARTIALLY_FILLED)
PARTLY = replace(ENTRY, state=OrderState.PARTIALLY_FILLED, executed_quantity=Decimal("0.001"))
BOTH_STOPS = replace(TRADE, resting=(replace(SMALLER_STOP, order_id=9), RESTING_STOP, RESTING_TARGET))
OLDER_STOP_ONLY = replace(TRADE, resting=(replace(RESTING_STOP, order_id=9), RESTING_STOP, RESTING_TARGET))
NOTHING_LEFT = replace(
    TRADE,
    plan=replace(TRADE.plan, legs=(TRADE.plan.legs[0], replace(TRADE.plan.legs[1], done=True, executed=HALF))),
    exposure=replace(TRADE.exposure, open=HALF),
    open_quantity=HALF,
    resting=(SMALLER_STOP, replace(RESTING_TARGET, quantity=HALF)),
)

CASES = (
    order("unfinished, sent long enough ago", "not open", "LookUpOrder", orders=[STOP]),
    order("unfinished, sent just now", "not open", orders=[replace(STOP, sent_at=JUST_NOW)]),
    order(
        "SUBMITTING or UNKNOWN",
        "open",
        "Apply",
        orders=[replace(ENTRY, state=OrderState.UNKNOWN)],
        open_orders=resting(ENTRY),
    ),
    order("any", "has executed more than we know", "Apply", orders=[ENTRY], open_orders=[PART]),
    order(
        "missed by a reading before, or alarmed",
        "open",
        "Apply",
        orders=[replace(STOP, doubted=True)],
        open_orders=resting(STOP),
    ),
    order(
        "entry, rested for as long as it may",
        "open",
        "ExpireEntry",
        orders=[replace(PARTLY, expires_at=NOW)],
        open_orders=[PART],
    ),
    order("entry, executed more than its trade has booked", "open", "Apply", orders=[PARTLY], open_orders=[PART]),
    order(
        "leg of a closed trade",
        "open",
        "CancelLeftover",
        orders=[replace(STOP, closed=True)],
        open_orders=resting(STOP),
    ),
    order(
        "rest of an entry whose filled part was closed",
        "open",
        "CancelLeftover",
        orders=[replace(PARTLY, closed=True)],
        open_orders=[PART],
    ),
    order(
        "an older order of a leg, a right one rests",
        "both open",
        "CancelLeftover",
        orders=[OLDER, STOP, TARGET],
        trades=[BOTH_STOPS],
        open_orders=resting(OLDER, STOP, TARGET),
        positions=[POSITION],
    ),
    order(
        "an older order of a leg, the right one is not seen",
        "the older open",
        orders=[OLDER, replace(STOP, sent_at=JUST_NOW), TARGET],
        trades=[OLDER_STOP_ONLY],
        open_orders=resting(OLDER, TARGET),
        positions=[POSITION],
    ),
    order(
        "a leg that wants nothing any more",
        "open",
        "CancelLeftover",
        orders=[STOP, TARGET],
        trades=[NOTHING_LEFT],
        open_orders=resting(STOP, TARGET),
        positions=[replace(POSITION, quantity=HALF)],
    ),
    order(
        "ended while the exchange was read",
        "still in that reading",
        just_ended=frozenset({STRAY.client_order_id}),
        open_orders=resting(STRAY),
    ),
    order("ended, or never known, with our prefix", "open", "CheckOrphan", open_orders=resting(STRAY)),
    order("orders of others", "open", open_orders=[replace(report_of(STOP), client_order_id="web_abc")]),
    position("trade open", "as large, legs right within a tick", trades=[TRADE], positions=[POSITION]),
    position("trade open", "smaller, turned, or not there", "BookExits", trades=[TRADE]),
    position(
        "trade open, its time is up, or its contract about to end",
        "as large",
        "CloseInTime",
        trades=[replace(TRADE, deadline=Deadline(at=NOW, reason=CloseReason.TIME))],
        positions=[POSITION],
    ),
    position(
        "trade open, a stop or trailing stop of it is overdue (below)",
        "as large",
        "Cover",
        trades=[replace(TRADE, resting=(replace(RESTING_STOP, seen=False), RESTING_TARGET))],
        positions=[POSITION],
    ),
    position(
        "trade open, a leg is missing, or has the wrong price or quantity",
        "as large",
        "Cover",
        trades=[replace(TRADE, resting=())],
        positions=[POSITION],
    ),
    position("trade open", "larger", "ExcessQuantity", trades=[TRADE], positions=[LARGER]),
    position(
        "trade open, entry still rests",
        "larger",
        trades=[replace(TRADE, exposure=replace(TRADE.exposure, growing=True))],
        positions=[LARGER],
    ),
    position(
        "trade open, added to in the cycle before too, to be protected or adopted",
        "larger",
        "ExcessQuantity",
        "Guard",
        trades=[TRADE],
        positions=[LARGER],
        external=[EXTERNAL],
        wish=ExternalPositions.ADOPT,
    ),
    position(
        "trade open, our exits for what was added",
        "as large as the trade in this cycle only",
        trades=[TRADE],
        positions=[POSITION],
        external=[replace(EXTERNAL, guarded=True)],
    ),
    position(
        "trade open, our exits for what was added",
        "as large as the trade in the cycle before too",
        "Leave",
        trades=[TRADE],
        positions=[POSITION],
        external=[replace(EXTERNAL, guarded=True, flat_readings=1)],
    ),
    position(
        "trade open",
        "as large, its rows changed during the reading",
        trades=[replace(TRADE, changed_at=BEGUN_AT, resting=())],
        positions=[POSITION],
    ),
    position(
        "trade closed while the exchange was read",
        "still in that reading",
        just_closed=frozenset({(POSITION.symbol, POSITION.position_side)}),
        positions=[POSITION],
    ),
    position("trade closed a minute ago, not looked over yet", "anything", "LookOver", to_look_over=True),
    position(
        "trade closed, its entry has executed more than is booked",
        "anything",
        "LookOver",
        to_look_over=True,
        just_closed=frozenset({(POSITION.symbol, POSITION.position_side)}),
        positions=[POSITION],
    ),
    position(
        "entry on its way, no trade yet",
        "a position",
        orders=[replace(ENTRY, sent_at=JUST_NOW)],
        positions=[POSITION],
    ),
    position("no trade", "a position", "ReportExternal", positions=[POSITION]),
    position(
        "no trade, seen in the cycle before, to be protected",
        "a position",
        "ReportExternal",
        "Guard",
        positions=[POSITION],
        external=[EXTERNAL],
        wish=ExternalPositions.PROTECT,
    ),
    position(
        "no trade, seen in the cycle before, to be adopted",
        "a position",
        "ReportExternal",
        "Adopt",
        positions=[POSITION],
        external=[EXTERNAL],
        wish=ExternalPositions.ADOPT,
    ),
    position(
        "no trade, our exits",
        "not there, or turned, in this cycle only",
        external=[replace(EXTERNAL, guarded=True)],
    ),
    position(
        "no trade, our exits",
        "not there, or turned, in the cycle before too",
        "Leave",
        external=[replace(EXTERNAL, guarded=True, flat_readings=1)],
    ),
    request("RECEIVED to APPROVED, moved just now", "anything", requests=[replace(REQUEST, moved_at=JUST_NOW)]),
    request("RECEIVED to APPROVED, stands still", "anything", "Resume", requests=[REQUEST]),
    request(
        "RECEIVED to APPROVED, too old to trade",
        "anything",
        "Expire",
        requests=[replace(REQUEST, expires_at=NOW - timedelta(milliseconds=1))],
    ),
    request(
        "FILLED, PROTECTED or FLATTENED, stands still, however old",
        "anything",
        "Resume",
        requests=[replace(REQUEST, state=RequestState.FILLED, expires_at=NOW - timedelta(days=1))],
    ),
    request(
        "SUBMITTING, UNKNOWN or ACCEPTED",
        "anything",
        requests=[replace(REQUEST, state=RequestState.UNKNOWN, expires_at=NOW - timedelta(days=1))],
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section}: {case.ours} | {case.exchange}")
def test_the_comparison_does_what_the_page_says(case: Case) -> None:
    assert case.compared() == case.actions


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_has_these_rows_and_no_others(section: str) -> None:
    cases = [(case.ours, case.exchange, case.actions) for case in CASES if case.section == section]

    # In the same order too, so that a row that was added is found in both places
    assert list(rows_of(section)) == cases


def rows_of(section: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Read a section's table: both sides, and the action's names; "none" is no action."""
    text = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        ours, exchange, action = (cell.strip() for cell in line.strip("|").split("|"))
        names = tuple(re.findall(r"`(\w+)`", action.split(":")[0]))
        if not names and not action.startswith("none"):
            raise AssertionError(f"neither an action nor none: {line}")
        yield ours, exchange, names


def test_every_kind_of_action_is_in_the_page() -> None:
    named = {name for section in SECTIONS for *_, names in rows_of(section) for name in names}
    kinds = {kind.__name__ for kind in get_args(Action)}

    assert named == kinds
