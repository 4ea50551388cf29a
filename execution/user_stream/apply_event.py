"""Turns one piece of news into evidence: settles our orders as polling does, and hands on what follows from it.

Nothing here waits for the exchange. Whoever was faster, chain or monitor, has won by the conditional update; news that
come late, twice or in the wrong order change nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

import structlog
from django.db.models import Q, Sum

from execution.domain.client_ids import closed_by, is_ours
from execution.domain.outcomes import ExchangeStatus, OrderReport
from execution.domain.states import ORDER_FINAL, ORDER_LIVE, TRADE_OPEN, TRADE_OVER, OrderState, RequestState
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
from execution.models import ExecutionRequest, Order, Trade
from execution.orders.apply_report import apply_report
from execution.store.transitions import log_step
from execution.trades.streamed_fills import STREAM, note_fill
from execution.user_stream.dispatch import DispatchedWork, Dispatcher
from execution.user_stream.position_check import PositionCheck
from execution.user_stream.resync import Resync
from execution.user_stream.silence_detector import SilenceDetector, fill_fact, order_fact

log = structlog.get_logger(__name__)
# A request whose entry may still fill, or has filled and is not covered yet.
WANTS_COVER = frozenset({RequestState.ACCEPTED, RequestState.FILLED})


@dataclass(kw_only=True)
class Desk:
    """What news are applied with."""

    hand_over: Dispatcher
    catch_up: Resync
    witness: SilenceDetector
    second_look: PositionCheck


def apply(news: StreamNews, desk: Desk, *, now: datetime) -> None:
    """Apply one piece of news.

    Raises:
        ImpossibleTransitionError: the exchange tells something about an order that its life cycle does not know.

    """
    match news:
        case OrderNews():
            _order(news, desk, now)
        case AlgoNews(report=report):
            desk.witness.hear(order_fact(report.client_order_id))
            if is_ours(report.client_order_id):
                _algo(news, desk, now)
        case AccountNews():
            _account(news, desk)
        case SettingNews():
            _setting(news, desk, now)
        case MarginCall(symbols=symbols):
            _margin_call(symbols, desk, now)
        case HandOn(kind=kind):
            log.warning("stream_hands_on", kind=kind)
            desk.catch_up.ask()
        case KeyExpired() | Ignored() | Unread():
            # The session's own concern, or nobody's.
            return
        case _:
            assert_never(news)


def _order(news: OrderNews, desk: Desk, now: datetime) -> None:
    desk.witness.hear(order_fact(news.client_order_id))
    if news.fill_id:
        desk.witness.hear(fill_fact(news.symbol, news.fill_id))
    order = _ours(news)
    if order is not None and news.fill is not None:
        # Before the order shows it: whoever finds the order filled finds its fill too.
        note_fill(order, news.fill, now=now)
    if order is not None and news.report is not None:
        if not _answer_follows(order, news.report):
            before = OrderState(order.state)
            apply_report(order, news.report, now=now, source=STREAM)
            if not _fills_follow(order, news.report):
                _follow(order, before, desk)
    elif is_ours(news.client_order_id):
        log.error("stream_order_unknown", client_order_id=news.client_order_id)
    elif news.fill_id:
        _foreign_fill(news, desk)


def _answer_follows(order: Order, report: OrderReport) -> bool:
    """Whether this is the birth of a MARKET order that its sender still waits for: its fills come in the same breath.

    Settling it twice would cost the sender a round trip on the way to its stop.
    """
    sending = order.state == OrderState.SUBMITTING and order.order_type == OrderType.MARKET
    return sending and report.status is ExchangeStatus.NEW


def _fills_follow(order: Order, report: OrderReport) -> bool:
    """Whether this is the birth of an exit of which the answer has told more: the fills to book are told next."""
    return bool(order.purpose != OrderPurpose.ENTRY and report.executed_quantity == 0 < order.executed_quantity)


def _ours(news: OrderNews) -> Order | None:
    """Find our order by its client id, or by the conditional order that has made it."""
    orders = Order.objects.select_related("request")
    if is_ours(news.client_order_id):
        return orders.filter(client_order_id=news.client_order_id).first()
    if not news.algo_id:
        return None
    ours = orders.filter(request__trade__symbol=news.symbol, request__trade__state__in=sorted(TRADE_OPEN))
    return ours.filter(algo_id=news.algo_id).first()


def _algo(news: AlgoNews, desk: Desk, now: datetime) -> None:
    order = Order.objects.select_related("request").filter(client_order_id=news.report.client_order_id).first()
    if order is None:
        log.error("stream_order_unknown", client_order_id=news.report.client_order_id)
        return
    if news.reason:
        log.warning("leg_refused_at_trigger", client_order_id=order.client_order_id, reason=news.reason)
    before = OrderState(order.state)
    if not _is_old(order, news.report):
        apply_report(order, news.report, now=now, source=STREAM)
    _follow(order, before, desk)


def _is_old(order: Order, report: OrderReport) -> bool:
    """Whether the fills of a triggered order, which come first, have told all of this already."""
    over, linked = order.state in ORDER_FINAL, bool(order.exchange_order_id) or not report.order_id
    return over and linked and report.executed_quantity <= order.executed_quantity


def _follow(order: Order, before: OrderState, desk: Desk) -> None:
    """Hand on what follows from an order's news: cover and booking of an entry, booking of an exit, a new leg."""
    purpose = OrderPurpose(order.purpose)
    if purpose is OrderPurpose.ENTRY:
        if order.executed_quantity > 0 and not _sender_goes_on(order, before) and _wants_cover(order.request_id):
            desk.hand_over.ask(DispatchedWork.COVER_AND_RECORD, order.request_id)
    elif order.executed_quantity > 0:
        # Also before the trade is recorded: the task waits for that a little.
        if not Trade.objects.filter(pk=order.request_id, state__in=sorted(TRADE_OVER)).exists():
            desk.hand_over.ask(DispatchedWork.BOOK_EXITS, order.request_id)
    elif purpose is not OrderPurpose.CLOSE and before not in ORDER_FINAL and _has_ended(order):
        tell = log.info if _is_routine(order) else log.warning
        tell("leg_ended_without_fill", client_order_id=order.client_order_id, state=order.state)
        desk.hand_over.ask(DispatchedWork.COVER, order.request_id)


def _sender_goes_on(order: Order, before: OrderState) -> bool:
    """Whether the step that sent a MARKET entry is about to read its answer and to cover the position itself.

    If it has died, the monitor resumes the request.
    """
    return order.order_type == OrderType.MARKET and before in {OrderState.SUBMITTING, OrderState.FILLED}


def _wants_cover(request_id: UUID) -> bool:
    return ExecutionRequest.objects.filter(pk=request_id, state__in=sorted(WANTS_COVER)).exists()


def _is_routine(leg: Order) -> bool:
    """Whether a leg was cancelled as legs are replaced or cleared away; a stop that nothing follows is no routine."""
    if leg.state != OrderState.CANCELED:
        return False
    orders = Order.objects.filter(request_id=leg.request_id)
    successors = orders.filter(purpose=leg.purpose, state__in=sorted(ORDER_LIVE))
    if leg.purpose != OrderPurpose.STOP or successors.exists():
        return True
    entered = Sum("executed_quantity", filter=Q(purpose=OrderPurpose.ENTRY))
    exited = Sum("executed_quantity", filter=~Q(purpose=OrderPurpose.ENTRY))
    sums = orders.aggregate(entered=entered, exited=exited)
    return (sums["exited"] or 0) >= (sums["entered"] or 0)


def _has_ended(leg: Order) -> bool:
    """Whether a leg ended while its trade goes on: not so for a stop whose successor lives already."""
    if leg.state not in ORDER_FINAL:
        return False
    if leg.purpose == OrderPurpose.STOP:
        others = Order.objects.filter(request_id=leg.request_id, purpose=leg.purpose, state__in=sorted(ORDER_LIVE))
        if others.filter(quantity__gte=leg.quantity).exists():
            return False
    return Trade.objects.filter(pk=leg.request_id, state__in=sorted(TRADE_OPEN)).exists()


def _foreign_fill(news: OrderNews, desk: Desk) -> None:
    """Book what somebody else's order, or the exchange's own, has closed of a trade of ours."""
    for trade in _open_trades(news.symbol, news.position_side):
        exits_by_buying = Direction(trade.direction) is Direction.SHORT
        if news.buyer is exits_by_buying:
            log.warning("closed_by_others", symbol=news.symbol, reason=closed_by(news.client_order_id))
            desk.hand_over.ask(DispatchedWork.BOOK_EXITS, trade.pk)


def _open_trades(symbol: str, position_side: str) -> list[Trade]:
    return list(Trade.objects.filter(symbol=symbol, position_side=position_side, state__in=sorted(TRADE_OPEN)))


def _account(news: AccountNews, desk: Desk) -> None:
    """Take positions as a second witness; a change that is not a trade's is for the monitor to judge."""
    if news.reason in {"ORDER", "FUNDING_FEE"}:
        for held in news.held:
            desk.second_look.expect(held)
    elif news.held:
        log.warning("account_changed", reason=news.reason, symbols=[held.symbol for held in news.held])
        desk.catch_up.ask()


def _setting(news: SettingNews, desk: Desk, now: datetime) -> None:
    """Say that a setting changed under an open trade. Our own changes come before a trade opens."""
    if not news.symbol:
        log.warning("multi_assets_mode_changed")
        desk.catch_up.ask()
        return
    trades = Trade.objects.filter(symbol=news.symbol, state__in=sorted(TRADE_OPEN)).exclude(leverage=news.leverage)
    for trade in trades:
        log.warning("leverage_changed_outside", symbol=news.symbol, was=trade.leverage, is_now=news.leverage)
        details = {"expected": trade.leverage, "actual": news.leverage}
        log_step("trade", trade.pk, to_state=trade.state, trigger="leverage_changed", now=now, details=details)
        desk.catch_up.ask()


def _margin_call(symbols: tuple[str, ...], desk: Desk, now: datetime) -> None:
    log.error("margin_call", symbols=list(symbols))
    for trade in Trade.objects.filter(symbol__in=symbols, state__in=sorted(TRADE_OPEN)):
        log_step("trade", trade.pk, to_state=trade.state, trigger="margin_call", now=now)
    desk.catch_up.ask()
