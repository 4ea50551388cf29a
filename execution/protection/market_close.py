"""Closes a position at market, for every exit that has to be out now.

Two things keep a close from closing, and neither is waited for.

1. Its outcome is unknown. It is queried at once and densely, and the next one follows within a second.

2. The exchange refuses it while other orders hold the quantity. They make way, the stop last, and the close follows.

Never past flat: each close is reduce-only, or bound by its position side, so that one which arrives late finds nothing
to reduce. Each has a row of its own until evidence ends it, and while one of them may still arrive its symbol is not
released: it cannot meet the next position.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import structlog

from execution.domain.backoff import FIRST_PAUSE, LONGEST_PAUSE_OPEN, Refusals, refusals_of
from execution.domain.brackets import Leg
from execution.domain.clocks import age_of
from execution.domain.closing import (
    CLEARS_ALL,
    MAKES_WAY_FOR,
    MOST_CLOSES_IN_A_RUN,
    NOTHING_TO_REDUCE,
    QUANTITY_HELD,
    pause_in_doubt,
)
from execution.domain.external import ForeignOrder
from execution.domain.lots import closing_parts
from execution.domain.money import ZERO, plain
from execution.domain.outcomes import Accepted, PlaceOutcome, Refused, Unknown, held_in
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL, ORDER_LIVE, OrderState
from execution.domain.trading import Direction, OrderPurpose, OrderType
from execution.models import Order
from execution.orders.query_inflight import ask, ask_at_once
from execution.orders.submit import OrderSpec
from execution.store.transitions import log_step

if TYPE_CHECKING:
    from execution.protection.bracket_manager import BracketManager

log = structlog.get_logger(__name__)
BESIDE_THE_STOP = (OrderPurpose.TARGET, OrderPurpose.TRAILING)


def closes_in_doubt(work: "BracketManager") -> list[Order]:
    """Return the unfinished closing orders, oldest first."""
    return [o for o in work.exits if o.purpose == OrderPurpose.CLOSE and o.state not in ORDER_FINAL]


def closes_refused(work: "BracketManager", leg: Leg | None = None) -> Refusals | None:
    """Return the refusals at the end of a leg's closing orders.

    Without a leg they are those of the closes of all that is open.
    """
    leg_id = leg.id if leg else None
    closes = [o for o in work.exits if o.purpose == OrderPurpose.CLOSE and o.leg_id == leg_id]
    return refusals_of(work.under_present_filters(closes), LONGEST_PAUSE_OPEN, together=FIRST_PAUSE)


def is_too_early(work: "BracketManager", leg: Leg | None = None) -> bool:
    """Return whether the pause after the last refused or unanswered close is not over.

    It asks the exchange nothing.
    """
    return is_paused(work, leg) or _follows_too_soon(work)


def is_paused(work: "BracketManager", leg: Leg | None = None) -> bool:
    """Return whether the pause after refused closes is not over.

    A stop that the close would follow waits for it too.
    """
    refused = closes_refused(work, leg)
    return bool(refused and refused.holds_at(work.clock()))


def is_out(work: "BracketManager") -> bool:
    """Return whether a refused close found nothing to reduce and the exchange shows no position either.

    Raises:
        ExchangeUnavailableError: the positions could not be read.

    """
    refused = closes_refused(work)
    return bool(refused and refused.code in NOTHING_TO_REDUCE) and held_at_exchange(work) <= 0


def makes_way(work: "BracketManager") -> bool:
    """Return whether a close that found its quantity held lets other orders make way just now.

    The user-data stream reports each cancelled order. A process that puts it back at once is in the close's way again.
    """
    closes = [o for o in work.exits if o.purpose == OrderPurpose.CLOSE]
    refused = bool(closes) and closes[-1].state == OrderState.REJECTED and closes[-1].error_code in QUANTITY_HELD
    return refused and age_of(closes[-1].created_at, work.clock()) < MAKES_WAY_FOR


def settle_doubts(work: "BracketManager") -> None:
    """Query once each close in doubt that its own process no longer queries."""
    if _follows_too_soon(work):
        return
    for order in closes_in_doubt(work)[-MOST_CLOSES_IN_A_RUN:]:
        ask(order, exchange=work.exchange, clock=work.clock)


def held_at_exchange(work: "BracketManager") -> Decimal:
    """Return how much the exchange holds of this symbol, side and direction just now.

    Raises:
        ExchangeUnavailableError: the positions could not be read.

    """
    rows = {row.position_side: row for row in work.exchange.positions_in(work.request.symbol)}
    return held_in(rows.get(work.request.position_side), Direction(work.request.direction))


def _follows_too_soon(work: "BracketManager") -> bool:
    doubts = closes_in_doubt(work)
    return bool(doubts) and age_of(doubts[-1].sent_at, work.clock()) < pause_in_doubt(len(doubts))


@dataclass(kw_only=True)
class Closing:
    """One attempt to close: what it wants, and what it has done."""

    work: "BracketManager"
    reason: CloseReason
    leg: Leg | None = None
    sent_at: float = 0.0
    last_sent: Decimal = ZERO
    cancelled: list[str] = field(default_factory=list)

    def run(self, quantity: Decimal) -> PlaceOutcome | None:
        """Close this quantity, reducing only, None when that may not be tried now.

        Everything that is open may be closed again beside a close in doubt. Of a part, such as a target's, two would
        close too much: there the first has to be settled.
        """
        whole = quantity >= self.work.exposure.open
        quantity = self._permitted(quantity, whole=whole)
        if quantity <= 0:
            return None
        outcome = self._until_answered(quantity, whole=whole)
        if _is_locked(outcome):
            outcome = self._free_and_close(outcome, quantity, whole=whole)
        if isinstance(outcome, Refused):
            self._log_refused()
        return outcome

    # Whether it may begin

    def _permitted(self, quantity: Decimal, *, whole: bool) -> Decimal:
        """Return how much may be closed now, zero when nothing may."""
        if is_too_early(self.work, self.leg):
            return ZERO
        refused = closes_refused(self.work, self.leg)
        settle_doubts(self.work)
        if closes_in_doubt(self.work):
            return self._beside_doubts() if whole else ZERO
        if refused and refused.code in NOTHING_TO_REDUCE and held_at_exchange(self.work) <= 0:
            # What is out is for booking.
            return ZERO
        return min(quantity, self.work.exposure.open)

    def _beside_doubts(self) -> Decimal:
        """Return how much may be closed although another close may arrive yet.

        That is what the exchange still holds of our position.

        A close that is live and executes just now is waited for, and so is one beside which another client holds a part
        of the position: a second close would take theirs.
        """
        open_now = self.work.exposure.open
        if any(order.state in ORDER_LIVE for order in closes_in_doubt(self.work)):
            return ZERO
        try:
            held = held_at_exchange(self.work)
        except ExchangeUnavailableError as error:
            # Nothing is wrong with a close that finds nothing to reduce.
            log.warning("close_follows_unseen", request_id=str(self.work.request.pk), error=str(error))
            return open_now
        return held if held <= open_now else ZERO

    # Sending

    def _until_answered(self, quantity: Decimal, *, whole: bool) -> PlaceOutcome | None:
        """Send, and while the outcome stays unknown send again, as often as one run may."""
        outcome = self._once(quantity)
        for sent in range(1, MOST_CLOSES_IN_A_RUN):
            if not (isinstance(outcome, Unknown) and whole and self._may_follow(sent)):
                break
            left = self._beside_doubts()
            if left <= 0:
                break
            outcome = self._once(left)
        return outcome

    def _may_follow(self, sent: int) -> bool:
        """Wait until the next close may follow, False when that is too long for this run."""
        pause = pause_in_doubt(max(sent, len(closes_in_doubt(self.work)))).total_seconds()
        wait = self.sent_at + pause - time.monotonic()
        if wait > pause_in_doubt(1).total_seconds():
            return False
        time.sleep(max(0.0, wait))
        return True

    def _once(self, quantity: Decimal) -> PlaceOutcome | None:
        """Send as many orders as the present lot asks for, and return the first outcome that is not Accepted.

        They follow one another whatever became of those before, as far as they were accepted: a process that dies in
        between leaves less to close.
        """
        outcome, left = self._send_parts(quantity)
        if isinstance(outcome, Refused) and outcome.by_filters and self.work.refresh():
            outcome, _ = self._send_parts(left)
        return outcome

    def _send_parts(self, quantity: Decimal) -> tuple[PlaceOutcome | None, Decimal]:
        """Send the parts one after another.

        It returns the last outcome, and what was not accepted of the quantity.
        """
        outcome: PlaceOutcome | None = None
        for intention in self._orders(quantity):
            outcome = self._send_one(intention)
            if not isinstance(outcome, Accepted):
                break
            quantity -= intention.quantity
        return outcome, quantity

    def _send_one(self, intention: OrderSpec) -> PlaceOutcome | None:
        self.sent_at, self.last_sent = time.monotonic(), intention.quantity
        outcome = self.work.send_close(intention)
        if isinstance(outcome, Unknown):
            order, clock = self.work.exits[-1], self.work.clock
            found = ask_at_once(order, exchange=self.work.exchange, clock=clock, since=self.sent_at)
            outcome = Accepted(report=found) if found else outcome
        self._log(intention, outcome)
        return outcome

    def _orders(self, quantity: Decimal) -> list[OrderSpec]:
        market = OrderSpec(
            purpose=OrderPurpose.CLOSE,
            sequence=0,
            order_type=OrderType.MARKET,
            quantity=quantity,
            close_reason=self.reason,
            leg_id=self.leg.id if self.leg else None,
        )
        parts = closing_parts(quantity, self.work.plan.lot, trims=not self.work.exposure.hedged)
        left = quantity - sum(parts, ZERO)
        if left > 0:
            # Health names it as REMAINDER_UNTRADABLE.
            log.warning("remainder_out_of_reach", request_id=str(self.work.request.pk), quantity=str(left))
        return [replace(market, quantity=part) for part in parts]

    # Making way

    def _free_and_close(self, outcome: PlaceOutcome | None, quantity: Decimal, *, whole: bool) -> PlaceOutcome | None:
        """Free the quantity step by step and close after each, until no other order holds it.

        A stop that has made way in vain is put back at once.
        """
        code = outcome.code if isinstance(outcome, Refused) else None
        steps: list[Callable[[Decimal], bool]] = [self._is_less, lambda _: self._cancel(BESIDE_THE_STOP)]
        if whole:
            steps += [self._cancel_of_others, lambda _: self._cancel((OrderPurpose.STOP,))]
        # The second time finds what another process has put back before it knew.
        for make_way in steps * 2:
            self.work.read()
            held = self._still_held()
            if held <= 0:
                break
            if not make_way(held):
                continue
            left = min(quantity, held, self.work.exposure.open)
            self._note_freed(code, left)
            outcome = self._until_answered(left, whole=whole) if left > 0 else None
            if not _is_locked(outcome):
                break
        self._put_back_the_stop(outcome)
        return outcome

    def _is_less(self, held: Decimal) -> bool:
        """Return whether less is held than was sent, because an earlier close has arrived meanwhile.

        Hedge mode refuses such a close.
        """
        return self.work.exposure.hedged and held < self.last_sent

    def _still_held(self) -> Decimal:
        try:
            return held_at_exchange(self.work)
        except ExchangeUnavailableError as error:
            log.warning("position_not_read", request_id=str(self.work.request.pk), error=str(error))
            return ZERO

    def _cancel(self, purposes: Sequence[OrderPurpose]) -> bool:
        """Cancel our orders of these purposes that may rest, True when one rests no more."""
        may_rest = ORDER_LIVE | {OrderState.UNKNOWN}
        resting = [o for o in self.work.exits if o.purpose in purposes and o.state in may_rest]
        self.work.cancel(resting)
        gone = [order.client_order_id for order in resting if order.state in ORDER_FINAL]
        self.cancelled += gone
        return bool(gone)

    def _cancel_of_others(self, held: Decimal) -> bool:
        """Cancel other clients' orders against this position, when all of it is ours and has to go."""
        if self.reason not in CLEARS_ALL or held > self.work.exposure.open:
            return False
        try:
            found = self.work.exchange.orders_of_others(self.work.request.symbol)
        except ExchangeUnavailableError as error:
            log.warning("orders_of_others_not_read", symbol=self.work.request.symbol, error=str(error))
            return False
        against = list(self._against_this_position(found))
        gone = [o.order_id for o in against if self.work.exchange.cancel_of_others(self.work.request.symbol, o)]
        self.cancelled += [f"of others: {order_id}" for order_id in gone]
        return bool(gone)

    def _against_this_position(self, orders: Iterable[ForeignOrder]) -> Iterable[ForeignOrder]:
        side, position_side = Direction(self.work.request.direction).exit_side, self.work.request.position_side
        return (o for o in orders if o.reduces and (o.side, o.position_side) == (side, position_side))

    def _put_back_the_stop(self, outcome: PlaceOutcome | None) -> None:
        stops = {o.client_order_id for o in self.work.exits if o.purpose == OrderPurpose.STOP}
        if isinstance(outcome, Accepted) or not stops & set(self.cancelled):
            return
        for want in [each for each in self.work.comparison.missing if each.leg.purpose is OrderPurpose.STOP]:
            self.work.place(want)

    # Reporting

    def _note_freed(self, code: int | None, quantity: Decimal) -> None:
        pk, now = self.work.request.pk, self.work.clock()
        details = {"code": code, "cancelled": list(self.cancelled), "quantity": plain(quantity)}
        log.warning("close_makes_way", request_id=str(pk), symbol=self.work.request.symbol, **details)
        log_step("request", pk, to_state="MADE_WAY", trigger="close_refused", now=now, details=details)

    def _log(self, intention: OrderSpec, outcome: PlaceOutcome | None) -> None:
        """Log the outcome of a closing order once it is known."""
        executed = outcome.report.executed_quantity if isinstance(outcome, Accepted) else ZERO
        log.warning(
            "close_sent",
            request_id=str(self.work.request.pk),
            symbol=self.work.request.symbol,
            reason=self.reason,
            quantity=plain(intention.quantity),
            executed=plain(executed),
            outcome=type(outcome).__name__.lower() if outcome else "settled by another process",
        )

    def _log_refused(self) -> None:
        if refused := closes_refused(self.work, self.leg):
            log.error(
                "close_refused",
                request_id=str(self.work.request.pk),
                symbol=self.work.request.symbol,
                code=refused.code,
                tries=refused.tries,
                since=refused.since.isoformat(),
                next_try_at=refused.next_at.isoformat(),
            )


def _is_locked(outcome: PlaceOutcome | None) -> bool:
    """Return whether other orders hold the quantity of a refused close, or nothing is left to reduce."""
    return isinstance(outcome, Refused) and outcome.code in QUANTITY_HELD
