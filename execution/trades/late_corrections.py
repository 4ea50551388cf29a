"""Checks the books of a trade a while after its end, because fills and income may be shown late.

Figures that change are sent in another `trade.closed`, with `correction` and a higher sequence.
"""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction

from execution.domain.clocks import Clock
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.domain.states import TRADE_OPEN, TradeState
from execution.domain.trading import OrderPurpose
from execution.models import Trade
from execution.outbox import payloads
from execution.protection.bracket_manager import ProtectionRules
from execution.store.atomic_write import emit
from execution.store.trades import load_trade, load_trade_with_request, lock_request_of_trade
from execution.store.transitions import log_step
from execution.trades.account_income import ABOUT_NOW
from execution.trades.book_entry import book_entry
from execution.trades.closing_figures import FORCED, ValuedIncome, books_of, read_income, revalue
from execution.trades.settle_exits import settle_exits

log = structlog.get_logger(__name__)
# Funding and the insurance fund's share are booked seconds after the fill.
LOOKED_OVER_AFTER = timedelta(minutes=1)
# What a late line of income may change, and what is a quotient of it: the database rounds quotients.
AMOUNTS = ("entry_fees", "exit_fees", "funding", "other_income", "gross_pnl", "net_pnl", "unvalued_income")
FIGURES = (*AMOUNTS, "net_pnl_usd", "quote_index", "unvalued_fees", "assumed_cost", "pnl_percent", "r_multiple")


def correct_books(trade_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Book what the exchange shows only now of a closed trade, True when something has changed.

    A late fill of the entry opens the trade again: what of it is still at the exchange is covered, what is out is
    booked, and the trade is closed anew.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next cycle tries again.

    """
    book_entry(trade_id, exchange=exchange, clock=clock)
    trade = load_trade_with_request(trade_id)
    if trade.state in TRADE_OPEN:
        settle_exits(trade_id, exchange=exchange, rules=rules, clock=clock)
        return True
    if trade.state != TradeState.CLOSED:
        return False
    revalue(trade, exchange)
    income = read_income(
        trade,
        exchange,
        forced=CloseReason(trade.close_reason) in FORCED,
        learned_at=clock() - ABOUT_NOW,
        clock=clock,
    )
    return _correct(trade, income, clock())


def _correct(seen: Trade, income: list[ValuedIncome], now: datetime) -> bool:
    with transaction.atomic():
        request = lock_request_of_trade(seen.pk)
        trade = load_trade(seen.pk)
        if trade.state != TradeState.CLOSED:
            return False
        old = {name: getattr(trade, name) for name in AMOUNTS}
        new = books_of(trade, income)
        changed = {name for name in AMOUNTS if new[name] != old[name]}
        trade.checked_at = now
        if not changed:
            trade.save(update_fields=["checked_at"])
            return False
        for name in FIGURES:
            setattr(trade, name, new[name])
        trade.corrections += 1
        trade.save(update_fields=[*FIGURES, "corrections", "checked_at"])
        details = {name: [str(old[name]), str(new[name])] for name in sorted(changed)}
        log.warning("books_corrected", trade_id=str(trade.pk), **details)
        log_step("trade", trade.pk, to_state="CORRECTED", trigger="income_shown_late", now=now, details=details)
        entry = request.orders.get(purpose=OrderPurpose.ENTRY)
        body = payloads.trade_closed(trade, request, entry, now)
        emit(trade.pk, [(payloads.TRADE_CLOSED, body)], trace_id=request.trace_id, now=now)
    return True
