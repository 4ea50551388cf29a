"""What must hold of a sequence after it has settled, and at its end; read from the venue's ledger and from the rows."""

import re
from collections.abc import Iterator
from decimal import Decimal

from django.db import connection

from execution.domain.money import floor_to
from execution.domain.reasons import Reason
from execution.domain.states import ORDER_FINAL, REQUEST_FINAL, RequestState, TradeState
from execution.models import ExecutionRequest, Order, PositionSlot, Trade
from tests.sequences.story import OPEN, Story
from tests.support.ledger import Ledger
from tests.support.stop_plans import booked_stops
from tests.support.stops import STOP, StopPlan, closes, mismatch

ZERO = Decimal(0)
# A refusal names its rule and shows numbers: `STOP_TOO_FAR: expected<=0.1 actual=0.2`.
EXPLAINED = re.compile(r"^(?P<code>[A-Z_]+): .*[=<>:].*\d|^(?P<bare>[A-Z_]+): \S+=\S+")


def unprotected(story: Story, ledger: Ledger) -> str:
    """Return how much of a position no live stop covers, in words; empty when every tradable part is covered.

    Less than a step of the venue's present filters can be held by no order.
    """
    plans = _plans(story.symbol)
    for position_side, amount in story.held(ledger).items():
        plan = plans.get((position_side, amount > 0))
        live = ledger.live(STOP, story.symbol)
        wrong = {
            row["clientAlgoId"]: mismatch(row, amount=amount, position_side=position_side, plan=plan) for row in live
        }
        covered = sum((closes(row) for row in live if not wrong[row["clientAlgoId"]]), ZERO)
        needed = floor_to(abs(amount), story.contract.step)
        if covered < needed:
            return f"position {position_side} {amount}, covered {covered} of {needed}; {wrong}"
    return ""


def _plans(symbol: str) -> dict[tuple[str, bool], StopPlan]:
    """Return where the stops of our open trades belong, by position side and whether they are long.

    A stop may rest where it was before its level moved: the better one replaces it once the venue takes it.
    """
    with connection.cursor() as cursor:
        booked = [stop for stop in booked_stops(cursor) if stop.is_open and stop.symbol == symbol]
    return {(stop.position_side, stop.sign > 0): stop.plan(past=True) for stop in booked}


def leftovers(story: Story, ledger: Ledger) -> str:
    """Return the conditional orders that wait beside a flat position, in words."""
    held = story.held(ledger)
    waiting = [row for row in ledger.live(symbol=story.symbol) if row["positionSide"] not in held]
    return f"{len(waiting)} conditional orders beside a flat position" if waiting else ""


def not_over(story: Story, ledger: Ledger) -> str:
    """Return what keeps an ended sequence from being over, in words."""
    return next(_not_over(story, ledger), "")


def _not_over(story: Story, ledger: Ledger) -> Iterator[str]:
    for position_side, amount in story.held(ledger).items():
        yield f"position {position_side} {amount} at the end"
    resting = [row for row in ledger.orders if row["symbol"] == story.symbol and row["status"] in OPEN]
    if resting or ledger.live(symbol=story.symbol):
        yield "orders rest at the end"
    for trade in Trade.objects.filter(symbol=story.symbol):
        if trade.state != TradeState.CLOSED:
            yield f"trade {trade.pk} stuck in {trade.state}, open {trade.quantity - trade.exited_quantity}"
        elif trade.net_pnl is None:
            yield f"trade {trade.pk} closed without its net"
    for request in ExecutionRequest.objects.filter(pk__in=story.asked).exclude(state__in=REQUEST_FINAL):
        yield f"request {request.pk} stuck in {request.state}"
    for order in Order.objects.filter(symbol=story.symbol).exclude(state__in=ORDER_FINAL):
        yield f"order {order.client_order_id} stuck in {order.state}"
    if PositionSlot.objects.filter(symbol=story.symbol).exists():
        yield "symbol locked by a claim"


def unexplained(story: Story) -> str:
    """Return the first refusal that does not name a rule of ours with its numbers, in words."""
    refused = ExecutionRequest.objects.filter(pk__in=story.asked).exclude(state=RequestState.RECORDED)
    for request in refused:
        found = EXPLAINED.match(request.reason)
        code = found and (found["code"] or found["bare"])
        if code != request.reason_code or code not in set(Reason):
            return f"request {request.pk} {request.state}: {request.reason_code}: {request.reason!r}"
    return ""
