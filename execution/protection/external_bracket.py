"""Writes the request, bracket and entry rows that protect or adopt an external position.

It is taken as a decision that was carried out elsewhere: request, bracket, and an entry order that was never sent. The
claim on symbol and side keeps it apart from our own entries, the lock on its row from another process that takes it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import transaction

from execution.domain import policy as keys
from execution.domain.client_ids import client_order_id
from execution.domain.exits import ExitPlan, PlannedTarget
from execution.domain.external import direction_of, exits_for
from execution.domain.money import ONE, ZERO, plain
from execution.domain.outcomes import PositionReport
from execution.domain.policy import Policy
from execution.domain.quote_index import QuoteIndex
from execution.domain.states import OrderState, RequestState
from execution.domain.trading import InstrumentFilters, OrderPurpose, OrderService, OrderType, PositionSide, Source
from execution.models import ExecutionRequest, ExternalPosition, InboxEvent, Order, Trade
from execution.models.inbox import InboxOutcome
from execution.protection.bracket_store import write_bracket
from execution.store.orders import has_entry_sent_since
from execution.store.slots import take_slot
from execution.store.trades import find_open_trade_on, has_trade_changed_since
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
# An entry or trade of this service that was alive a moment ago may explain what the exchange shows.
OURS_LATELY = timedelta(minutes=1)
MOST_LEVERAGE = 125


@dataclass(frozen=True, kw_only=True)
class BracketTerms:
    """The terms for an external position: the policy in force, its filters, whether it gets a target."""

    policy: Policy
    rules: InstrumentFilters
    # What the quote asset is worth; None when no index prices it: the position is protected all the same.
    index: QuoteIndex | None
    target: bool = True


def take(external_id: int, row: PositionReport, terms: BracketTerms, *, now: datetime) -> ExecutionRequest | None:
    """Write the rows that protect an external position, None when it is taken or may be ours."""
    with transaction.atomic():
        external = ExternalPosition.objects.select_for_update().filter(pk=external_id, request=None).first()
        if external is None or external.direction != direction_of(row) or _may_be_ours(row, now):
            return None
        request = _request(external, row, terms, now)
        claimed = take_slot(request, PositionSide(row.position_side), now=now)
        if not claimed and trade_beside(external) is None:
            # An entry of this service has the symbol: the position is its own, or will be beside it.
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
    """Return our trade to which another client has added this quantity, if there is one."""
    return find_open_trade_on(external.symbol, external.position_side, external.direction)


def _may_be_ours(row: PositionReport, now: datetime) -> bool:
    """Return whether an entry or trade of this service moved in the symbol a moment ago.

    The next cycles show whose position it is.
    """
    since = now - OURS_LATELY
    return has_entry_sent_since(row.symbol, since) or has_trade_changed_since(row.symbol, since)


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
        targets=(PlannedTarget(price=target, share=ONE),) if target else (),
        target_defaulted=True,
        callback_percent=None,
        activation_price=None,
        break_even=bool(policy[keys.BREAK_EVEN]),
        break_even_buffer=policy[keys.BREAK_EVEN_BUFFER],
        # It is not known since when it has been open.
        time_exit_seconds=None,
    )


def _stand_in_entry(request: ExecutionRequest, row: PositionReport, now: datetime) -> None:
    """Write the entry as filled by an order that this service has neither sent nor seen."""
    Order(
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
    ).save(force_insert=True)


def _leverage(row: PositionReport) -> int:
    """Return the leverage as notional and margin show it.

    The position's own row does not name it.
    """
    margin: Decimal = row.initial_margin
    times = round(abs(row.notional) / margin) if margin > ZERO else 1
    return min(MOST_LEVERAGE, max(1, times))
