"""Sends several exits of one position at the same time, each on a connection of its own.

The first one is the stop: it leaves first, in the caller's thread, and nothing is settled later because of the others.
Where all answers come together, they are settled in one statement.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from execution.crash_points import reached
from execution.domain.clocks import Clock
from execution.domain.outcomes import Accepted, PlaceOutcome
from execution.domain.ports import Exchange, OrderTicket, SpareExchange
from execution.domain.trading import OrderPurpose
from execution.models import Order
from execution.orders.apply_report import apply_acceptances
from execution.orders.submit import ANSWERED, LANES, SETTLED, WRITTEN, Sending, attempt, latest_sending, settle
from execution.store.atomic_write import Move

# How long the settlement of the stop waits for the other answers.
ANSWERS_APART_SECONDS = 0.05
# How long the others wait until the stop's turn has come.
LONGEST_HEAD_START_SECONDS = 1.0
# A thread that sleeps on a lock does not notice that the time of its Celery task is over.
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An order that was sent beside another one, and the answer that comes in its own thread."""

    order: Order
    ticket: OrderTicket
    answer: "Future[PlaceOutcome]"


def send_together(
    written: Sequence[tuple[Order, OrderTicket]],
    *,
    exchange: Exchange,
    spare: SpareExchange,
    also: Callable[[], Move | None],
    clock: Clock,
) -> tuple[PlaceOutcome | None, list[Beside]]:
    """Send orders that `persist_orders` has written, and settle the first.

    Args:
        written: the orders; the first one is the stop.
        exchange: the caller's client.
        spare: lends the clients of the others.
        also: the request's move that belongs to the acceptance of all of them.
        clock: the time of the outcomes.

    Returns:
        The first order's outcome as `send` returns it, and the others unless they are settled: see `settle_beside`.

    """
    (first, ticket), *others = written
    for order, _ in written:
        reached(WRITTEN[OrderPurpose(order.purpose)])
    has_turn = threading.Event()
    pool = ThreadPoolExecutor(len(others))
    beside = [
        Beside(order=order, ticket=of, answer=pool.submit(_place, order, of, spare, has_turn)) for order, of in others
    ]
    pool.shutdown(wait=False)
    try:
        outcome = attempt(Sending(order=first, ticket=ticket, exchange=exchange, clock=clock, at_turn=has_turn.set))
    finally:
        has_turn.set()
    reached(ANSWERED[OrderPurpose(first.purpose)])
    if isinstance(outcome, Accepted) and _settle_all(first, outcome, beside, also, clock):
        return outcome, []
    return settle(first, outcome, now=clock()), beside


def settle_beside(
    beside: Sequence[Beside], *, exchange: Exchange, clock: Clock
) -> Iterator[tuple[Order, PlaceOutcome | None]]:
    """Wait for the answers that are missing, settle these orders, and yield each with its outcome as of `send`."""
    for each in beside:
        while wait([each.answer], LOOK_SECONDS).not_done:
            pass
        answer = each.answer.result()
        outcome = attempt(
            Sending(order=each.order, ticket=each.ticket, exchange=exchange, clock=clock, answered=answer)
        )
        reached(ANSWERED[OrderPurpose(each.order.purpose)])
        yield each.order, settle(each.order, outcome, now=clock())


def _place(order: Order, ticket: OrderTicket, spare: SpareExchange, has_turn: threading.Event) -> PlaceOutcome:
    """Send an order once. It leaves behind the stop, which must not wait for the processor."""
    has_turn.wait(LONGEST_HEAD_START_SECONDS)
    with spare() as exchange:
        return exchange.place(ticket, LANES[OrderPurpose(order.purpose)], send_before=latest_sending(order))


def _settle_all(
    first: Order, accepted: Accepted, beside: Sequence[Beside], also: Callable[[], Move | None], clock: Clock
) -> bool:
    """Settle all orders in one statement, False when one is not accepted yet, or was moved by another process."""
    if wait([each.answer for each in beside], ANSWERS_APART_SECONDS).not_done:
        return False
    reports = [(first, accepted.report)]
    for each in beside:
        answer = None if each.answer.exception() else each.answer.result()
        if not isinstance(answer, Accepted):
            return False
        reports.append((each.order, answer.report))
    for order, _ in reports[1:]:
        reached(ANSWERED[OrderPurpose(order.purpose)])
    if not apply_acceptances(reports, also=also, now=clock(), source="answer"):
        return False
    for order, _ in reports:
        reached(SETTLED[OrderPurpose(order.purpose)])
    return True
