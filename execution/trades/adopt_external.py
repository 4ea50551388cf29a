"""Turns an external position into a trade that is watched, protected, closed and booked like others.

Its books begin with the position as the exchange shows it: its size, its entry price, and the moment of its last
change. What was earned, paid or closed before that is not in the trade's books.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import transaction

from execution.domain.external import direction_of
from execution.domain.money import ZERO, plain
from execution.domain.outcomes import PositionReport
from execution.domain.quote_index import in_usd
from execution.domain.states import TradeState
from execution.domain.trading import PositionSide
from execution.models import ExecutionRequest, ExternalPosition, Trade
from execution.outbox import payloads
from execution.store.atomic_write import Write
from execution.store.orders import lock_entry, set_filled_entry
from execution.store.slots import has_slot, take_slot
from execution.store.transitions import log_line

log = structlog.get_logger(__name__)
# The exchange counts in milliseconds: what happened in the last change is in the position, what comes after is not.
NEXT = timedelta(milliseconds=1)


def adopt(request: ExecutionRequest, row: PositionReport, *, now: datetime) -> bool:
    """Open the trade of an external position that has been taken.

    False when another process has opened it, or when it is another position now.

    `row` is the position as read after it was taken: from then on no entry of this service can add to it.
    """
    with transaction.atomic():
        external = ExternalPosition.objects.select_for_update().filter(request=request).first()
        if external is None or external.direction != direction_of(row):
            return False
        # One that was taken beside one of our trades had to wait for the symbol.
        claimed = has_slot(request.pk)
        if not (claimed or take_slot(request, PositionSide(row.position_side), now=now)):
            return False
        entry = lock_entry(request)
        size = abs(row.quantity)
        set_filled_entry(entry.pk, size)
        trade = _trade(request, row, now)
        details = {"origin": request.source, "quantity": plain(size), "entry_price": plain(row.entry_price)}
        line = log_line("trade", trade.pk, to_state=trade.state, trigger="external_position", now=now, details=details)
        event = (payloads.TRADE_OPENED, payloads.trade_opened(trade, request, entry, now))
        Write().insert(trade).insert(line).emit(trade.pk, [event], trace_id=request.trace_id, now=now).run()
        external.delete()
    log.warning("external_position_adopted", symbol=row.symbol, side=row.position_side, trade_id=str(trade.pk))
    return True


def _trade(request: ExecutionRequest, row: PositionReport, now: datetime) -> Trade:
    margin = row.initial_margin or row.entry_price * abs(row.quantity) / Decimal(request.leverage)
    return Trade(
        id=request.pk,
        request=request,
        symbol=row.symbol,
        quote_asset=request.quote_asset,
        quote_index=request.quote_index,
        direction=request.direction,
        position_side=row.position_side,
        state=TradeState.OPEN,
        quantity=abs(row.quantity),
        leverage=request.leverage,
        entry_price=row.entry_price,
        entry_at=row.updated_at + NEXT if row.updated_at else now,
        reference_price=row.entry_price,
        slippage_fraction=ZERO,
        stop_price=request.stop_price,
        target_price=request.target_price,
        margin=margin,
        margin_usd=in_usd(margin, request.quote_index),
        entry_fees=ZERO,
        lowest_price=row.mark_price,
        highest_price=row.mark_price,
        created_at=now,
        updated_at=now,
    )
