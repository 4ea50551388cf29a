"""Finds what our books do not explain: positions of others, what they add to ours, orders under our prefix. Pure."""

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
    """Return what to say of it, and what to do about positions; `wish`: what the operator wants of those."""
    strange = _foreign_positions(books, seen)
    surpluses = list(_surpluses(books, seen))
    return [
        *surpluses,
        *(_stranger(row) for row in strange),
        *_external_actions(books, seen, strange, [surplus.position for surplus in surpluses], wish),
        *_strays(books, seen),
    ]


def unjudged(books: LocalState, seen: VenueState) -> set[Side]:
    """Return the symbols and sides of which nobody can tell now how much of the position is ours.

    The trade has changed while the exchange was read, or its entry still rests and may have filled further.
    """
    moving = {side_of(trade) for trade in books.trades if trade.exposure.growing or seen.is_older_than(trade)}
    return moving | set(books.just_closed) | books.set_aside


def _foreign_positions(books: LocalState, seen: VenueState) -> list[PositionReport]:
    """Return the positions that no trade and no running entry of ours explains."""
    ours = {side_of(trade) for trade in books.trades} | books.just_closed | books.set_aside
    entering = {order.symbol for order in books.orders if order.purpose is OrderPurpose.ENTRY and not order.closed}
    entering |= {request.symbol for request in books.requests if request.state in REQUEST_UNBOOKED}
    return [row for row in seen.positions if side_of(row) not in ours and row.symbol not in entering]


def _surpluses(books: LocalState, seen: VenueState) -> Iterator[ExcessQuantity]:
    """Name what positions of ours are larger than their trades."""
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


def _stranger(row: PositionReport) -> ReportExternal:
    sentence = f"POSITION_NOT_OURS: quantity={row.quantity} side={row.position_side}"
    return ReportExternal(symbol=row.symbol, sentence=sentence, position_side=row.position_side)


def _external_actions(
    books: LocalState,
    seen: VenueState,
    strange: Sequence[PositionReport],
    beside: Sequence[PositionReport],
    wish: ExternalPositions,
) -> list[Action]:
    """Guard or adopt what two successive cycles have found strange; leave what two have missed, or have found turned.

    What is guarded is followed whatever the wish has become: exits that stand still while a position grows would be
    worth less than they seem. What lies `beside` a trade of ours is one position with it at the exchange, and cannot
    become a trade of its own.
    """
    actions: list[Action] = []
    known = {(*side_of(row), row.direction): row for row in books.external}
    for row in (*strange, *beside):
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


def _strays(books: LocalState, seen: VenueState) -> list[Action]:
    """Name open orders that carry our prefix and that our books think ended, or do not know."""
    known = {order.client_order_id for order in books.orders} | books.just_ended
    strays = sorted(name for name in seen.open_orders if is_ours(name) and name not in known)
    return [CheckOrphan(client_order_id=name) for name in strays]
