"""Finds what our books do not explain, as a pure comparison.

These are external positions, what other clients add to ours, and orphan orders under our prefix.
"""

from collections.abc import Iterator, Sequence

from execution.domain.client_ids import is_ours
from execution.domain.external import ExternalPositions, direction_of, position_part
from execution.domain.money import plain
from execution.domain.outcomes import PositionReport, held_in
from execution.domain.states import REQUEST_UNBOOKED
from execution.domain.trading import OrderPurpose
from execution.reconciliation.actions import Action, Adopt, CheckOrphan, ExcessQuantity, Guard, Leave, ReportExternal
from execution.reconciliation.state import LocalState, VenueState, side_of

Side = tuple[str, str]


def unexplained(books: LocalState, seen: VenueState, wish: ExternalPositions) -> list[Action]:
    """Return what to report of it, and what to do about external positions.

    `wish`: what the operator wants of those.
    """
    external = unexplained_positions(books, seen)
    excess = list(_excess_quantities(books, seen))
    return [
        *excess,
        *(_report_of(row) for row in external),
        *_external_actions(books, seen, external, [each.position for each in excess], wish),
        *_orphan_orders(books, seen),
    ]


def unjudged(books: LocalState, seen: VenueState) -> set[Side]:
    """Return the symbols and sides where it is not known now how much of the position is ours.

    The trade has changed while the exchange was read, or its entry still rests and may have filled further.
    """
    moving = {side_of(trade) for trade in books.trades if trade.exposure.growing or seen.is_older_than(trade)}
    return moving | set(books.just_closed) | books.set_aside


def unexplained_positions(books: LocalState, seen: VenueState) -> list[PositionReport]:
    """Return the positions that no trade and no unfinished entry explains."""
    ours = {side_of(trade) for trade in books.trades} | books.just_closed | books.set_aside
    entering = {order.symbol for order in books.orders if order.purpose is OrderPurpose.ENTRY and not order.closed}
    entering |= {request.symbol for request in books.requests if request.state in REQUEST_UNBOOKED}
    return [row for row in seen.positions if side_of(row) not in ours and row.symbol not in entering]


def _excess_quantities(books: LocalState, seen: VenueState) -> Iterator[ExcessQuantity]:
    """Name by how much our positions are larger than their trades."""
    held = {side_of(row): row for row in seen.positions}
    guarded = {side_of(row) for row in books.external if row.guarded}
    unknown = unjudged(books, seen)
    for trade in books.trades:
        row, side = held.get(side_of(trade)), side_of(trade)
        at_exchange = held_in(row, trade.direction)
        numbers = f"expected={plain(trade.open_quantity)} actual={plain(at_exchange)}"
        if row and side not in unknown and at_exchange > trade.open_quantity:
            yield ExcessQuantity(
                position=position_part(row, at_exchange - trade.open_quantity),
                sentence=f"POSITION_LARGER_THAN_TRADE: {numbers}",
                guarded=side in guarded,
            )


def _report_of(row: PositionReport) -> ReportExternal:
    sentence = f"POSITION_NOT_OURS: quantity={row.quantity} side={row.position_side}"
    return ReportExternal(symbol=row.symbol, sentence=sentence, position_side=row.position_side)


def _external_actions(
    books: LocalState,
    seen: VenueState,
    alone: Sequence[PositionReport],
    beside: Sequence[PositionReport],
    wish: ExternalPositions,
) -> list[Action]:
    """Guard or adopt positions that two successive cycles have seen, and leave those that two have missed.

    One that has turned was missed. A guarded position is followed whatever the wish has become: exits that stand still
    while a position grows would be worth less than they seem. What lies `beside` our trade is one position with it at
    the exchange, and cannot become a trade of its own.
    """
    actions: list[Action] = []
    known = {(*side_of(row), row.direction): row for row in books.external}
    for row in (*alone, *beside):
        external = known.get((*side_of(row), direction_of(row)))
        if external and wish is ExternalPositions.ADOPT and row not in beside:
            actions.append(Adopt(external_id=external.id))
        elif external and (external.guarded or wish is not ExternalPositions.IGNORE):
            actions.append(Guard(external_id=external.id))
    ours = {side_of(trade) for trade in books.trades}
    here = {(*side_of(row), direction_of(row)) for row in seen.positions if side_of(row) not in ours}
    here |= {(*side_of(row), direction_of(row)) for row in beside}
    unknown = unjudged(books, seen)
    gone = [row for key, row in known.items() if key not in here and side_of(row) not in unknown]
    return [*actions, *(Leave(external_id=row.id) for row in gone if row.guarded and row.flat_readings)]


def _orphan_orders(books: LocalState, seen: VenueState) -> list[Action]:
    """Name open orders that carry our prefix and that our books have ended, or do not know."""
    known = {order.client_order_id for order in books.orders} | books.just_ended
    orphans = sorted(name for name in seen.open_orders if is_ours(name) and name not in known)
    return [CheckOrphan(client_order_id=name) for name in orphans]
