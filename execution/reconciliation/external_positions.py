"""Positions that others have opened, as the monitor sees them: counted, protected, adopted, left when gone."""

from collections.abc import Sequence
from datetime import datetime

import structlog

from execution.domain import policy as keys
from execution.domain.external import TARGETS, covered_by_others, direction_of, position_part
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
from execution.risk.limit_usage import take_claim
from execution.risk.policy_store import policy_in_force
from execution.risk.pricing import priced
from execution.trades.adopt_external import adopt

log = structlog.get_logger(__name__)


def note_external(books: LocalState, actions: Sequence[Action], seen: VenueState, *, now: datetime) -> None:
    """Count what one full cycle has seen of positions that are not ours.

    One that has protection of ours is forgotten only when that is gone; any other as soon as it is not seen.
    """
    rows = {side_of(row): row for row in seen.positions}
    foreign = [(action.symbol, action.position_side) for action in actions if isinstance(action, ReportExternal)]
    surpluses = [action.position for action in actions if isinstance(action, ExcessQuantity)]
    strange = {key: rows[key] for key in foreign} | {side_of(row): row for row in surpluses}
    if not strange and not books.external:
        return
    known = {(row.symbol, row.position_side): row for row in ExternalPosition.objects.all()}
    before = {side_of(row) for row in books.external}
    for key, row in strange.items():
        # One that was counted before and is gone has become a trade meanwhile.
        if key in known or key not in before:
            _note(known.get(key), row, now)
    for key in known.keys() - strange.keys() - unjudged(books, seen):
        _miss(known[key])


def guard_external(external_id: int, sources: VenueAccess) -> None:
    """Keep our exits under a position as large as what nobody else's stop covers.

    Beside a trade of ours the position is what others have added to it. The symbol is the trade's then, and the
    position's as soon as the trade is over.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next cycle tries again.

    """
    external = _external(external_id)
    row = _row_of(external, sources)
    if external is None or row is None:
        return
    others = sources.exchange.orders_of_others(row.symbol)
    naked = unstopped_quantity(row, others)
    request = external.request
    if request is None and naked > 0:
        terms = _terms(row, sources, target=not covered_by_others(row, others, TARGETS))
        request = take(external_id, row, terms, now=sources.clock()) if terms else None
    elif request:
        take_claim(request, PositionSide(row.position_side), now=sources.clock())
    if request and not guard(request, naked, exchange=sources.exchange, rules=sources.rules, clock=sources.clock):
        log.error("external_position_naked", symbol=row.symbol, side=row.position_side, quantity=str(naked))


def adopt_external(external_id: int, sources: VenueAccess) -> None:
    """Make a position a trade of ours, and cover it at once.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next cycle goes on from where this one ends.

    """
    external = _external(external_id)
    row = _row_of(external, sources)
    if external is None or row is None or trade_beside(external):
        return
    request = external.request
    if request is None:
        terms = _terms(row, sources, target=True)
        request = take(external_id, row, terms, now=sources.clock()) if terms else None
    elif has_executed(request):
        # What our exits have closed before is in no books: a new life begins without them.
        leave(external, exchange=sources.exchange, clock=sources.clock)
        return
    # Read again: from the claim on, no entry of ours can add to it.
    row = _row_of(external, sources)
    if request and row and adopt(request, row, now=sources.clock()):
        ensure_exits(request.pk, exchange=sources.exchange, rules=sources.rules, clock=sources.clock)


def leave_external(external_id: int, sources: VenueAccess) -> None:
    """Cancel our exits of a position that two successive readings did not show, unless it is there again."""
    external = _external(external_id)
    if external and _row_of(external, sources) is None:
        leave(external, exchange=sources.exchange, clock=sources.clock)


def _note(known: ExternalPosition | None, row: PositionReport, now: datetime) -> None:
    direction = direction_of(row)
    figures = {"quantity": abs(row.quantity), "entry_price": row.entry_price, "seen_at": now, "flat_readings": 0}
    first = {**figures, "direction": direction, "since": now, "readings": 1}
    # Another process may write or take it at the same moment: what is there stays, what is gone is not written again.
    if known is None:
        new = ExternalPosition(symbol=row.symbol, position_side=row.position_side, **first)
        ExternalPosition.objects.bulk_create([new], ignore_conflicts=True)
    elif known.direction == direction:
        ExternalPosition.objects.filter(pk=known.pk).update(**figures, readings=known.readings + 1)
    elif known.request_id:
        # Its exits are those of the position that was turned: they go first.
        _miss(known)
    else:
        ExternalPosition.objects.filter(pk=known.pk, request=None).update(**first)


def _miss(known: ExternalPosition) -> None:
    if known.request_id is None:
        # Under the same condition: another process may be taking it just now.
        ExternalPosition.objects.filter(pk=known.pk, request=None).delete()
        return
    ExternalPosition.objects.filter(pk=known.pk).update(flat_readings=known.flat_readings + 1)


def _external(external_id: int) -> ExternalPosition | None:
    return ExternalPosition.objects.select_related("request").filter(pk=external_id).first()


def _row_of(external: ExternalPosition | None, sources: VenueAccess) -> PositionReport | None:
    """Read a position anew: what the cycle has seen may have changed since. Beside a trade of ours, its surplus."""
    if external is None:
        return None
    rows = sources.exchange.positions()
    key = (external.symbol, external.position_side, external.direction)
    row = next((row for row in rows if (row.symbol, row.position_side, direction_of(row)) == key), None)
    trade = trade_beside(external)
    if row is None or trade is None:
        return row
    surplus = abs(row.quantity) - (trade.quantity - trade.exited_quantity)
    return position_part(row, surplus) if surplus > 0 else None


def _terms(row: PositionReport, sources: VenueAccess, *, target: bool) -> BracketTerms | None:
    rules = sources.exchange.rules(row.symbol)
    policy = policy_in_force()
    if rules is None or not policy[keys.DEFAULT_STOP]:
        log.error("external_position_without_terms", symbol=row.symbol, listed=rules is not None)
        return None
    return BracketTerms(policy=policy, rules=rules, index=priced(sources.exchange, rules.quote_asset), target=target)
