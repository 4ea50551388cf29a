"""Counts external positions in each cycle, and protects, adopts or leaves them as configured."""

from collections.abc import Sequence
from datetime import datetime

import structlog

from execution.domain import policy as keys
from execution.domain.external import TARGETS, direction_of, exit_quantity_of_others, position_part
from execution.domain.outcomes import PositionReport
from execution.domain.trading import PositionSide
from execution.models import ExternalPosition
from execution.protection.ensure_exits import ensure_exits
from execution.protection.external_bracket import BracketTerms, take, trade_beside
from execution.protection.external_protection import guard, has_executed, leave, unstopped_quantity
from execution.reconciliation.actions import Action, ExcessQuantity, ReportExternal
from execution.reconciliation.diff_external import unjudged
from execution.reconciliation.resolve_inflight import VenueAccess
from execution.reconciliation.state import LocalState, VenueState, side_of
from execution.risk.policy_store import policy_in_force
from execution.risk.pricing import priced
from execution.store.external_positions import (
    FirstReading,
    Reading,
    add_external_position,
    all_external_positions,
    count_external_reading,
    count_missed_external,
    find_external_position,
    forget_external_position,
    restart_external_position,
)
from execution.store.slots import take_slot
from execution.trades.adopt_external import adopt

log = structlog.get_logger(__name__)


def note_external(books: LocalState, actions: Sequence[Action], seen: VenueState, *, now: datetime) -> None:
    """Count what one full cycle has seen of external positions.

    One that we protect is forgotten only when its exits are gone, any other as soon as it is not seen.
    """
    rows = {side_of(row): row for row in seen.positions}
    alone = [(action.symbol, action.position_side) for action in actions if isinstance(action, ReportExternal)]
    excess = [action.position for action in actions if isinstance(action, ExcessQuantity)]
    external = {key: rows[key] for key in alone} | {side_of(row): row for row in excess}
    if not external and not books.external:
        return
    known = {(row.symbol, row.position_side): row for row in all_external_positions()}
    before = {side_of(row) for row in books.external}
    for key, row in external.items():
        # One that was counted before and is gone has become a trade meanwhile.
        if key in known or key not in before:
            _note(known.get(key), row, now)
    for key in known.keys() - external.keys() - unjudged(books, seen):
        _miss(known[key])


def guard_external(external_id: int, access: VenueAccess) -> None:
    """Keep our exits as large as the part of a position that no stop of another client covers.

    Beside our trade the position is what other clients have added to it. The symbol is the trade's then, and the
    position's as soon as the trade is over.

    Raises:
        ExchangeUnavailableError: the exchange did not answer. The next cycle tries again.

    """
    external = find_external_position(external_id)
    row = _row_of(external, access)
    if external is None or row is None:
        return
    others = access.exchange.orders_of_others(row.symbol)
    unprotected = unstopped_quantity(row, others)
    request = external.request
    if request is None and unprotected > 0:
        terms = _terms(row, access, target=not exit_quantity_of_others(row, others, TARGETS))
        request = take(external_id, row, terms, now=access.clock()) if terms else None
    elif request:
        take_slot(request, PositionSide(row.position_side), now=access.clock())
    if request and not guard(request, unprotected, exchange=access.exchange, rules=access.rules, clock=access.clock):
        log.error("external_position_unprotected", symbol=row.symbol, side=row.position_side, quantity=str(unprotected))


def adopt_external(external_id: int, access: VenueAccess) -> None:
    """Make a position our trade, and protect it at once.

    Raises:
        ExchangeUnavailableError: the exchange did not answer. The next cycle goes on from where this one ends.

    """
    external = find_external_position(external_id)
    row = _row_of(external, access)
    if external is None or row is None or trade_beside(external):
        return
    request = external.request
    if request is None:
        terms = _terms(row, access, target=True)
        request = take(external_id, row, terms, now=access.clock()) if terms else None
    elif has_executed(request):
        # What our exits have closed before is in no books: a new life begins without them.
        leave(external, exchange=access.exchange, clock=access.clock)
        return
    # Read again: from the claim on, none of our entries can add to it.
    row = _row_of(external, access)
    if request and row and adopt(request, row, now=access.clock()):
        ensure_exits(request.pk, exchange=access.exchange, rules=access.rules, clock=access.clock)


def leave_external(external_id: int, access: VenueAccess) -> None:
    """Cancel our exits of a position that two successive readings did not show, unless it is there again."""
    external = find_external_position(external_id)
    if external and _row_of(external, access) is None:
        leave(external, exchange=access.exchange, clock=access.clock)


def _note(known: ExternalPosition | None, row: PositionReport, now: datetime) -> None:
    direction = direction_of(row)
    reading = Reading(quantity=abs(row.quantity), entry_price=row.entry_price, seen_at=now, flat_readings=0)
    first = FirstReading(**reading, direction=direction, since=now, readings=1)
    if known is None:
        add_external_position(row.symbol, row.position_side, first)
    elif known.direction == direction:
        count_external_reading(known, reading)
    elif known.request_id:
        # Its exits are those of the position that was turned: they go first.
        _miss(known)
    else:
        restart_external_position(known, first)


def _miss(known: ExternalPosition) -> None:
    if known.request_id is None:
        forget_external_position(known)
    else:
        count_missed_external(known)


def _row_of(external: ExternalPosition | None, access: VenueAccess) -> PositionReport | None:
    """Read a position anew, for it may have changed since the cycle has read it.

    Beside our trade it is the quantity in excess of the trade.
    """
    if external is None:
        return None
    rows = access.exchange.positions()
    key = (external.symbol, external.position_side, external.direction)
    row = next((row for row in rows if (row.symbol, row.position_side, direction_of(row)) == key), None)
    trade = trade_beside(external)
    if row is None or trade is None:
        return row
    excess = abs(row.quantity) - (trade.quantity - trade.exited_quantity)
    return position_part(row, excess) if excess > 0 else None


def _terms(row: PositionReport, access: VenueAccess, *, target: bool) -> BracketTerms | None:
    rules = access.exchange.rules(row.symbol)
    policy = policy_in_force()
    if rules is None or not policy[keys.DEFAULT_STOP]:
        log.error("external_position_without_terms", symbol=row.symbol, listed=rules is not None)
        return None
    return BracketTerms(policy=policy, rules=rules, index=priced(access.exchange, rules.quote_asset), target=target)
