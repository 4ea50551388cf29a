"""What must hold of a sequence after it has settled, and at its end; read from the venue's ledger and from the rows."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from execution.domain.money import floor_to
from execution.domain.reasons import Reason
from execution.domain.states import ORDER_FINAL, REQUEST_FINAL, RequestState, TradeState
from execution.models import EntryClaim, ExecutionRequest, Order, Trade
from tests.sequences.story import OPEN, Story
from tests.support.ledger import Ledger

ZERO = Decimal(0)
# `execution.max_sl_distance_pct` is 0.10 of the reference price, from which the entry and a coarse tick may differ.
FARTHEST_STOP = Decimal("0.12")
# A refusal names its rule and shows numbers: `STOP_TOO_FAR: expected<=0.1 actual=0.2`.
EXPLAINED = re.compile(r"^(?P<code>[A-Z_]+): .*[=<>:].*\d|^(?P<bare>[A-Z_]+): \S+=\S+")


def unprotected(story: Story, ledger: Ledger) -> str:
    """Return how much of a position no live stop covers, in words; empty when every tradable part is covered.

    Less than a step of the venue's present filters can be held by no order.
    """
    for position_side, amount in story.held(ledger).items():
        live = ledger.live("STOP_MARKET", story.symbol)
        stops = [row for row in live if _stops(row, story.entry_price(ledger, position_side), position_side, amount)]
        covered = sum((Decimal(row["quantity"]) for row in stops), ZERO)
        needed = floor_to(abs(amount), story.contract.step)
        if covered < needed:
            return f"position {position_side} {amount}, covered {covered} of {needed}"
    return ""


def _stops(row: Mapping[str, Any], entry: Decimal, position_side: str, amount: Decimal) -> bool:
    """Whether an order closes this position, at a price that a policy without changes allows for its stop."""
    side = "SELL" if amount > 0 else "BUY"
    near = abs(Decimal(row["triggerPrice"]) / entry - 1) <= FARTHEST_STOP
    return near and (row["side"], row["positionSide"]) == (side, position_side)


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
    if EntryClaim.objects.filter(symbol=story.symbol).exists():
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
