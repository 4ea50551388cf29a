"""Finds the exits of open positions that the exchange refuses, or leaves without an answer.

They are closes, stops, targets and cancels, found in the order rows and therefore without upkeep: a refusal is reported
until an order of the same kind is taken or the position ends.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from django.db.models import Max, Q

from execution.domain.backoff import (
    FIRST_PAUSE,
    LONGEST_PAUSE_COVERED,
    LONGEST_PAUSE_OPEN,
    NEVER_TAKEN,
    pause_after,
    refusals_of,
)
from execution.domain.closing import pause_in_doubt
from execution.domain.states import ORDER_FINAL, ORDER_LIVE, TRADE_OPEN, OrderState
from execution.domain.trading import OrderPurpose
from execution.models import Order
from execution.orders.cancel import ALARMING_TRIES

CANCEL = "CANCEL"
BESIDE_THE_STOP = frozenset({OrderPurpose.TARGET, OrderPurpose.TRAILING})
# The shortest list that shows what kind of thing goes wrong; the count says how many there are.
MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class RefusedExit:
    """One order of a position that is not taken, or one cancel without effect.

    `next_at`: it is not tried before then. `answered`: whether the exchange has refused it, else the outcome of the
    last tries is unknown.
    """

    symbol: str
    position_side: str
    request_id: UUID
    what: str
    code: int | None
    tries: int
    since: datetime
    next_at: datetime
    answered: bool = True


def refused_exits() -> tuple[RefusedExit, ...]:
    """Return what is refused now, closes first, then by age.

    It takes three statements, which read rows of positions with a refusal only.
    """
    found = [*_refused(), *_unanswered(), *_cancels()]
    return tuple(sorted(found, key=lambda each: (each.what != OrderPurpose.CLOSE, each.since)))


def _refused() -> Iterable[RefusedExit]:
    """Return, by position and leg, the tries that end with a refusal.

    What closes the whole position has no leg.
    """
    exits = Order.objects.filter(_of_open_positions()).exclude(purpose=OrderPurpose.ENTRY)
    newest = exits.values("request_id", "purpose", "leg_id").annotate(newest=Max("id")).values("newest")
    refused = Order.objects.filter(pk__in=newest, state__in=sorted(NEVER_TAKEN)).values_list("request_id", flat=True)
    rows = Order.objects.filter(request_id__in=list(refused)).exclude(purpose=OrderPurpose.ENTRY)
    tries = sorted(rows.order_by("id"), key=_kind)
    for _, group in groupby(tries, key=_kind):
        orders = list(group)
        # Beside a target or a trailing stop the stop covers, beside a stop perhaps the one that it was to replace.
        covered = orders[0].purpose in BESIDE_THE_STOP or any(order.state in ORDER_LIVE for order in orders)
        together = FIRST_PAUSE if orders[0].purpose == OrderPurpose.CLOSE else timedelta(0)
        longest = LONGEST_PAUSE_COVERED if covered else LONGEST_PAUSE_OPEN
        refusals = refusals_of(orders, longest, together=together)
        if refusals:
            yield RefusedExit(
                symbol=orders[-1].symbol,
                position_side=orders[-1].position_side,
                request_id=orders[-1].request_id,
                what=orders[-1].purpose,
                code=refusals.code,
                tries=refusals.tries,
                since=refusals.since,
                next_at=refusals.next_at,
            )


def _unanswered() -> Iterable[RefusedExit]:
    """Return the closes of open positions whose outcome is unknown. One just sent is not reported."""
    closes = Order.objects.filter(_of_open_positions(), purpose=OrderPurpose.CLOSE, state=OrderState.UNKNOWN)
    for _, group in groupby(closes.order_by("request_id", "id"), key=lambda order: order.request_id):
        orders = list(group)
        last = orders[-1]
        yield RefusedExit(
            symbol=last.symbol,
            position_side=last.position_side,
            request_id=last.request_id,
            what=OrderPurpose.CLOSE,
            code=None,
            tries=len(orders),
            since=orders[0].sent_at,
            next_at=last.sent_at + pause_in_doubt(len(orders)),
            answered=False,
        )


def _kind(order: Order) -> tuple[str, str, int]:
    return str(order.request_id), order.purpose, order.leg_id or 0


def _cancels() -> Iterable[RefusedExit]:
    rows = Order.objects.exclude(state__in=sorted(ORDER_FINAL)).filter(cancel_tries__gte=ALARMING_TRIES)
    for order in rows.order_by("cancel_tried_at")[:MOST_NAMED]:
        at = order.cancel_tried_at or order.created_at
        yield RefusedExit(
            symbol=order.symbol,
            position_side=order.position_side,
            request_id=order.request_id,
            what=CANCEL,
            code=None,
            tries=order.cancel_tries,
            since=at,
            next_at=at + pause_after(order.cancel_tries, LONGEST_PAUSE_OPEN),
        )


def _of_open_positions() -> Q:
    """Match the orders of requests that have a position, or may have one."""
    trade = Q(request__trade__state__in=sorted(TRADE_OPEN))
    before_its_trade = Q(request__trade=None, request__slot__isnull=False)
    of_others = Q(request__external_position__isnull=False)
    return trade | before_its_trade | of_others
