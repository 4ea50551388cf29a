"""Follows an order that its look-up does not show: further sources, then patience, then an alarm; never a guess."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from execution.domain.clocks import Clock, age_of
from execution.domain.outcomes import ExchangeStatus, Missing, OrderReport, Unknown, Unreadable
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.domain.states import ORDER_LIVE, REQUEST_FINAL, TRADE_OPEN, OrderState
from execution.domain.traces import Inference, weigh
from execution.domain.trading import OrderService
from execution.models import Order, Trade
from execution.orders.apply_report import apply_absence, apply_unknown, apply_unseen_end, note_reading, raise_alarm
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.bracket_store import FORGOTTEN_AFTER_READINGS
from execution.protection.cover_unknown_entry import cover_unknown
from execution.reconciliation.expired_orders import (
    contradiction,
    is_past_retention,
    is_silent_long_enough,
    outlives_its_trade,
)
from execution.reconciliation.order_traces import query_of, read_traces, report_of_fills, with_position

# Successive look-ups without a trace before absence can be believed, and how long after the last possible arrival:
# a request may wait ten seconds to be sent, travels for as long as our time-out, and is valid for its receive window.
MISSING_READINGS = FORGOTTEN_AFTER_READINGS
LATEST_ARRIVAL_MARGIN = timedelta(seconds=17)
# The Algo Service has been seen to forget live orders for more than half an hour (freqtrade #12681).
ALGO_SILENCE = timedelta(minutes=45)
# At first an order in doubt is asked for in every cycle; the longer it stays so the more seldom, for each look-up takes
# from everybody's limit.
EAGER_FOR, PART_OF_AGE, LONGEST_PAUSE = timedelta(minutes=2), 10, timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class VenueAccess:
    """Where to ask, and how to cover what may be ours."""

    exchange: Exchange
    rules: ProtectionRules
    clock: Clock


def is_due_for_resolution(order: Order, now: datetime) -> bool:
    """Whether an order that was in doubt before is to be asked for again."""
    in_doubt = order.missing_readings or order.alarmed_at
    # Of an order that was there, doubt begins with its absence.
    since = order.missing_since or order.sent_at if order.state in ORDER_LIVE else order.sent_at
    age = age_of(since, now)
    if not in_doubt or order.last_evidence_at is None or age < EAGER_FOR:
        return True
    return age_of(order.last_evidence_at, now) >= min(age / PART_OF_AGE, LONGEST_PAUSE)


def resolve(order: Order, looked_up: Missing | Unreadable, sources: VenueAccess) -> tuple[OrderReport, str] | None:
    """Ask every further source about an order; the report and who gave it, or None when none shows it.

    An order of unknown outcome is then absent, when every source has answered and everything speaks for that. Else it
    stays UNKNOWN; what it may have opened is covered, and an alarm is raised once it should have been known.

    Raises:
        ExchangeUnavailableError: a further source did not answer either.

    """
    if order.state == OrderState.SUBMITTING:
        apply_unknown(order, Unknown(message="no outcome was written"), now=sources.clock())
    if isinstance(looked_up, Unreadable) and _is_contract_gone(order, sources):
        return _end_with_contract(order, looked_up.message, sources)
    try:
        return _ask_further(order, looked_up, sources)
    except ExchangeUnavailableError as error:
        _alarm_when_late(order, f"unanswered: {error}", sources)
        _cover(order, weigh(query_of(order), with_position(order, (), {}, sources.exchange)), sources)
        raise


def _is_contract_gone(order: Order, sources: VenueAccess) -> bool:
    """Whether the exchange lists the contract no more and holds no position in it: no order of it can be alive.

    Raises:
        ExchangeUnavailableError: listing or positions could not be read.

    """
    if sources.exchange.rules(order.symbol) is not None:
        return False
    return all(row.symbol != order.symbol for row in sources.exchange.positions())


def _end_with_contract(order: Order, answer: str, sources: VenueAccess) -> tuple[OrderReport, str] | None:
    """End an order with its contract, on the second reading in a row that shows neither."""
    sentence = f"{answer}; the exchange lists {order.symbol} no more and holds no position in it"
    note_reading(order, sentence, now=sources.clock())
    if order.missing_readings < MISSING_READINGS:
        return None
    if order.state == OrderState.UNKNOWN and not order.executed_quantity:
        apply_absence(order, now=sources.clock(), evidence=sentence)
        return None
    report = OrderReport(
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        status=ExchangeStatus.EXPIRED,
        quantity=order.quantity,
        executed_quantity=order.executed_quantity,
        order_id=order.exchange_order_id,
        algo_id=order.algo_id,
    )
    return report, "its contract is gone"


def latest_arrival(order: Order) -> datetime:
    """Return the last moment at which the order could have been accepted."""
    return order.sent_at + timedelta(milliseconds=order.recv_window_ms) + LATEST_ARRIVAL_MARGIN


def _ask_further(order: Order, looked_up: Missing | Unreadable, sources: VenueAccess) -> tuple[OrderReport, str] | None:
    service = OrderService(order.service)
    listed = sources.exchange.find_in_history(order.symbol, order.client_order_id, service, since=order.created_at)
    if listed:
        return listed, "order history"
    traces = read_traces(order, sources.exchange)
    weight = weigh(query_of(order), traces)
    if weight.order_id:
        report = report_of_fills(order, weight.order_id, traces, sources.exchange)
        if not _knows_no_more(order, report):
            return report, "fills"
    sentence = f"{looked_up.message}; not in the order history; {weight.sentence}"
    if isinstance(looked_up, Unreadable):
        _stays_unknown(order, f"unanswered: {sentence}", weight, sources)
    elif is_past_retention(order, sources.exchange):
        note_reading(order, sentence, now=sources.clock())
        _end_or_say(order, sentence, weight, sources)
    elif _is_one_of_two_forgotten(order):
        raise_alarm(order, f"{sentence}; the Algo Service forgets its orders", now=sources.clock())
    else:
        note_reading(order, sentence, now=sources.clock())
        _conclude(order, sentence, weight, sources)
    return None


def _knows_no_more(order: Order, report: OrderReport) -> bool:
    """Whether the fills tell what the books have, of an order that the exchange has forgotten and that may be over."""
    open_still = report.status in {ExchangeStatus.NEW, ExchangeStatus.PARTIALLY_FILLED}
    return order.state in ORDER_LIVE and open_still and report.executed_quantity <= order.executed_quantity


def _end_or_say(order: Order, sentence: str, weight: Inference, sources: VenueAccess) -> None:
    """End an order that the exchange has forgotten by its retention, unless position or fills speak against that."""
    now, against = sources.clock(), contradiction(order, weight, sources.exchange)
    if against:
        raise_alarm(order, f"{sentence}; past the exchange's retention, but {against}", now=now)
    elif order.missing_readings >= MISSING_READINGS and is_silent_long_enough(order, now):
        made = (order.accepted_at or order.created_at).isoformat()
        looked = f"{order.missing_readings} look-ups, no open order, created {made}"
        apply_unseen_end(order, now=now, evidence=f"{sentence}; {looked}; position and fills agree without it")
    elif _is_one_of_two_forgotten(order):
        raise_alarm(order, f"{sentence}; the Algo Service forgets its orders", now=now)


def _conclude(order: Order, sentence: str, weight: Inference, sources: VenueAccess) -> None:
    """End an order that left no trace, when it has been missed often and for long enough."""
    now = sources.clock()
    if order.state != OrderState.UNKNOWN or weight.speaks_for_arrival:
        _stays_unknown(order, sentence, weight, sources)
    elif order.missing_readings >= MISSING_READINGS and now >= _believed_absent_from(order):
        age = (now - order.sent_at).total_seconds()
        looked = f"{order.missing_readings} look-ups, the last {age:.0f}s after sending"
        apply_absence(order, now=now, evidence=f"{sentence}; {looked}")


def _believed_absent_from(order: Order) -> datetime:
    """Return when absence can be believed: of a leg late, while there is something that it may close."""
    over = order.request.state in REQUEST_FINAL
    over = over and not Trade.objects.filter(pk=order.request_id, state__in=sorted(TRADE_OPEN)).exists()
    if order.service == OrderService.STANDARD or over:
        return latest_arrival(order)
    return max(latest_arrival(order), order.sent_at + ALGO_SILENCE)


def _stays_unknown(order: Order, sentence: str, weight: Inference, sources: VenueAccess) -> None:
    """Cover what an entry may have opened and say so at once; anything else is worth an alarm when it is late."""
    if weight.at_stake:
        covered = "covered" if _cover(order, weight, sources) else "NOT covered"
        raise_alarm(order, f"{sentence}; {covered} by the planned stop", now=sources.clock())
    # A leg in doubt is replaced by another; whether a position has its stop is a figure of its own.
    # What keeps a symbol although its trade is over is said too: the exchange may go on knowing nothing for days.
    elif order.service == OrderService.STANDARD or _keeps_a_symbol(order):
        _alarm_when_late(order, sentence, sources)


def _keeps_a_symbol(order: Order) -> bool:
    return order.missing_readings >= MISSING_READINGS and outlives_its_trade(order)


def _alarm_when_late(order: Order, sentence: str, sources: VenueAccess) -> None:
    now = sources.clock()
    if now >= latest_arrival(order):
        raise_alarm(order, sentence, now=now)


def _is_one_of_two_forgotten(order: Order) -> bool:
    """Whether another order of the same leg is forgotten too: then the exchange is blind, and a third would not help.

    Such an order goes on counting as cover, so that no more than two are ever placed while nobody can see them.
    """
    if order.service != OrderService.ALGO or order.state not in ORDER_LIVE:
        return False
    same = Order.objects.filter(request_id=order.request_id, purpose=order.purpose, leg_id=order.leg_id)
    return (
        same.filter(state__in=sorted(ORDER_LIVE), missing_readings__gte=FORGOTTEN_AFTER_READINGS)
        .exclude(pk=order.pk)
        .exists()
    )


def _cover(order: Order, weight: Inference, sources: VenueAccess) -> bool:
    """Let the planned stop stand under what an entry of unknown outcome may have opened; True when it does."""
    if not weight.at_stake or order.state != OrderState.UNKNOWN:
        return False
    return cover_unknown(
        order.request, weight.at_stake, exchange=sources.exchange, rules=sources.rules, clock=sources.clock
    )
