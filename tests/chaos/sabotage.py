"""Breaks one safeguard of the service in the worker that imports this, so that the matrix can be seen to fail.

The runner puts it in front of its own workers by `--include`, and names the safeguard in CHAOS_BROKEN. The service has
no switch for any of this.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery.signals import celeryd_after_setup


def write_the_entry_after_the_call() -> None:
    """Intent row: the entry goes out first and is written down when its answer is there."""
    from django.db import transaction  # noqa: PLC0415 -- Django must be set up first

    from execution.domain.outcomes import Accepted, Refused  # noqa: PLC0415
    from execution.domain.ports import Lane  # noqa: PLC0415
    from execution.domain.trading import OrderPurpose  # noqa: PLC0415
    from execution.pipeline import evidence, place_order, placing  # noqa: PLC0415

    intend, send = placing.intend, placing.send
    unwritten: dict[str, Callable[[], Any]] = {}

    def intend_later(request: Any, intention: Any, **options: Any) -> Any:
        if intention.purpose is not OrderPurpose.ENTRY:
            return intend(request, intention, **options)
        with transaction.atomic():
            written = intend(request, intention, **options)
            transaction.set_rollback(True)
        if written:
            unwritten[written[1].client_order_id] = lambda: intend(request, intention, **options)
        return written

    def send_first(order: Any, ticket: Any, *, exchange: Any, clock: Any) -> Any:
        write = unwritten.pop(ticket.client_order_id, None)
        if write is None:
            return send(order, ticket, exchange=exchange, clock=clock)
        latest = clock() + placing.LONGEST_WAIT_BEFORE_SENDING
        outcome = exchange.place(ticket, Lane.ENTRY, send_before=latest)
        written = write()
        if written is None:
            return None
        if isinstance(outcome, Accepted):
            evidence.settle_accepted(written[0], outcome.report, now=clock(), source="answer")
        elif isinstance(outcome, Refused):
            evidence.settle_refused(written[0], outcome, now=clock())
        else:
            evidence.settle_unknown(written[0], outcome, now=clock())
        return outcome

    for module in (placing, place_order):
        module.intend, module.send = intend_later, send_first  # type: ignore[attr-defined]


def update_whatever_the_state() -> None:
    """Conditional update: a row is moved on whatever state it is in."""
    from execution.pipeline.write import Write  # noqa: PLC0415 -- Django must be set up first

    add = Write._add

    def add_without_condition(self: Any, part: str, *parameters: Any) -> None:
        add(self, part.replace(" AND state = %s", " AND (state = %s OR true)"), *parameters)

    Write._add = add_without_condition  # type: ignore[method-assign]


def send_again_when_unknown() -> None:
    """Look-up before resend: an order of unknown outcome is sent again at once, without asking what became of it."""
    from execution.domain.outcomes import Unknown  # noqa: PLC0415 -- Django must be set up first
    from execution.domain.trading import OrderPurpose  # noqa: PLC0415
    from execution.pipeline import placing  # noqa: PLC0415

    attempt = placing._Sending.__call__

    def attempt_again(self: Any) -> Any:
        outcome = attempt(self)
        if not isinstance(outcome, Unknown):
            return outcome
        latest = self.clock() + placing.LONGEST_WAIT_BEFORE_SENDING
        return self.exchange.place(self.ticket, placing.LANES[OrderPurpose(self.order.purpose)], send_before=latest)

    placing._Sending.__call__ = attempt_again  # type: ignore[method-assign]


def acknowledge_before_the_commit() -> None:
    """Acknowledgement after commit: stream entries are acknowledged when they are read."""
    from execution.pipeline import read_events  # noqa: PLC0415 -- Django must be set up first

    handle = read_events._handle

    def acknowledge_first(bus: Any, entries: Any, starters: Any, rules: Any, clock: Any) -> int:
        bus.acknowledge(entries)
        return handle(bus, entries, starters, rules, clock)

    read_events._handle = acknowledge_first


def forget_the_fence() -> None:
    """Fencing: a process counts its right to send from when it looks, not from what the row says."""
    from execution.pipeline import placing  # noqa: PLC0415 -- Django must be set up first

    attempt = placing._Sending.__call__

    def attempt_unfenced(self: Any) -> Any:
        self.order.sent_at = self.clock()
        return attempt(self)

    placing._Sending.__call__ = attempt_unfenced  # type: ignore[method-assign]


SAFEGUARDS: Mapping[str, Callable[[], None]] = {
    "intent row": write_the_entry_after_the_call,
    "conditional update": update_whatever_the_state,
    "look-up before resend": send_again_when_unknown,
    "acknowledgement after commit": acknowledge_before_the_commit,
    "fencing": forget_the_fence,
}
# The rows that must turn red, each at a number of workers.
MUST_CATCH: Mapping[str, Sequence[tuple[int, int]]] = {
    "intent row": ((1, 8),),
    "conditional update": ((15, 8),),
    "look-up before resend": ((5, 2), (7, 2)),
    "acknowledgement after commit": ((4, 1),),
    "fencing": ((18, 2),),
}


def break_safeguard(**_: Any) -> None:
    SAFEGUARDS[os.environ["CHAOS_BROKEN"]]()


# Only in a worker that the runner has started for it, after Django is set up and before its pool is forked.
if "CHAOS_BROKEN" in os.environ:
    celeryd_after_setup.connect(break_safeguard)
