"""Writes the rows by which a position that somebody else opened is protected, and those that make it a trade of ours.

It is taken as a decision that was carried out elsewhere: request, bracket, and an entry order that was never sent. The
claim on symbol and side keeps it apart from our own entries, the lock on its row from another process that takes it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import transaction
from django.db.models import Q

from execution.domain import policy as keys
from execution.domain.client_ids import client_order_id
from execution.domain.exits import ExitPlan
from execution.domain.external import direction_of, exits_for
from execution.domain.money import ONE, ZERO, plain
from execution.domain.outcomes import PositionReport
from execution.domain.policy import Policy
from execution.domain.quote_index import QuoteIndex
from execution.domain.risk_review import AskedTarget
from execution.domain.states import TRADE_OPEN, OrderState, RequestState
from execution.domain.trading import InstrumentFilters, OrderPurpose, OrderService, OrderType, PositionSide, Source
from execution.models import ExecutionRequest, ExternalPosition, InboxEvent, Order, Trade
from execution.models.inbox import InboxOutcome
from execution.protection.bracket_store import write_bracket
from execution.store.slots import take_slot
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
# An entry or a trade of ours that was alive a moment ago may explain what the exchange shows.
OURS_LATELY = timedelta(minutes=1)
MOST_LEVERAGE = 125


@dataclass(frozen=True, kw_only=True)
class BracketTerms:
    """What a position is taken on: the policy in force, the symbol's grid, whether it gets a target of ours."""

    policy: Policy
    rules: InstrumentFilters
    # What the quote asset is worth; None when no index prices it: the position is protected all the same.
    index: QuoteIndex | None
    target: bool = True


def take(external_id: int, row: PositionReport, terms: BracketTerms, *, now: datetime) -> ExecutionRequest | None:
    """Write the rows of a position's protection; None when it is taken already, or when it may be ours."""
    with transaction.atomic():
        external = ExternalPosition.objects.select_for_update().filter(pk=external_id, request=None).first()
        if external is None or external.direction != direction_of(row) or _may_be_ours(row, now):
            return None
        request = _request(external, row, terms, now)
        claimed = take_slot(request, PositionSide(row.position_side), now=now)
        if not claimed and trade_beside(external) is None:
            # An entry of ours has the symbol: what is seen is its position, or will be beside it.
            transaction.set_rollback(True)
            return None
        write_bracket(request, _plan(request, terms), terms.rules)
        _stand_in_entry(request, row, now)
        external.request = request
        external.save(update_fields=["request"])
        details = {"quantity": plain(row.quantity), "entry_price": plain(row.entry_price)}
        log_step("request", request.pk, to_state=request.state, trigger="external_position", now=now, details=details)
    log.warning("external_position_taken", symbol=row.symbol, side=row.position_side, request_id=str(request.pk))
    return request


def trade_beside(external: ExternalPosition) -> Trade | None:
    """Return the trade of ours to which others have added this, if that is what it is."""
    same = {"symbol": external.symbol, "position_side": external.position_side, "direction": external.direction}
    return Trade.objects.filter(state__in=sorted(TRADE_OPEN), **same).first()


def _may_be_ours(row: PositionReport, now: datetime) -> bool:
    """Whether an entry or trade of ours in the symbol moved a moment ago: then the next cycles tell."""
    since = now - OURS_LATELY
    own = Q(request__source=Source.EXTERNAL)
    entries = Order.objects.filter(symbol=row.symbol, purpose=OrderPurpose.ENTRY, sent_at__gte=since).exclude(own)
    trades = Trade.objects.filter(symbol=row.symbol, updated_at__gte=since).exclude(own)
    return entries.exists() or trades.exists()


def _request(external: ExternalPosition, row: PositionReport, terms: BracketTerms, now: datetime) -> ExecutionRequest:
    exits = exits_for(row, terms.policy, terms.rules.tick_size)
    size = abs(row.quantity)
    facts = {"symbol": row.symbol, "position_side": row.position_side, "quantity": plain(row.quantity)}
    inbox = InboxEvent.objects.create(
        event_type=Source.EXTERNAL,
        identity=f"{row.symbol}:{row.position_side}:{external.since.isoformat()}",
        payload={**facts, "entry_price": plain(row.entry_price)},
        outcome=InboxOutcome.REQUESTED,
        received_at=now,
    )
    return ExecutionRequest.objects.create(
        inbox=inbox,
        source=Source.EXTERNAL,
        symbol=row.symbol,
        quote_asset=terms.rules.quote_asset,
        quote_index=terms.index.price if terms.index else None,
        direction=direction_of(row),
        order_type=OrderType.MARKET,
        base_quantity_asked=size,
        leverage=_leverage(row),
        model=Source.EXTERNAL,
        strategy=Source.EXTERNAL,
        reference_price=row.entry_price,
        quantity=size,
        stop_price=exits.stop_price,
        target_price=exits.target_price if terms.target else None,
        position_side=row.position_side,
        policy_version=terms.policy.version,
        state=RequestState.RECORDED,
        decided_at=now,
        received_at=now,
        expires_at=now,
        moved_at=now,
    )


def _plan(request: ExecutionRequest, terms: BracketTerms) -> ExitPlan:
    policy, target = terms.policy, request.target_price
    return ExitPlan(
        stop_price=request.stop_price,
        stop_defaulted=True,
        targets=(AskedTarget(price=target, share=ONE),) if target else (),
        target_defaulted=True,
        callback_percent=None,
        activation_price=None,
        break_even=bool(policy[keys.BREAK_EVEN]),
        break_even_buffer=policy[keys.BREAK_EVEN_BUFFER],
        # Since when it has been open, nobody knows.
        time_exit_seconds=None,
    )


def _stand_in_entry(request: ExecutionRequest, row: PositionReport, now: datetime) -> None:
    """Write the entry as what it is to us: filled, by an order that nobody here has sent or knows."""
    Order.objects.create(
        request=request,
        purpose=OrderPurpose.ENTRY,
        sequence=1,
        client_order_id=client_order_id(request.pk, OrderPurpose.ENTRY, 1),
        service=OrderService.STANDARD,
        symbol=row.symbol,
        side=direction_of(row).entry_side,
        position_side=row.position_side,
        order_type=OrderType.MARKET,
        quantity=abs(row.quantity),
        state=OrderState.FILLED,
        executed_quantity=abs(row.quantity),
        sent_at=now,
        recv_window_ms=0,
        last_evidence=f"EXTERNAL: position of {plain(row.quantity)} at {plain(row.entry_price)}",
        last_evidence_at=now,
        created_at=now,
    )


def _leverage(row: PositionReport) -> int:
    """Return the leverage as notional and margin show it; the position's own row does not name it."""
    margin: Decimal = row.initial_margin
    times = round(abs(row.notional) / margin) if margin > ZERO else 1
    return min(MOST_LEVERAGE, max(1, times))
