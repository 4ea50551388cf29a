"""Reads software stops, which stand in for stops that the exchange does not take.

They are columns of the bracket, so a restart forgets none. Every description of a position reads them here, and
`run_software_stops` begins and ends them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from execution.domain.money import ZERO
from execution.domain.software_stop import ProtectedBy, SoftwareStop
from execution.domain.states import ORDER_FINAL
from execution.models import Bracket, ExecutionRequest, Order, Trade
from execution.protection.bracket_store import exit_orders, exposure_of, stop_cover
from execution.store.brackets import software_rows
from execution.store.heartbeats import last_heartbeat
from execution.store.orders import entries_by_request
from execution.store.trades import trades_by_id

Side = tuple[str, str]
# The heartbeat of the watchdog that closes the positions whose software stops were reached.
GUARD = "software_stops"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The software stop of one request: what its position holds, and a flaw, empty while it protects."""

    request_id: UUID
    side: Side
    stop: SoftwareStop
    held: Decimal
    flaw: str


def software_stop_of(bracket: Bracket) -> SoftwareStop | None:
    if bracket.software_since is None:
        return None
    return SoftwareStop(
        since=bracket.software_since,
        seen_at=bracket.software_seen_at or bracket.software_since,
        passed_at=bracket.software_passed_at,
    )


def standing_stops(now: datetime) -> dict[UUID, Standing]:
    """Return the standing software stops by request.

    It is one statement while there are none, five else.
    """
    rows = list(software_rows().select_related("request"))
    if not rows:
        return {}
    keys = [row.pk for row in rows]
    guard = last_heartbeat(GUARD)
    exits = exit_orders(keys)
    entries = entries_by_request(keys)
    trades = trades_by_id(keys)
    found = {}
    for row in rows:
        stop, entry = software_stop_of(row), entries.get(row.pk)
        if stop and entry:
            found[row.pk] = Standing(
                request_id=row.pk,
                side=(row.request.symbol, row.request.position_side),
                stop=stop,
                held=_held(row.request, entry, trades.get(row.pk), exits.get(row.pk, [])),
                flaw=stop.flaw(guarded_at=guard.at if guard else None, now=now),
            )
    return found


def means_of_protection(quantity: Decimal, exits: Iterable[Order], standing: Iterable[Standing]) -> ProtectedBy:
    """Return what protects a position of this size: stops at the exchange alone, or with software stops.

    `exits`: its live exits. `standing`: the software stops of its side.
    """
    by_request: dict[UUID, list[Order]] = {}
    for order in exits:
        by_request.setdefault(order.request_id, []).append(order)
    at_venue = sum((stop_cover(orders) for orders in by_request.values()), ZERO)
    if at_venue >= quantity:
        return ProtectedBy.VENUE
    ours = sum((by_software(each, by_request.get(each.request_id, [])) for each in standing), ZERO)
    return ProtectedBy.SOFTWARE if at_venue + ours >= quantity else ProtectedBy.NONE


def by_software(standing: Standing, exits: Sequence[Order]) -> Decimal:
    """Return how much of a request's position its software stop protects.

    It protects what no stop at the exchange does.
    """
    return ZERO if standing.flaw else max(ZERO, standing.held - stop_cover(exits))


def of_side(standing: Mapping[UUID, Standing], side: Side) -> list[Standing]:
    return [each for each in standing.values() if each.side == side]


def _held(request: ExecutionRequest, entry: Order, trade: Trade | None, exits: Sequence[Order]) -> Decimal:
    filled, growing = max(entry.executed_quantity, trade.quantity if trade else ZERO), entry.state not in ORDER_FINAL
    exited = trade.exited_quantity if trade else ZERO
    return exposure_of(request, exits, filled=filled, exited=exited, growing=growing).open
