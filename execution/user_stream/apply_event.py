"""Applies one event of the user-data stream to our orders, and dispatches what follows.

Nothing here waits for the exchange. Between stream, chain and reconciliation the conditional update decides who was
first. Events that come late, twice or in the wrong order change nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

import structlog

from execution.domain.client_ids import closed_by, is_ours
from execution.domain.outcomes import OrderReport
from execution.domain.states import ORDER_FINAL, OrderState, RequestState
from execution.domain.stream import (
    AccountNews,
    AlgoNews,
    HandOn,
    Ignored,
    KeyExpired,
    MarginCall,
    OrderNews,
    SettingNews,
    StreamNews,
    Unread,
)
from execution.domain.trading import Direction, OrderPurpose, OrderType
from execution.models import Order
from execution.orders.apply_report import apply_report
from execution.store.heartbeats import FUNDING_REPORTED, beat
from execution.store.reconciliation import find_order_named, is_trade_open, is_trade_over
from execution.store.transitions import log_step
from execution.store.user_stream import (
    executed_quantities,
    is_request_in,
    live_orders_beside,
    open_trades_in,
    open_trades_on,
    open_trades_with_other_leverage,
    order_made_by_trigger,
)
from execution.trades.streamed_fills import STREAM, note_fill
from execution.user_stream.dispatch import DispatchedWork, Dispatcher
from execution.user_stream.position_check import PositionCheck
from execution.user_stream.resync import Resync
from execution.user_stream.sender_watch import SenderWatch
from execution.user_stream.silence_detector import SilenceDetector, fill_fact, order_fact

log = structlog.get_logger(__name__)
FUNDING_FEE = "FUNDING_FEE"
# A request whose entry may still fill, or has filled and is not covered yet.
WANTS_COVER = frozenset({RequestState.ACCEPTED, RequestState.FILLED})


@dataclass(kw_only=True)
class EventHandlers:
    """Applies events by kind, and passes them on to the parts of a session that follow them."""

    dispatcher: Dispatcher
    resync: Resync
    silence_detector: SilenceDetector
    position_check: PositionCheck
    sender_watch: SenderWatch = field(init=False)

    def __post_init__(self) -> None:
        self.sender_watch = SenderWatch(clock=self.position_check.clock, settle=self._settle_order)

    def apply_order(self, news: OrderNews, now: datetime) -> None:
        self.silence_detector.hear(order_fact(news.client_order_id))
        if news.fill_id:
            self.silence_detector.hear(fill_fact(news.symbol, news.fill_id))
        order = _find_our_order(news)
        if order is not None and news.fill is not None:
            # Before the order shows it: a process that finds the order filled finds its fill too.
            note_fill(order, news.fill, now=now)
        if order is not None and news.report is not None:
            if not self.sender_watch.leaves(order, news.report, now):
                self._settle_order(order, news.report, now)
        elif is_ours(news.client_order_id):
            log.error("stream_order_unknown", client_order_id=news.client_order_id)
        elif news.fill_id:
            self._apply_foreign_fill(news)

    def apply_algo_order(self, news: AlgoNews, now: datetime) -> None:
        order = find_order_named(news.report.client_order_id)
        if order is None:
            log.error("stream_order_unknown", client_order_id=news.report.client_order_id)
            return
        if news.reason:
            log.warning("leg_refused_at_trigger", client_order_id=order.client_order_id, reason=news.reason)
        if not self.sender_watch.leaves(order, news.report, now):
            before = OrderState(order.state)
            if not _is_old(order, news.report):
                apply_report(order, news.report, now=now, source=STREAM)
            self._dispatch_next(order, before)

    def _settle_order(self, order: Order, report: OrderReport, now: datetime) -> None:
        before = OrderState(order.state)
        apply_report(order, report, now=now, source=STREAM)
        if not _fills_follow(order, report):
            self._dispatch_next(order, before)

    def apply_account(self, news: AccountNews, now: datetime) -> None:
        """Check positions against the books a moment later, and note that funding was paid.

        A change without a trade is left to reconciliation.
        """
        if news.reason == FUNDING_FEE:
            beat(FUNDING_REPORTED, now=now, details={})
        if news.reason in {"ORDER", FUNDING_FEE}:
            for held in news.held:
                self.position_check.expect(held)
        elif news.held:
            log.warning("account_changed", reason=news.reason, symbols=[held.symbol for held in news.held])
            self.resync.ask()

    def apply_setting(self, news: SettingNews, now: datetime) -> None:
        """Report a setting that changed under an open trade. Our own changes come before a trade opens."""
        if not news.symbol:
            log.warning("multi_assets_mode_changed")
            self.resync.ask()
            return
        for trade in open_trades_with_other_leverage(news.symbol, news.leverage):
            log.warning("leverage_changed_outside", symbol=news.symbol, was=trade.leverage, is_now=news.leverage)
            details = {"expected": trade.leverage, "actual": news.leverage}
            log_step("trade", trade.pk, to_state=trade.state, trigger="leverage_changed", now=now, details=details)
            self.resync.ask()

    def apply_margin_call(self, symbols: tuple[str, ...], now: datetime) -> None:
        log.error("margin_call", symbols=list(symbols))
        for trade in open_trades_in(*symbols):
            log_step("trade", trade.pk, to_state=trade.state, trigger="margin_call", now=now)
        self.resync.ask()

    def _apply_foreign_fill(self, news: OrderNews) -> None:
        """Book what an order of another client, or of the exchange, has closed of our trade."""
        for trade in list(open_trades_on(news.symbol, news.position_side)):
            exits_by_buying = Direction(trade.direction) is Direction.SHORT
            if news.buyer is exits_by_buying:
                log.warning("closed_by_others", symbol=news.symbol, reason=closed_by(news.client_order_id))
                self.dispatcher.ask(DispatchedWork.BOOK_EXITS, trade.pk)

    def _dispatch_next(self, order: Order, before: OrderState) -> None:
        """Dispatch what an event makes due: cover and booking of an entry, booking of an exit, a new leg."""
        purpose = OrderPurpose(order.purpose)
        if purpose is OrderPurpose.ENTRY:
            to_cover = order.executed_quantity > 0 and not _sender_goes_on(order, before)
            if to_cover and is_request_in(order.request_id, WANTS_COVER):
                self.dispatcher.ask(DispatchedWork.COVER_AND_RECORD, order.request_id)
        elif order.executed_quantity > 0:
            # Also before the trade is recorded: the task waits for that a little.
            if not is_trade_over(order.request_id):
                self.dispatcher.ask(DispatchedWork.BOOK_EXITS, order.request_id)
        elif purpose is not OrderPurpose.CLOSE and before not in ORDER_FINAL and _has_ended(order):
            report = log.info if _is_routine(order) else log.warning
            report("leg_ended_without_fill", client_order_id=order.client_order_id, state=order.state)
            self.dispatcher.ask(DispatchedWork.COVER, order.request_id)


def apply(news: StreamNews, handlers: EventHandlers, *, now: datetime) -> None:
    """Apply one event.

    Raises:
        ImpossibleTransitionError: the exchange reports a change of an order that its life cycle does not allow.

    """
    match news:
        case OrderNews():
            handlers.apply_order(news, now)
        case AlgoNews(report=report):
            handlers.silence_detector.hear(order_fact(report.client_order_id))
            if is_ours(report.client_order_id):
                handlers.apply_algo_order(news, now)
        case AccountNews():
            handlers.apply_account(news, now)
        case SettingNews():
            handlers.apply_setting(news, now)
        case MarginCall(symbols=symbols):
            handlers.apply_margin_call(symbols, now)
        case HandOn(kind=kind):
            log.warning("stream_hands_on", kind=kind)
            handlers.resync.ask()
        case KeyExpired() | Ignored() | Unread():
            # The session handles the first, and the others change nothing.
            return
        case _:
            assert_never(news)


def _fills_follow(order: Order, report: OrderReport) -> bool:
    """Whether the event reports a new exit of which the answer has shown fills already.

    The next events report those fills.
    """
    return bool(order.purpose != OrderPurpose.ENTRY and report.executed_quantity == 0 < order.executed_quantity)


def _find_our_order(news: OrderNews) -> Order | None:
    """Find our order by its client id, or by the conditional order that has made it."""
    if is_ours(news.client_order_id):
        return find_order_named(news.client_order_id)
    return order_made_by_trigger(news.symbol, news.algo_id) if news.algo_id else None


def _is_old(order: Order, report: OrderReport) -> bool:
    """Whether the fills of a triggered order, which come first, have shown all of this already."""
    over, linked = order.state in ORDER_FINAL, bool(order.exchange_order_id) or not report.order_id
    return over and linked and report.executed_quantity <= order.executed_quantity


def _sender_goes_on(order: Order, before: OrderState) -> bool:
    """Whether the step that sent a MARKET entry is about to read its answer and to cover the position.

    If it has died, reconciliation resumes the request.
    """
    return order.order_type == OrderType.MARKET and before in {OrderState.SUBMITTING, OrderState.FILLED}


def _is_routine(leg: Order) -> bool:
    """Whether a leg was cancelled as legs are replaced or cleared away.

    A stop without a successor is no routine.
    """
    if leg.state != OrderState.CANCELED:
        return False
    if leg.purpose != OrderPurpose.STOP or live_orders_beside(leg).exists():
        return True
    entered, exited = executed_quantities(leg.request_id)
    return (exited or 0) >= (entered or 0)


def _has_ended(leg: Order) -> bool:
    """Whether a leg ended while its trade goes on: not so for a stop whose successor lives already."""
    if leg.state not in ORDER_FINAL:
        return False
    if leg.purpose == OrderPurpose.STOP and live_orders_beside(leg).filter(quantity__gte=leg.quantity).exists():
        return False
    return is_trade_open(leg.request_id)
