"""Resolves an order that its look-up does not show.

Further sources are asked, then the order is waited for, then an alarm is raised. Nothing is ever guessed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from execution.domain.clocks import Clock, age_of
from execution.domain.outcomes import ExchangeStatus, Missing, OrderReport, Unknown, Unreadable
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.domain.states import ORDER_LIVE, REQUEST_FINAL, OrderState
from execution.domain.traces import Inference, weigh
from execution.domain.trading import OrderService
from execution.models import Order
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
from execution.store.reconciliation import has_forgotten_sibling, is_trade_open

# Successive look-ups without a trace before absence can be believed, and how long after the last possible arrival:
# a request may wait ten seconds to be sent, travels for as long as our time-out, and is valid for its receive window.
MISSING_READINGS = FORGOTTEN_AFTER_READINGS
LATEST_ARRIVAL_MARGIN = timedelta(seconds=17)
# The Algo Service has been seen to forget live orders for more than half an hour (freqtrade #12681).
ALGO_SILENCE = timedelta(minutes=45)
# At first an order in doubt is looked up in every cycle, later more and more seldom: each look-up takes from the limit
# that all processes share.
EAGER_FOR, PART_OF_AGE, LONGEST_PAUSE = timedelta(minutes=2), 10, timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class VenueAccess:
    """The exchange to ask, and the rules to protect what may be ours."""

    exchange: Exchange
    rules: ProtectionRules
    clock: Clock


def is_due_for_resolution(order: Order, now: datetime) -> bool:
    """Whether an order that was in doubt before is due for another look-up."""
    in_doubt = order.missing_readings or order.alarmed_at
    # Of an order that was there, doubt begins with its absence.
    since = order.missing_since or order.sent_at if order.state in ORDER_LIVE else order.sent_at
    age = age_of(since, now)
    if not in_doubt or order.last_evidence_at is None or age < EAGER_FOR:
        return True
    return age_of(order.last_evidence_at, now) >= min(age / PART_OF_AGE, LONGEST_PAUSE)


def resolve(order: Order, looked_up: Missing | Unreadable, access: VenueAccess) -> tuple[OrderReport, str] | None:
    """Ask every further source about an order, and return its report with the source that gave it.

    Returns None when no source shows the order. An order of unknown outcome is then absent, when every source has
    answered and everything speaks for that. Else it stays UNKNOWN: what it may have opened is covered, and an alarm is
    raised once it should have been known.

    Raises:
        ExchangeUnavailableError: a further source did not answer either.

    """
    if order.state == OrderState.SUBMITTING:
        apply_unknown(order, Unknown(message="no outcome was written"), now=access.clock())
    resolution = _Resolution(order=order, access=access)
    if isinstance(looked_up, Unreadable) and resolution.is_contract_gone():
        return resolution.end_with_contract(looked_up.message)
    try:
        return resolution.ask_further(looked_up)
    except ExchangeUnavailableError as error:
        resolution.alarm_when_late(f"unanswered: {error}")
        resolution.cover(weigh(query_of(order), with_position(order, (), {}, access.exchange)))
        raise


def latest_arrival(order: Order) -> datetime:
    """Return the last moment at which the order could have been accepted."""
    return order.sent_at + timedelta(milliseconds=order.recv_window_ms) + LATEST_ARRIVAL_MARGIN


@dataclass(frozen=True, kw_only=True)
class _Resolution:
    """One order that its look-up does not show, and the ports to resolve it with."""

    order: Order
    access: VenueAccess

    def is_contract_gone(self) -> bool:
        """Whether the exchange neither lists the contract nor holds a position in it.

        Then no order of it can be alive.

        Raises:
            ExchangeUnavailableError: listing or positions could not be read.

        """
        exchange, symbol = self.access.exchange, self.order.symbol
        return exchange.rules(symbol) is None and all(row.symbol != symbol for row in exchange.positions())

    def end_with_contract(self, answer: str) -> tuple[OrderReport, str] | None:
        """End an order with its contract, on the second reading in a row that shows neither."""
        order = self.order
        sentence = f"{answer}; the exchange lists {order.symbol} no more and holds no position in it"
        note_reading(order, sentence, now=self.access.clock())
        if order.missing_readings < MISSING_READINGS:
            return None
        if order.state == OrderState.UNKNOWN and not order.executed_quantity:
            apply_absence(order, now=self.access.clock(), evidence=sentence)
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

    def ask_further(self, looked_up: Missing | Unreadable) -> tuple[OrderReport, str] | None:
        """Ask history and fills, and conclude what they allow when neither shows the order."""
        order, access = self.order, self.access
        service = OrderService(order.service)
        listed = access.exchange.find_in_history(order.symbol, order.client_order_id, service, since=order.created_at)
        if listed:
            return listed, "order history"
        traces = read_traces(order, access.exchange)
        inference = weigh(query_of(order), traces)
        if inference.order_id:
            report = report_of_fills(order, inference.order_id, traces, access.exchange)
            if not _knows_no_more(order, report):
                return report, "fills"
        sentence = f"{looked_up.message}; not in the order history; {inference.sentence}"
        if isinstance(looked_up, Unreadable):
            self._keep_unknown(f"unanswered: {sentence}", inference)
        elif is_past_retention(order, access.exchange):
            note_reading(order, sentence, now=access.clock())
            self._end_forgotten(sentence, inference)
        elif self._is_one_of_two_forgotten():
            raise_alarm(order, f"{sentence}; the Algo Service forgets its orders", now=access.clock())
        else:
            note_reading(order, sentence, now=access.clock())
            self._conclude(sentence, inference)
        return None

    def alarm_when_late(self, sentence: str) -> None:
        """Raise an alarm once the order should have been known."""
        now = self.access.clock()
        if now >= latest_arrival(self.order):
            raise_alarm(self.order, sentence, now=now)

    def cover(self, inference: Inference) -> bool:
        """Place the planned stop under what an entry of unknown outcome may have opened.

        Returns whether it stands.
        """
        if not inference.at_stake or self.order.state != OrderState.UNKNOWN:
            return False
        access = self.access
        return cover_unknown(
            self.order.request, inference.at_stake, exchange=access.exchange, rules=access.rules, clock=access.clock
        )

    def _end_forgotten(self, sentence: str, inference: Inference) -> None:
        """End an order past its retention, or raise an alarm when position or fills speak against that."""
        order, now = self.order, self.access.clock()
        against = contradiction(order, inference, self.access.exchange)
        if against:
            raise_alarm(order, f"{sentence}; past the exchange's retention, but {against}", now=now)
        elif order.missing_readings >= MISSING_READINGS and is_silent_long_enough(order, now):
            made = (order.accepted_at or order.created_at).isoformat()
            looked = f"{order.missing_readings} look-ups, no open order, created {made}"
            apply_unseen_end(order, now=now, evidence=f"{sentence}; {looked}; position and fills agree without it")
        elif self._is_one_of_two_forgotten():
            raise_alarm(order, f"{sentence}; the Algo Service forgets its orders", now=now)

    def _conclude(self, sentence: str, inference: Inference) -> None:
        """End an order that left no trace, when it has been missed often and for long enough."""
        order, now = self.order, self.access.clock()
        if order.state != OrderState.UNKNOWN or inference.speaks_for_arrival:
            self._keep_unknown(sentence, inference)
        elif order.missing_readings >= MISSING_READINGS and now >= _believed_absent_from(order):
            age = (now - order.sent_at).total_seconds()
            looked = f"{order.missing_readings} look-ups, the last {age:.0f}s after sending"
            apply_absence(order, now=now, evidence=f"{sentence}; {looked}")

    def _keep_unknown(self, sentence: str, inference: Inference) -> None:
        """Leave an order UNKNOWN: protect what an entry may have opened, and raise the alarm that is due.

        An entry with something at stake raises it at once, anything else when it is late.
        """
        order = self.order
        if inference.at_stake:
            covered = "covered" if self.cover(inference) else "NOT covered"
            raise_alarm(order, f"{sentence}; {covered} by the planned stop", now=self.access.clock())
        # A leg in doubt is replaced by another; whether a position has its stop is a metric of its own.
        # An order that keeps a symbol although its trade is over is reported too: that may last for days.
        elif order.service == OrderService.STANDARD or (
            order.missing_readings >= MISSING_READINGS and outlives_its_trade(order)
        ):
            self.alarm_when_late(sentence)

    def _is_one_of_two_forgotten(self) -> bool:
        """Whether the exchange has forgotten another order of the same leg, so that a third would not help.

        Such an order goes on counting as cover, so that no more than two are ever placed while the exchange shows none.
        """
        if self.order.service != OrderService.ALGO or self.order.state not in ORDER_LIVE:
            return False
        return has_forgotten_sibling(self.order, readings=FORGOTTEN_AFTER_READINGS)


def _knows_no_more(order: Order, report: OrderReport) -> bool:
    """Whether the fills add nothing to the books of a live order that the exchange has forgotten."""
    open_still = report.status in {ExchangeStatus.NEW, ExchangeStatus.PARTIALLY_FILLED}
    return order.state in ORDER_LIVE and open_still and report.executed_quantity <= order.executed_quantity


def _believed_absent_from(order: Order) -> datetime:
    """Return when absence can be believed: of a leg late, while there is something that it may close."""
    over = order.request.state in REQUEST_FINAL
    over = over and not is_trade_open(order.request_id)
    if order.service == OrderService.STANDARD or over:
        return latest_arrival(order)
    return max(latest_arrival(order), order.sent_at + ALGO_SILENCE)
