"""Rounds a plan's legs anew when the exchange changes a symbol's ticks and steps.

It makes them coarser while positions are open.

Legs are rounded again to the present tick, and every comparison from then on asks for quantities on the present lot.
Orders that rest stay, as the exchange keeps them; only what is placed from now on has to fit.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import transaction

from execution.domain.brackets import break_even_at, round_stop, round_target
from execution.domain.money import ZERO, plain
from execution.domain.trading import Direction, InstrumentFilters, OrderPurpose
from execution.models import Bracket, BracketLeg
from execution.models.bracket import LegOrigin
from execution.protection.bracket_store import grid_of
from execution.protection.coverage import publish_levels
from execution.store.brackets import brackets_of_positions, lock_legs, set_leg_price, take_filters
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)


def follow_filters(bracket: Bracket, rules: InstrumentFilters | None, *, now: datetime) -> bool:
    """Take the present filters into a plan and round its legs anew.

    True when this call has changed them.

    The old numbers and the new ones are written to the journal.
    """
    new = grid_of(rules) if rules else {}
    old = {name: getattr(bracket, name) for name in new}
    if new == old:
        return False
    with transaction.atomic():
        # Another process that has seen the change has taken it in already.
        if not take_filters(bracket.pk, old, new, now=now):
            return False
        details = _changes(old, new) | {"legs": _rounded(bracket, new["tick_size"])}
        log.warning("plan_follows_filters", request_id=str(bracket.pk), **details)
        log_step("request", bracket.pk, to_state="REGRIDDED", trigger="filters_changed", now=now, details=details)
        if details["legs"]:
            publish_levels(bracket.pk, now=now)
    return True


def follow_all(rules: Mapping[str, InstrumentFilters], *, now: datetime) -> int:
    """Take the present filters into every plan of an open position, and return how many changed.

    It is one query when none has to change.
    """
    return sum(follow_filters(plan, rules.get(plan.request.symbol), now=now) for plan in brackets_of_positions())


def _changes(old: Mapping[str, Decimal | None], new: Mapping[str, Decimal]) -> dict[str, list[str | None]]:
    before = {name: None if value is None else plain(value) for name, value in old.items()}
    return {name: [before[name], plain(value)] for name, value in new.items() if value != old[name]}


def _rounded(bracket: Bracket, tick: Decimal) -> list[list[str]]:
    """Round the legs' prices to a tick and return those that moved.

    Each is purpose and number, old price, new price.
    """
    moved = []
    for leg in lock_legs(bracket.pk):
        price = _on_tick(bracket, leg, tick)
        if leg.price is None or price == leg.price:
            continue
        set_leg_price(leg.pk, price)
        moved.append([f"{leg.purpose} {leg.number}", plain(leg.price), plain(price)])
    return moved


def _on_tick(bracket: Bracket, leg: BracketLeg, tick: Decimal) -> Decimal:
    """Round stops away from the entry and targets towards it.

    A break-even stop is rounded so that it goes on losing nothing.
    """
    direction, price = Direction(bracket.request.direction), leg.price or ZERO
    if leg.purpose != OrderPurpose.STOP:
        return round_target(direction, price, tick)
    if leg.origin == LegOrigin.BREAK_EVEN:
        return break_even_at(direction, price, ZERO, tick)
    return round_stop(direction, price, tick)
