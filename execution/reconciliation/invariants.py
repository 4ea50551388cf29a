"""Checks positions and resting orders against our books, and names each broken invariant.

It is pure. It judges what a cycle has read already and believes the exchange: what our rows hold of an order counts
only where the two are compared. An external position is not judged. What other clients add to ours is a difference
until it has exits that we have placed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from execution.domain.client_ids import entry_of, is_ours
from execution.domain.lots import out_of_reach
from execution.domain.money import ZERO, plain
from execution.domain.oracle import Finding, Kind, Side
from execution.domain.outcomes import ExchangeStatus, OrderReport, PositionReport, RestingTerms, held_in
from execution.domain.states import ORDER_UNSETTLED, REQUEST_UNBOOKED
from execution.domain.trading import OrderPurpose, OrderService, PositionSide
from execution.reconciliation.diff_external import unjudged
from execution.reconciliation.state import LocalState, OurTrade, VenueState, side_of

RESTS = frozenset({ExchangeStatus.NEW, ExchangeStatus.PARTIALLY_FILLED})
STOP, TARGET, TRAILING = "STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"
LEGS = frozenset({STOP, TARGET, TRAILING})
# A single trade cannot reach it.
TRIGGERED_BY = "MARK_PRICE"


@dataclass(frozen=True, kw_only=True)
class _Leg:
    """Our conditional order that rests at the exchange."""

    report: OrderReport
    terms: RestingTerms

    @property
    def left(self) -> Decimal:
        return self.report.quantity - self.report.executed_quantity

    @property
    def side(self) -> Side:
        return self.report.symbol, self.terms.position_side


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One reading, sorted by symbol and side."""

    held: Mapping[Side, PositionReport]
    legs: Mapping[Side, Sequence[_Leg]]
    # Trigger prices in our rows, by client id.
    prices: Mapping[str, Decimal | None]
    # Sides of external positions that have our exits.
    guarded: frozenset[Side]
    # Symbols in which an entry may have filled without our knowing it yet.
    entering: frozenset[str]
    unjudged: frozenset[Side]

    @classmethod
    def of(cls, books: LocalState, seen: VenueState) -> Self:
        """Sort one reading."""
        legs: dict[Side, list[_Leg]] = defaultdict(list)
        for name, report in seen.open_orders.items():
            if is_ours(name) and report.terms and report.terms.kind in LEGS and report.status in RESTS:
                leg = _Leg(report=report, terms=report.terms)
                legs[leg.side].append(leg)
        names = {order.id: order.client_order_id for order in books.orders}
        resting = [order for trade in books.trades for order in trade.resting if order.order_id in names]
        entries = [order for order in books.orders if order.purpose is OrderPurpose.ENTRY]
        entering = {order.symbol for order in entries if order.state in ORDER_UNSETTLED}
        entering |= {request.symbol for request in books.requests if request.state in REQUEST_UNBOOKED}
        return cls(
            held={side_of(row): row for row in seen.positions},
            legs=legs,
            prices={names[order.order_id]: order.price for order in resting},
            guarded=frozenset(side_of(row) for row in books.external if row.guarded),
            entering=frozenset(entering),
            unjudged=unjudged_sides(books, seen),
        )

    def of_trade(self, trade: OurTrade) -> Iterator[Finding]:
        """Name what is wrong with one trade, its position and its exits."""
        row, legs = self.held.get(side_of(trade)), self.legs.get(side_of(trade), ())
        held = held_in(row, trade.direction)
        if (row and held <= 0) or trade.position_side not in {PositionSide.BOTH, trade.direction.value}:
            amount = plain(row.quantity) if row else "0"
            yield _about(trade, Kind.SIGN_FLIPPED, f"trade={trade.direction} venue={amount} side={trade.position_side}")
            return
        guarded = side_of(trade) in self.guarded
        if held < trade.open_quantity or (held > trade.open_quantity and not guarded):
            yield _about(trade, Kind.BOOKS_DIFFER, f"trade={plain(trade.open_quantity)} venue={plain(held)}")
        if held <= 0:
            return
        for leg in legs:
            yield from self._of_leg(leg, trade)
        yield from self._of_cover(trade, held, legs, guarded=guarded)

    def _of_leg(self, leg: _Leg, trade: OurTrade) -> Iterator[Finding]:
        """Name what keeps a resting order from being an exit of this position."""
        terms, wanted = leg.terms, trade.direction.exit_side
        what = f"{terms.kind} quantity={plain(leg.left)}"
        if terms.side != wanted:
            yield _about_order(leg, Kind.EXIT_SIDE, f"{what} expected={wanted} actual={terms.side}")
        if not terms.reduces:
            yield _about_order(leg, Kind.EXIT_NOT_REDUCING, what)
        if terms.trigger_type != TRIGGERED_BY:
            numbers = f"{what} expected={TRIGGERED_BY} actual={terms.trigger_type}"
            yield _about_order(leg, Kind.EXIT_TRIGGER_TYPE, numbers)
        planned = self.prices.get(leg.report.client_order_id)
        if terms.kind != TRAILING and planned is not None and planned != terms.trigger_price:
            actual = plain(terms.trigger_price) if terms.trigger_price is not None else "none"
            yield _about_order(leg, Kind.STOP_PRICE, f"{what} expected={plain(planned)} actual={actual}")

    @staticmethod
    def _of_cover(trade: OurTrade, held: Decimal, legs: Sequence[_Leg], *, guarded: bool) -> Iterator[Finding]:
        """Compare what stops and targets close with the position.

        Of a position that another client shares, at least our part must be covered. Where no order fits the lot, a stop
        may be larger than the position by less than the smallest of its orders.
        """
        if not trade.plan.of(OrderPurpose.STOP):
            return
        right = [leg for leg in legs if leg.terms.side == trade.direction.exit_side and leg.terms.reduces]
        stops = [held if leg.terms.whole else leg.left for leg in right if leg.terms.kind == STOP]
        covered, needed = sum(stops, ZERO), min(held, trade.open_quantity) if guarded else held
        reach = out_of_reach(needed, trade.plan.lot, trims=not trade.exposure.hedged)
        numbers = f"position={plain(held)} stops={plain(covered)} in {len(stops)}"
        if needed - covered > reach and not trade.by_software:
            yield _about(trade, Kind.COVER_SHORT, numbers)
        if stops and covered - held >= min(stops):
            yield _about(trade, Kind.COVER_EXCESS, numbers)
        targets = sum((leg.left for leg in right if leg.terms.kind == TARGET and not leg.terms.whole), ZERO)
        if targets > max(held, covered):
            numbers = f"position={plain(held)} targets={plain(targets)}"
            yield _about(trade, Kind.TARGETS_EXCEED_POSITION, numbers)

    def without_position(self) -> Iterator[Finding]:
        """Name exits beside a flat side.

        Exits under an entry of unknown outcome, and those of an external position, are judged elsewhere.
        """
        for side, legs in self.legs.items():
            known = side in self.held or side in self.unjudged or side in self.guarded
            if known or side[0] in self.entering:
                continue
            for leg in legs:
                yield _about_order(leg, Kind.ORDER_WITHOUT_POSITION, f"{leg.terms.kind} quantity={plain(leg.left)}")


def findings(books: LocalState, seen: VenueState) -> list[Finding]:
    """Return everything that does not hold, on the sides that this reading can judge."""
    sorted_ = _Seen.of(books, seen)
    trades = [trade for trade in books.trades if side_of(trade) not in sorted_.unjudged]
    return [
        *(finding for trade in trades for finding in sorted_.of_trade(trade)),
        *sorted_.without_position(),
        *_without_intent(books, seen, sorted_),
        *_doubled_entries(books, seen),
    ]


def unjudged_sides(books: LocalState, seen: VenueState) -> frozenset[Side]:
    """Return the sides that cannot be judged now: by the rule of reconciliation, or because orders were not read.

    A side whose conditional orders were not read would pass for one without a stop.
    """
    unread = {side_of(trade) for trade in books.trades if not shows_orders_of(side_of(trade), seen)}
    return frozenset(unjudged(books, seen) | unread)


def shows_orders_of(side: Side, seen: VenueState) -> bool:
    """Whether the reading has every open order of a side that can be an exit."""
    return seen.lists.show(side[0], OrderService.ALGO)


def pictures(books: LocalState, seen: VenueState) -> dict[Side, str]:
    """Return what each side shows: the position, our trade's part of it, and our resting orders."""
    parts: dict[Side, list[str]] = defaultdict(list)
    for row in seen.positions:
        parts[side_of(row)].append(f"venue={plain(row.quantity)}")
    for trade in books.trades:
        parts[side_of(trade)].append(f"trade={trade.id}:{plain(trade.open_quantity)}")
    for name, report in sorted(seen.open_orders.items()):
        if is_ours(name) and report.terms:
            parts[report.symbol, report.terms.position_side].append(f"{name}:{plain(report.executed_quantity)}")
    return {side: " ".join(each) for side, each in parts.items()}


# Orders


def _without_intent(books: LocalState, seen: VenueState, sorted_: _Seen) -> Iterator[Finding]:
    """Name open orders under our prefix that our books have ended, or have never known."""
    known = {order.client_order_id for order in books.orders} | books.just_ended
    for name, report in sorted(seen.open_orders.items()):
        if not is_ours(name) or name in known or report.status not in RESTS:
            continue
        position_side = report.terms.position_side if report.terms else PositionSide.BOTH.value
        if (report.symbol, position_side) not in sorted_.unjudged:
            numbers = f"quantity={plain(report.quantity)} executed={plain(report.executed_quantity)}"
            yield _named(Kind.ORDER_WITHOUT_INTENT, report.symbol, position_side, name, numbers)


def _doubled_entries(books: LocalState, seen: VenueState) -> Iterator[Finding]:
    """Name decisions of which more than one entry is on its way, by the exchange's list and by ours."""
    names = {order.client_order_id: order.symbol for order in books.orders}
    names |= {name: report.symbol for name, report in seen.open_orders.items()}
    entries: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, symbol in sorted(names.items()):
        if decision := entry_of(name):
            entries[symbol, decision].append(name)
    for (symbol, decision), found in entries.items():
        if len(found) > 1:
            numbers = f"expected=1 actual={len(found)} {' '.join(found)}"
            yield _named(Kind.ENTRIES_DOUBLED, symbol, PositionSide.BOTH.value, decision, numbers)


def entered_twice(rows: Iterable[tuple[object, str, str, int, Decimal, Decimal | None]]) -> list[Finding]:
    """Name open trades whose entries are more than one order, or have executed more than was ordered.

    `rows`: id, symbol, position side, number of orders that have filled it, filled and ordered quantity.
    """
    return [
        _named(
            Kind.ENTRIES_DOUBLED,
            symbol,
            position_side,
            str(pk),
            f"orders={number} filled={plain(filled)} ordered={plain(ordered) if ordered is not None else 'none'}",
        )
        for pk, symbol, position_side, number, filled, ordered in rows
    ]


def _about(trade: OurTrade, kind: Kind, numbers: str) -> Finding:
    return _named(kind, trade.symbol, trade.position_side, str(trade.id), numbers)


def _about_order(leg: _Leg, kind: Kind, numbers: str) -> Finding:
    return _named(kind, *leg.side, leg.report.client_order_id, numbers)


def _named(kind: Kind, symbol: str, position_side: str, subject: str, numbers: str) -> Finding:
    return Finding(kind=kind, symbol=symbol, position_side=position_side, subject=subject, numbers=numbers)
