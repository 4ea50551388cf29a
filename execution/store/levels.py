"""Where a plan's stop and its nearest target lie now, for pages, events and the trades in Redis.

The columns of a trade keep where they lay first: the risk that its result is measured by.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db.models import Exists, OuterRef

from execution.domain.trading import OrderPurpose
from execution.models import Bracket, BracketLeg


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Trigger prices in the quote asset. None where the plan has none."""

    stop: Decimal | None = None
    target: Decimal | None = None


NO_LEVELS = Levels()


def levels_of(requests: Collection[UUID]) -> dict[UUID, Levels]:
    """Return the levels of these plans by request, in one query.

    A request without a plan is not in it.
    """
    legs = BracketLeg.objects.filter(bracket_id__in=requests).exclude(purpose=OrderPurpose.TRAILING)
    plans: dict[UUID, list[BracketLeg]] = {}
    for leg in legs:
        plans.setdefault(leg.bracket_id, []).append(leg)
    return {request_id: levels_in(plan) for request_id, plan in plans.items()}


def without_stop(requests: Collection[UUID]) -> frozenset[UUID]:
    """Return those of these plans that have no stop, which `execution.allow_no_stop` permits: one query."""
    stops = BracketLeg.objects.filter(bracket_id=OuterRef("pk"), purpose=OrderPurpose.STOP)
    return frozenset(Bracket.objects.filter(~Exists(stops), pk__in=requests).values_list("pk", flat=True))


def levels_in(legs: Iterable[BracketLeg]) -> Levels:
    """Return the levels of one plan's legs. Targets are numbered from the nearest."""
    prices = {(leg.purpose, leg.number): leg.price for leg in legs}
    return Levels(stop=prices.get((OrderPurpose.STOP, 1)), target=prices.get((OrderPurpose.TARGET, 1)))
