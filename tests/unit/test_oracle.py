"""The production oracle: each invariant once long and once short, in one-way and in hedge mode, and when it stands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.brackets import Exposure, Leg, Plan, Resting
from execution.domain.client_ids import client_order_id
from execution.domain.oracle import (
    CONFIRMED_AFTER,
    NEAR,
    RESTLESS_AFTER,
    VIOLATIONS,
    Finding,
    Kind,
    OpenFinding,
    follow,
)
from execution.domain.outcomes import ExchangeStatus, OrderReport, PositionReport, RestingTerms
from execution.domain.states import OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose
from execution.reconciliation.invariants import entered_twice, findings, pictures
from execution.reconciliation.state import LocalState, OurExternal, OurOrder, OurRequest, OurTrade, VenueState

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=60)
ID = UUID(int=7)
SIZE, D = Decimal("0.004"), Decimal
# Direction and mode of every position that a rule is tried on.
MODES = [(direction, hedged) for direction in Direction for hedged in (False, True)]
each_mode = pytest.mark.parametrize(("direction", "hedged"), MODES)
KINDS = {OrderPurpose.STOP: "STOP_MARKET", OrderPurpose.TARGET: "TAKE_PROFIT_MARKET"}
PRICES = {OrderPurpose.STOP: D(49000), OrderPurpose.TARGET: D(52000)}


class Scene:
    """A position with its trade, stop and target, all as they should be; a test spoils one thing."""

    def __init__(self, direction: Direction, *, hedged: bool) -> None:
        self.direction, self.hedged = direction, hedged
        self.position_side = direction.value if hedged else "BOTH"
        self.trade = self._trade()
        self.position: PositionReport | None = self._position()
        self.books = {purpose: self._order(purpose) for purpose in KINDS}
        self.open = {order.client_order_id: self._report(order) for order in self.books.values()}
        self.more: dict[str, Any] = {}

    @property
    def stop(self) -> str:
        return self.books[OrderPurpose.STOP].client_order_id

    def spoil(self, name: str, **changes: Any) -> None:
        """Change what the exchange shows of an order: quantities and status, or its terms."""
        report = self.open[name]
        terms = {key: value for key, value in changes.items() if key in RestingTerms.__dataclass_fields__}
        rest = {key: value for key, value in changes.items() if key not in terms}
        assert report.terms is not None
        self.open[name] = replace(report, terms=replace(report.terms, **terms), **rest)

    def add(self, name: str, *, purpose: OrderPurpose = OrderPurpose.STOP, known: bool = True, **changes: Any) -> None:
        order = replace(self.books[purpose], id=90 + len(self.open), client_order_id=name)
        if known:
            self.more.setdefault("orders", []).append(order)
        self.open[name] = self._report(order)
        self.spoil(name, **changes)

    def read(self) -> tuple[LocalState, VenueState]:
        more = dict(self.more)
        orders = [*self.books.values(), *more.pop("orders", [])]
        trades = more.pop("trades", [self.trade])
        held = [self.position] if self.position else []
        books = LocalState(**{"requests": [], "orders": orders, "trades": trades, **more})
        return books, VenueState(open_orders=self.open, positions=held, begun_at=NOW)

    def kinds(self) -> list[str]:
        return sorted(finding.kind.value for finding in findings(*self.read()))

    def _trade(self) -> OurTrade:
        legs = [Leg(id=number, purpose=purpose, price=PRICES[purpose]) for number, purpose in enumerate(KINDS)]
        resting = [
            Resting(order_id=number, leg_id=number, quantity=SIZE, price=PRICES[purpose])
            for number, purpose in enumerate(KINDS)
        ]
        return OurTrade(
            id=ID,
            symbol="BTCUSDT",
            direction=self.direction,
            position_side=self.position_side,
            open_quantity=SIZE,
            plan=Plan(legs=tuple(legs), tick=D("0.1"), step=D("0.001"), minimum=D("0.001")),
            exposure=Exposure(filled=SIZE, open=SIZE, hedged=self.hedged),
            resting=resting,
            changed_at=LONG_AGO,
        )

    def _position(self) -> PositionReport:
        return PositionReport(
            symbol="BTCUSDT",
            position_side=self.position_side,
            quantity=SIZE * self.direction.sign,
            entry_price=D(50000),
            mark_price=D(50000),
            unrealized_pnl=D(0),
            liquidation_price=D(0),
            initial_margin=D(0),
            notional=D(200),
        )

    def _order(self, purpose: OrderPurpose) -> OurOrder:
        return OurOrder(
            id=list(KINDS).index(purpose),
            request_id=ID,
            client_order_id=client_order_id(ID, purpose, 1),
            symbol="BTCUSDT",
            purpose=purpose,
            state=OrderState.ACCEPTED,
            quantity=SIZE,
            executed_quantity=D(0),
            sent_at=LONG_AGO,
            closed=False,
        )

    def _report(self, order: OurOrder) -> OrderReport:
        terms = RestingTerms(
            kind=KINDS.get(order.purpose, "LIMIT"),
            side=self.direction.exit_side.value,
            position_side=self.position_side,
            reduces=True,
            trigger_type="MARK_PRICE",
            trigger_price=PRICES.get(order.purpose),
        )
        return OrderReport(
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            status=ExchangeStatus.NEW,
            quantity=order.quantity,
            executed_quantity=D(0),
            terms=terms,
        )


@pytest.fixture
def scene(direction: Direction, hedged: bool) -> Scene:  # noqa: FBT001 -- a parameter of every test
    return Scene(direction, hedged=hedged)


# Cover


@each_mode
def test_a_position_that_is_as_it_should_be_is_clean(scene: Scene) -> None:
    assert scene.kinds() == []


@each_mode
@pytest.mark.parametrize(("left", "kinds"), [("0.003", ["cover_short"]), ("0.004", []), ("0.005", [])])
def test_stops_close_all_of_a_position(scene: Scene, left: str, kinds: list[str]) -> None:
    scene.spoil(scene.stop, quantity=D(left))

    assert scene.kinds() == kinds


@each_mode
@pytest.mark.parametrize("status", [status for status in ExchangeStatus if status is not ExchangeStatus.NEW])
def test_a_stop_that_does_not_wait_covers_nothing(scene: Scene, status: ExchangeStatus) -> None:
    scene.spoil(scene.stop, status=status)

    # One that has begun to fill as it rests goes on covering what is left of it.
    assert scene.kinds() == ([] if status is ExchangeStatus.PARTIALLY_FILLED else ["cover_short"])


@each_mode
def test_what_a_stop_has_executed_covers_no_more(scene: Scene) -> None:
    scene.spoil(scene.stop, executed_quantity=D("0.001"))

    assert scene.kinds() == ["cover_short"]


@each_mode
def test_a_stop_of_our_own_stands_in_for_one_at_the_exchange(scene: Scene) -> None:
    del scene.open[scene.stop]
    scene.more["trades"] = [replace(scene.trade, by_software=True)]

    assert scene.kinds() == []


@each_mode
def test_a_position_without_any_stop(scene: Scene) -> None:
    del scene.open[scene.stop]

    assert scene.kinds() == ["cover_short"]


@each_mode
def test_a_second_stop_is_one_too_many(scene: Scene) -> None:
    scene.add("es1-s-again")

    assert scene.kinds() == ["cover_excess"]


@each_mode
def test_several_stops_may_cover_together(scene: Scene) -> None:
    scene.spoil(scene.stop, quantity=D("0.001"))
    scene.add("es1-s-rest", quantity=D("0.003"))

    assert scene.kinds() == []


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(("hedged", "kinds"), [(True, []), (False, ["books_differ", "cover_short"])])
def test_less_than_a_step_is_out_of_reach_in_hedge_mode_only(scene: Scene, hedged: bool, kinds: list[str]) -> None:  # noqa: FBT001
    part, sign = D("0.0044"), scene.direction.sign
    assert scene.position is not None
    scene.position = replace(scene.position, quantity=part * sign)
    if hedged:
        scene.trade = replace(scene.trade, open_quantity=part)

    assert scene.kinds() == kinds


@each_mode
def test_targets_close_no_more_than_there_is(scene: Scene) -> None:
    scene.add("es1-t-more", purpose=OrderPurpose.TARGET, quantity=D("0.001"))

    assert scene.kinds() == ["targets_exceed_position"]


@each_mode
@pytest.mark.parametrize("purpose", list(KINDS))
def test_an_exit_on_the_side_of_the_entry(scene: Scene, purpose: OrderPurpose) -> None:
    entry_side = {"SELL": "BUY", "BUY": "SELL"}[scene.direction.exit_side.value]
    scene.spoil(scene.books[purpose].client_order_id, side=entry_side)

    assert scene.kinds() == (["cover_short"] if purpose is OrderPurpose.STOP else []) + ["exit_side"]


@each_mode
@pytest.mark.parametrize("purpose", list(KINDS))
def test_an_exit_that_may_open(scene: Scene, purpose: OrderPurpose) -> None:
    scene.spoil(scene.books[purpose].client_order_id, reduces=False)

    assert scene.kinds() == (["cover_short"] if purpose is OrderPurpose.STOP else []) + ["exit_not_reducing"]


@each_mode
@pytest.mark.parametrize("purpose", list(KINDS))
def test_an_exit_that_waits_for_another_price(scene: Scene, purpose: OrderPurpose) -> None:
    scene.spoil(scene.books[purpose].client_order_id, trigger_type="CONTRACT_PRICE")

    assert scene.kinds() == ["exit_trigger_type"]


@each_mode
@pytest.mark.parametrize("price", [D("24500"), D("49000.1"), None])
def test_a_stop_that_lies_elsewhere_than_our_row_says(scene: Scene, price: Decimal | None) -> None:
    scene.spoil(scene.stop, trigger_price=price)

    assert scene.kinds() == ["stop_price"]


@each_mode
def test_a_plan_without_a_stop_wants_none(scene: Scene) -> None:
    target = replace(scene.trade.plan, legs=tuple(scene.trade.plan.of(OrderPurpose.TARGET)))
    scene.trade = replace(scene.trade, plan=target, resting=())
    del scene.open[scene.stop]

    assert scene.kinds() == []


# Books and sign


@each_mode
@pytest.mark.parametrize("amount", ["0.003", "0.005"])
def test_books_are_the_venues(scene: Scene, amount: str) -> None:
    assert scene.position is not None
    scene.position = replace(scene.position, quantity=D(amount) * scene.direction.sign)

    assert "books_differ" in scene.kinds()


@each_mode
def test_a_trade_without_its_position(scene: Scene) -> None:
    scene.position, scene.open = None, {}

    assert scene.kinds() == ["books_differ"]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("hedged", [False])
def test_a_position_that_has_turned_round(scene: Scene) -> None:
    assert scene.position is not None
    scene.position = replace(scene.position, quantity=-scene.position.quantity)

    assert scene.kinds() == ["sign_flipped"]


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("hedged", [True])
def test_a_trade_on_the_other_side_of_hedge_mode(scene: Scene) -> None:
    other = {Direction.LONG: Direction.SHORT, Direction.SHORT: Direction.LONG}[scene.direction]
    scene.trade = replace(scene.trade, direction=other)

    assert scene.kinds() == ["sign_flipped"]


@each_mode
def test_what_others_add_counts_until_it_has_exits_of_ours(scene: Scene) -> None:
    assert scene.position is not None
    scene.position = replace(scene.position, quantity=scene.position.quantity * 2)
    assert scene.kinds() == ["books_differ", "cover_short"]

    guest = OurExternal(id=1, symbol="BTCUSDT", position_side=scene.position_side, direction=scene.direction)
    scene.more["external"] = [replace(guest, guarded=True)]
    assert scene.kinds() == []


# Orders


@each_mode
def test_exits_beside_a_flat_side(scene: Scene) -> None:
    scene.position, scene.more["trades"] = None, []

    assert scene.kinds() == ["order_without_position"] * 2


@each_mode
@pytest.mark.parametrize(
    "watched",
    [
        {"just_closed": True},
        {"set_aside": True},
        {"external": True},
        {"requests": RequestState.FILLED},
        {"entry": OrderState.UNKNOWN},
        {"entry": OrderState.SUBMITTING},
    ],
)
def test_exits_beside_a_flat_side_that_somebody_watches(scene: Scene, watched: dict[str, Any]) -> None:
    """An entry of unknown outcome has its stop, and a closed trade's legs are being cancelled."""
    scene.position, scene.more["trades"] = None, []
    side = ("BTCUSDT", scene.position_side)
    [(what, how)] = watched.items()
    if what == "entry":
        name = client_order_id(ID, OrderPurpose.ENTRY, 1)
        entry = replace(scene.books[OrderPurpose.STOP], id=5, client_order_id=name, purpose=OrderPurpose.ENTRY)
        scene.more["orders"] = [replace(entry, state=how)]
    elif what == "external":
        guest = OurExternal(id=1, symbol=side[0], position_side=side[1], direction=scene.direction, guarded=True)
        scene.more["external"] = [guest]
    elif what == "requests":
        scene.more[what] = [OurRequest(id=ID, state=how, moved_at=NOW, expires_at=NOW, symbol="BTCUSDT")]
    else:
        scene.more[what] = frozenset({side})

    assert scene.kinds() == []


@each_mode
def test_an_order_that_our_books_do_not_want(scene: Scene) -> None:
    scene.add("es1-t-nobody", purpose=OrderPurpose.TARGET, known=False, quantity=D(0))
    scene.add("es1-c-nobody", purpose=OrderPurpose.TARGET, known=False, kind="LIMIT")

    assert scene.kinds() == ["order_without_intent"] * 2


@each_mode
def test_orders_of_others_and_orders_that_just_ended_are_no_concern(scene: Scene) -> None:
    scene.add("web-1", known=False, side="BUY", reduces=False)
    scene.add("es1-s-ended", known=False, quantity=D(0))
    scene.more["just_ended"] = frozenset({"es1-s-ended"})
    scene.spoil("es1-s-ended", kind="LIMIT")

    assert scene.kinds() == []


@each_mode
def test_two_entries_of_one_decision(scene: Scene) -> None:
    names = [client_order_id(ID, OrderPurpose.ENTRY, number) for number in (1, 2)]
    for name in names:
        scene.add(name, kind="LIMIT", reduces=False)
    other = client_order_id(UUID(int=8), OrderPurpose.ENTRY, 1)
    scene.add(other, kind="LIMIT", reduces=False)

    [found] = findings(*scene.read())

    assert (found.kind, found.numbers) == (Kind.ENTRIES_DOUBLED, f"expected=1 actual=2 {names[0]} {names[1]}")


def test_a_trade_that_is_larger_than_its_entry() -> None:
    [found] = entered_twice([(ID, "BTCUSDT", "BOTH", 2, D("0.008"), D("0.004"))])

    assert found.sentence == f"BTCUSDT BOTH entries_doubled {ID}: orders=2 filled=0.008 ordered=0.004"


@each_mode
def test_a_side_in_motion_is_not_judged(scene: Scene) -> None:
    scene.position, scene.open = None, {}
    for moving in (
        replace(scene.trade, changed_at=NOW),
        replace(scene.trade, exposure=replace(scene.trade.exposure, growing=True)),
    ):
        scene.more["trades"] = [moving]
        assert scene.kinds() == []


# From a finding to a violation

SIDE = ("BTCUSDT", "BOTH")
FOUND = Finding(kind=Kind.COVER_SHORT, symbol="BTCUSDT", position_side="BOTH", subject=str(ID), numbers="stops=0")


def watched(*cycles: tuple[float, bool, str], unjudged: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
    """Run cycles of (seconds since the first, whether it finds, the picture); return raised, standing, ended of each.

    `unjudged`: the numbers of cycles that cannot tell.
    """
    before: tuple[OpenFinding, ...] = ()
    told = []
    for number, (seconds, finds, picture) in enumerate(cycles):
        followed = follow(
            # As the next cycle's process reads it.
            [OpenFinding.of_json(suspect.as_json()) for suspect in before],
            [FOUND] if finds else [],
            {SIDE: picture},
            unjudged={SIDE} if number in unjudged else set(),
            now=NOW + timedelta(seconds=seconds),
        )
        before = followed.going_on
        told.append((len(followed.raised), len(followed.standing), len(followed.ended)))
    return told


def test_what_stands_in_two_cycles_at_rest_is_one_violation_until_it_ends() -> None:
    assert watched((0, True, "a"), (10, True, "a"), (20, True, "a"), (30, False, "b"), (40, False, "b")) == [
        (0, 0, 0),
        (1, 1, 0),
        (0, 1, 0),
        (0, 0, 1),
        (0, 0, 0),
    ]


def test_a_finding_is_given_five_seconds_and_a_side_that_never_rests_five_minutes() -> None:
    assert (timedelta(seconds=5), timedelta(minutes=5)) == (CONFIRMED_AFTER, RESTLESS_AFTER)
    assert VIOLATIONS == "oracle_violations"


def test_what_is_right_again_in_the_next_cycle_was_none() -> None:
    assert watched((0, True, "a"), (10, False, "a"), (20, True, "a")) == [(0, 0, 0)] * 3


def test_cycles_in_quick_succession_prove_nothing() -> None:
    least = CONFIRMED_AFTER.total_seconds()

    assert watched((0, True, "a"), (1, True, "a"), (least - 0.001, True, "a"), (least, True, "a")) == [
        *[(0, 0, 0)] * 3,
        (1, 1, 0),
    ]


def test_what_moves_begins_anew_but_not_for_ever() -> None:
    seconds = [10.0 * number for number in range(int(RESTLESS_AFTER.total_seconds() // 10) + 1)]
    told = watched(*((at, True, f"picture {at}") for at in seconds))

    assert told == [(0, 0, 0)] * (len(seconds) - 1) + [(1, 1, 0)]


@pytest.mark.parametrize("second", ["a", "b"], ids=["as before", "moved"])
def test_cycles_that_are_far_apart_are_not_successive(second: str) -> None:
    """Twenty minutes without a cycle: what was found before them was repaired, and this is a new difference."""
    far = NEAR.total_seconds()

    assert watched((0, True, "a"), (far + 0.001, True, second), (far + 10, True, second)) == [
        (0, 0, 0),
        (0, 0, 0),
        (1, 1, 0),
    ]
    assert watched((0, True, "a"), (far, True, "a")) == [(0, 0, 0), (1, 1, 0)]
    assert watched((0, True, "a"), (10, True, "a"), (10 + 2 * far, True, second)) == [(0, 0, 0), (1, 1, 0), (0, 1, 0)]


def test_a_violation_that_moves_goes_on_being_the_same() -> None:
    assert watched((0, True, "a"), (10, True, "a"), (20, True, "b"), (30, True, "c")) == [
        (0, 0, 0),
        (1, 1, 0),
        (0, 1, 0),
        (0, 1, 0),
    ]


def test_a_violation_stands_while_nobody_can_tell_and_a_suspicion_does_not() -> None:
    assert watched((0, True, "a"), (10, False, "a"), (20, True, "a"), unjudged=(1,)) == [(0, 0, 0)] * 3
    assert watched((0, True, "a"), (10, True, "a"), (20, False, "a"), (30, False, "a"), unjudged=(2,)) == [
        (0, 0, 0),
        (1, 1, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]


OTHERS = {
    "kind": replace(FOUND, kind=Kind.STOP_PRICE),
    "symbol": replace(FOUND, symbol="ETHUSDT"),
    "side": replace(FOUND, position_side="SHORT"),
    "subject": replace(FOUND, subject="es1-s-1"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_two_findings_are_followed_each_by_itself(other: Finding) -> None:
    first = follow([], [FOUND], {}, unjudged=set(), now=NOW)
    second = follow(first.going_on, [other], {}, unjudged=set(), now=NOW + timedelta(seconds=10))
    third = follow(second.going_on, [FOUND, other], {}, unjudged=set(), now=NOW + timedelta(seconds=20))
    # It should take no finding for another that was there before it
    assert (second.raised, third.standing) == ((), [third.going_on[1]])
    assert [(each.finding, each.first_at) for each in third.going_on] == [
        (FOUND, NOW + timedelta(seconds=20)),
        (other, NOW + timedelta(seconds=10)),
    ]
    fourth = follow(third.going_on, [FOUND], {}, unjudged=set(), now=NOW + timedelta(seconds=30))
    assert [each.finding for each in (*fourth.raised, *fourth.ended)] == [FOUND, other]


def test_a_finding_is_told_by_what_where_and_whom() -> None:
    assert FOUND.key == f"cover_short BTCUSDT BOTH {ID}"
    assert FOUND.sentence == f"BTCUSDT BOTH cover_short {ID}: stops=0"
    assert OTHERS["side"].side == ("BTCUSDT", "SHORT")


def test_a_side_without_a_picture_looks_empty() -> None:
    [suspect] = follow([], [FOUND], {("ETHUSDT", "BOTH"): "a"}, unjudged=set(), now=NOW).going_on

    assert suspect == OpenFinding(finding=FOUND, first_at=NOW, at_rest_since=NOW, seen_at=NOW, picture="")


@each_mode
def test_a_picture_shows_position_trade_and_orders(scene: Scene) -> None:
    side = ("BTCUSDT", scene.position_side)
    before = pictures(*scene.read())[side]
    assert scene.position is not None

    scene.spoil(scene.stop, executed_quantity=D("0.001"))
    filled = pictures(*scene.read())[side]
    scene.position = replace(scene.position, quantity=scene.position.quantity / 2)
    smaller = pictures(*scene.read())[side]
    scene.trade = replace(scene.trade, open_quantity=SIZE / 2)
    booked = pictures(*scene.read())[side]
    del scene.open[scene.stop]

    assert len({before, filled, smaller, booked, pictures(*scene.read())[side]}) == 5
