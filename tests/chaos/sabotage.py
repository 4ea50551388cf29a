"""Breaks one safeguard of the service in the worker that imports this, so that the matrix can be seen to fail.

The runner puts it in front of its own workers by `--include`, and names the safeguard in CHAOS_BROKEN. The service has
no switch for any of this.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from celery.signals import celeryd_after_setup

LATE_SECONDS = 10


def write_the_entry_after_the_call() -> None:
    """Intent row: the entry goes out first and is written down when its answer is there."""
    from django.db import transaction  # noqa: PLC0415 -- Django must be set up first

    from execution.domain.outcomes import Accepted, Refused  # noqa: PLC0415
    from execution.domain.ports import Lane  # noqa: PLC0415
    from execution.domain.trading import OrderPurpose  # noqa: PLC0415
    from execution.orders import apply_report, submit  # noqa: PLC0415 -- Django must be set up first
    from execution.pipeline import place_order  # noqa: PLC0415

    persist_order, send = submit.persist_order, submit.send
    unwritten: dict[str, Callable[[], Any]] = {}

    def intend_later(request: Any, intention: Any, **options: Any) -> Any:
        if intention.purpose is not OrderPurpose.ENTRY:
            return persist_order(request, intention, **options)
        with transaction.atomic():
            written = persist_order(request, intention, **options)
            transaction.set_rollback(True)
        if written:
            unwritten[written[1].client_order_id] = lambda: persist_order(request, intention, **options)
        return written

    def send_first(order: Any, ticket: Any, *, exchange: Any, clock: Any) -> Any:
        write = unwritten.pop(ticket.client_order_id, None)
        if write is None:
            return send(order, ticket, exchange=exchange, clock=clock)
        latest = clock() + submit.LONGEST_WAIT_BEFORE_SENDING
        outcome = exchange.place(ticket, Lane.ENTRY, send_before=latest)
        written = write()
        if written is None:
            return None
        if isinstance(outcome, Accepted):
            apply_report.apply_report(written[0], outcome.report, now=clock(), source="answer")
        elif isinstance(outcome, Refused):
            apply_report.apply_rejection(written[0], outcome, now=clock())
        else:
            apply_report.apply_unknown(written[0], outcome, now=clock())
        return outcome

    for module in (submit, place_order):
        module.persist_order, module.send = intend_later, send_first  # type: ignore[attr-defined]


def update_whatever_the_state() -> None:
    """Conditional update: a row is moved on whatever state it is in."""
    from execution.store.atomic_write import Write  # noqa: PLC0415 -- Django must be set up first

    add = Write._add

    def add_without_condition(self: Any, part: str, *parameters: Any) -> None:
        add(self, part.replace(" AND state = %s", " AND (state = %s OR true)"), *parameters)

    Write._add = add_without_condition  # type: ignore[method-assign]


def send_again_when_unknown() -> None:
    """Look-up before resend: an order of unknown outcome is sent again at once, without asking what became of it."""
    from execution.domain.outcomes import Unknown  # noqa: PLC0415 -- Django must be set up first
    from execution.domain.trading import OrderPurpose  # noqa: PLC0415
    from execution.orders import submit  # noqa: PLC0415

    attempt = submit.Sending.__call__

    def attempt_again(self: Any) -> Any:
        outcome = attempt(self)
        if not isinstance(outcome, Unknown):
            return outcome
        latest = self.clock() + submit.LONGEST_WAIT_BEFORE_SENDING
        return self.exchange.place(self.ticket, submit.LANES[OrderPurpose(self.order.purpose)], send_before=latest)

    submit.Sending.__call__ = attempt_again  # type: ignore[method-assign]


def acknowledge_before_the_commit() -> None:
    """Acknowledgement after commit: stream entries are acknowledged when they are read."""
    from execution.signals import consumer  # noqa: PLC0415 -- Django must be set up first

    handle = consumer._handle

    def acknowledge_first(bus: Any, entries: Any, starters: Any, rules: Any, clock: Any) -> int:
        bus.acknowledge(entries)
        return handle(bus, entries, starters, rules, clock)

    consumer._handle = acknowledge_first


def forget_the_fence() -> None:
    """Fencing: a process counts its right to send from when it looks, not from what the row says."""
    from execution.orders import submit  # noqa: PLC0415 -- Django must be set up first

    attempt = submit.Sending.__call__

    def attempt_unfenced(self: Any) -> Any:
        self.order.sent_at = self.clock()
        return attempt(self)

    submit.Sending.__call__ = attempt_unfenced  # type: ignore[method-assign]


def send_the_stop_at_half_the_price() -> None:
    """Stop price: the order goes out at half the price that is planned, and the books know the plan only."""
    _change_stops_on_the_wire(lambda name, value, ticket: _halfway(value, ticket) if name == "triggerPrice" else value)


def _halfway(price: str, ticket: Any) -> str:
    """Return half of a long's stop, and half as much again of a short's, with as many digits as before."""
    factor = Decimal("0.5") if ticket.side == "SELL" else Decimal("1.5")
    return format((Decimal(price) * factor).quantize(Decimal(price), ROUND_DOWN), "f")


def send_half_of_the_stop() -> None:
    """Stop size: the stop closes half of the position."""
    _change_stops_on_the_wire(lambda name, value, _: _half_of(value) if name == "quantity" else value)


def _half_of(quantity: str) -> str:
    return format((Decimal(quantity) / 2).quantize(Decimal(quantity), ROUND_DOWN), "f")


def let_the_stop_open() -> None:
    """Reduce-only: the stop goes out without it."""
    _change_stops_on_the_wire(lambda name, value, _: None if name == "reduceOnly" else value)


def trigger_by_the_last_price() -> None:
    """Trigger type: the stop waits for the last price, which a single trade moves."""
    _change_stops_on_the_wire(lambda name, value, _: "CONTRACT_PRICE" if name == "workingType" else value)


def _change_stops_on_the_wire(change: Callable[[str, Any, Any], Any]) -> None:
    """Let each parameter of a stop pass through `change` (name, value, ticket) before it is sent; None drops it."""
    from execution.adapters.binance import client, order_parameters  # noqa: PLC0415 -- Django must be set up first
    from execution.domain.trading import OrderType  # noqa: PLC0415

    build = order_parameters.algo_parameters

    def build_changed(ticket: Any) -> dict[str, Any]:
        parameters = build(ticket)
        if ticket.order_type is not OrderType.STOP_MARKET:
            return parameters
        changed = {name: change(name, value, ticket) for name, value in parameters.items()}
        return {name: value for name, value in changed.items() if value is not None}

    _replace(build, build_changed, order_parameters, client)


def _replace(old: Any, new: Any, *modules: Any) -> None:
    """Put a function in the place of another wherever these modules name it; a ValueError when none does."""
    named = [module for module in modules if getattr(module, old.__name__, None) is old]
    if not named:
        raise ValueError(f"{old.__name__} is in none of {[module.__name__ for module in modules]}")
    for module in named:
        setattr(module, old.__name__, new)


def plan_the_stop_twice_as_far() -> None:
    """Planned stop: a default lies at twice its distance, and books and orders agree about it."""
    from execution.domain import brackets, exits  # noqa: PLC0415 -- Django must be set up first

    at = brackets.stop_price_at

    def twice_as_far(direction: Any, reference: Any, fraction: Any) -> Any:
        return at(direction, reference, fraction * 2)

    brackets.stop_price_at = twice_as_far
    exits.STOP = replace(exits.STOP, at=twice_as_far)


def place_the_stop_late() -> None:
    """Stop in time: no process places a stop within ten seconds of the entry."""
    from execution.domain.trading import OrderPurpose  # noqa: PLC0415 -- Django must be set up first
    from execution.protection.bracket_manager import BracketManager  # noqa: PLC0415

    place = BracketManager.place

    def place_late(self: Any, want: Any, **options: Any) -> Any:
        early = self.clock() - self.entry.created_at < timedelta(seconds=LATE_SECONDS)
        return None if early and want.leg.purpose is OrderPurpose.STOP else place(self, want, **options)

    BracketManager.place = place_late  # type: ignore[method-assign]


def count_a_shorts_risk_below_zero() -> None:
    """A short's risk: what its stop may lose is counted without its absolute value, and makes room for others."""
    from execution.domain.limits import OrderImpact  # noqa: PLC0415 -- Django must be set up first
    from execution.store import slots  # noqa: PLC0415

    right = "abs(open.price - COALESCE(request.stop_price, 0))"
    if right not in slots.USAGE:
        raise ValueError(f"the statement of the limits does not read {right}")
    slots.USAGE = slots.USAGE.replace(right, right.removeprefix("abs"))
    of = OrderImpact.of

    def of_signed(symbol: str, **fields: Any) -> Any:
        stake = of(symbol, **fields)
        short = fields["stop_price"] > fields["price"]
        return replace(stake, risk=-stake.risk) if short else stake

    OrderImpact.of = staticmethod(of_signed)  # type: ignore[method-assign]


def forget_the_last_fee() -> None:
    """Fees: the books of a closed trade leave out the commission of its last exit."""
    from execution.domain import pnl  # noqa: PLC0415 -- Django must be set up first

    settle = pnl.result_of

    def settle_without_a_fee(*, exits: Any, **fields: Any) -> Any:
        return settle(exits=[*exits[:-1], replace(exits[-1], commission=Decimal(0))], **fields)

    pnl.result_of = settle_without_a_fee


def stop_at_the_first_changed_trade() -> None:
    """Every trade of a cycle: reconciliation and protector go no further than to the first trade that has changed."""
    from execution.reconciliation import diff, stop_watchdog  # noqa: PLC0415 -- Django must be set up first

    for module, name in ((diff, "_trade_actions"), (stop_watchdog, "_smaller_than_booked")):
        setattr(module, name, _first_of(getattr(module, name)))


def _first_of(found: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    return lambda *arguments, **options: found(*arguments, **options)[:1]


def believe_the_status_of_a_stop() -> None:
    """Overdue stop: a stop counts as protection for as long as its status says that it lives."""
    from execution.domain import overdue as rule  # noqa: PLC0415 -- Django must be set up first
    from execution.protection import bracket_store, cover_unknown_entry, coverage, overdue_stops  # noqa: PLC0415 -- Django must be set up first
    from execution.protection.bracket_manager import BracketManager  # noqa: PLC0415

    def never(stop: Any, *_: Any, **__: Any) -> Any:
        return rule.Watch(best_mark=stop.best_mark)

    def is_relied_on(order: Any) -> bool:
        return bool(order.missing_readings < bracket_store.FORGOTTEN_AFTER_READINGS)

    _replace(rule.watch, never, overdue_stops)
    # The reader of mark prices, which is no worker, goes on noting them.
    _replace(bracket_store.is_relied_on, is_relied_on, bracket_store, coverage, cover_unknown_entry)
    BracketManager.overdue = property(lambda _: [])  # type: ignore[assignment, method-assign]


def do_nothing(*_: Any) -> None:
    """Stand in for what a safeguard does."""


def hold_by_nothing() -> None:
    """Software stop: it stands in the books, and nobody acts on the mark price."""
    from execution.protection import overdue_stops, run_software_stops  # noqa: PLC0415 -- Django must be set up first
    from execution.protection.bracket_manager import BracketManager  # noqa: PLC0415

    _replace(run_software_stops.note_software_stops, lambda *_, **__: (), overdue_stops)
    # The reader of mark prices, which is no worker, goes on noting what it reaches.
    BracketManager.software_stop_reached = property(lambda _: False)  # type: ignore[assignment, method-assign]


def wait_for_redis_without_a_bound() -> None:
    """Waits for Redis: the broker's connections have no time-out and are asked for no sign of life."""
    from execution_project.celery import app  # noqa: PLC0415 -- Django must be set up first

    options = app.conf.broker_transport_options
    options.update(socket_timeout=None, health_check_interval=0)
    del options["socket_connect_timeout"]


def wait_for_postgres_without_a_bound() -> None:
    """Waits for PostgreSQL: a session waits for as long as it takes, and is never asked for a sign of life."""
    from execution_project import waits  # noqa: PLC0415 -- Django must be set up first
    from execution_project.postgres.base import DatabaseWrapper  # noqa: PLC0415

    nothing = waits.DatabaseWaits(lock=0, statement=0, idle_in_transaction=0, answer=0)
    for kind in waits.DATABASE:
        waits.DATABASE[kind] = nothing
    DatabaseWrapper.close_if_health_check_failed = do_nothing  # type: ignore[assignment,method-assign]


def let_a_held_row_fail_the_sweep() -> None:
    """A held row: it counts as a database that is away, and ends the whole sweep."""
    from execution.reconciliation import position_cache, scheduler  # noqa: PLC0415 -- Django must be set up first
    from execution.store import contention  # noqa: PLC0415

    def never(_: BaseException) -> bool:
        return False

    _replace(contention.is_busy, never, contention, position_cache, scheduler)


def end_by_an_answer_of_redis() -> None:
    """Answers of Redis: a worker ends by one that it does not understand, as Celery's default is."""
    from execution_project.celery import app  # noqa: PLC0415 -- Django must be set up first

    app.conf.broker_channel_error_retry = False


def have_no_clock_of_its_own() -> None:
    """The protector's clock: without a broker nobody looks after the stops."""
    from execution_project.own_clock import OwnClock  # noqa: PLC0415 -- Django must be set up first

    OwnClock.start = do_nothing  # type: ignore[assignment,method-assign]


def leave_what_is_left_behind() -> None:
    """Going on: what a killed worker had in its hands waits for the monitor."""
    from execution import tasks  # noqa: PLC0415 -- Django must be set up first
    from execution.reconciliation import stop_watchdog  # noqa: PLC0415

    tasks.unbooked = lambda *_: []  # type: ignore[attr-defined]
    stop_watchdog.entries_in_doubt = lambda *_: []  # type: ignore[attr-defined]


def wait_for_a_lost_close() -> None:
    """Exits are followed: after a close without an answer none is sent until its absence is proven."""
    from execution.protection.market_close import Closing  # noqa: PLC0415 -- Django must be set up first

    def send_once(self: Any, quantity: Decimal, **_: Any) -> Any:
        return self._once(quantity)

    Closing._until_answered = send_once  # type: ignore[method-assign]
    Closing._beside_doubts = lambda self: Decimal(0)  # type: ignore[method-assign]  # noqa: ARG005


def leave_the_quantity_held() -> None:
    """Closes make way: one that is refused while orders rest is sent again as it is."""
    from execution.protection.market_close import Closing  # noqa: PLC0415 -- Django must be set up first

    def leave(self: Any, outcome: Any, quantity: Decimal, **_: Any) -> Any:  # noqa: ARG001
        return outcome

    Closing._free_and_close = leave  # type: ignore[method-assign]


SAFEGUARDS: Mapping[str, Callable[[], None]] = {
    "intent row": write_the_entry_after_the_call,
    "conditional update": update_whatever_the_state,
    "look-up before resend": send_again_when_unknown,
    "acknowledgement after commit": acknowledge_before_the_commit,
    "fencing": forget_the_fence,
    "stop price": send_the_stop_at_half_the_price,
    "planned stop": plan_the_stop_twice_as_far,
    "stop size": send_half_of_the_stop,
    "reduce-only": let_the_stop_open,
    "trigger type": trigger_by_the_last_price,
    "stop in time": place_the_stop_late,
    "a short's risk": count_a_shorts_risk_below_zero,
    "fees": forget_the_last_fee,
    "overdue stop": believe_the_status_of_a_stop,
    "software stop": hold_by_nothing,
    "every trade of a cycle": stop_at_the_first_changed_trade,
    "waits for Redis": wait_for_redis_without_a_bound,
    "waits for PostgreSQL": wait_for_postgres_without_a_bound,
    "held rows": let_a_held_row_fail_the_sweep,
    "answers of Redis": end_by_an_answer_of_redis,
    "the protector's clock": have_no_clock_of_its_own,
    "going on": leave_what_is_left_behind,
    "exits are followed": wait_for_a_lost_close,
    "closes make way": leave_the_quantity_held,
}


@dataclass(frozen=True, kw_only=True)
class Catch:
    """A cell that must turn red, and by what: a pattern of the sentence that it shows then.

    Red for another reason is not caught: a patch that no longer fits the service would turn everything red.
    """

    row: int
    workers: int
    text: str
    # The kind of violation that the service's own oracle has to count; empty where its cycle cannot see the fault.
    oracle: str = ""


# A stop that does not protect: found while the invariants are waited for.
NOT_THE_PLAN = r"I4: \w+ BOTH -?[\d.]+: es1-s"
MUST_CATCH: Mapping[str, Sequence[Catch]] = {
    # Positions that are in no row are found, or later entries of the story are refused for them.
    "intent row": (Catch(row=1, workers=8, text=r"I[123]:|'DENIED'"),),
    "conditional update": (Catch(row=15, workers=8, text=r"I[1238]:"),),
    "look-up before resend": (Catch(row=5, workers=2, text=r"I[123]:"), Catch(row=7, workers=2, text=r"I[123]:")),
    "acknowledgement after commit": (Catch(row=4, workers=1, text=r"I2:|0 decisions not acknowledged"),),
    "fencing": (Catch(row=18, workers=2, text=r"given up"),),
    # Long and short, by the number of workers.
    "stop price": tuple(
        Catch(row=14, workers=count, text=rf"{NOT_THE_PLAN}.*: price", oracle="stop_price") for count in (1, 2)
    ),
    "planned stop": tuple(Catch(row=14, workers=count, text=r"plans are not what was decided") for count in (1, 2)),
    "stop size": (Catch(row=14, workers=2, text=r"I4: \w+ -?[\d.]+: \[", oracle="cover_short"),),
    "reduce-only": (Catch(row=14, workers=2, text=rf"{NOT_THE_PLAN}.*: not reduce-only", oracle="exit_not_reducing"),),
    "trigger type": (Catch(row=14, workers=2, text=rf"{NOT_THE_PLAN}.*: trigger type", oracle="exit_trigger_type"),),
    "stop in time": (Catch(row=14, workers=2, text=r"I4: 1\d\.\d s without its stop"),),
    "a short's risk": tuple(Catch(row=67, workers=count, text=r"loses more than a day may") for count in (1, 2)),
    "fees": (Catch(row=35, workers=2, text=r"I9: (?:trade|our books)"),),
    # Long and short are in each cell.
    "overdue stop": tuple(
        Catch(
            row=number,
            workers=2,
            text=r"a stop that did not execute is named|an event tells of each position|the positions are closed",
        )
        for number in (70, 74)
    ),
    # Long and short are in each cell.
    "software stop": tuple(Catch(row=number, workers=2, text=r"the positions are closed") for number in (93, 94)),
    "every trade of a cycle": (Catch(row=66, workers=2, text=r"the readable trade is closed"),),
    "waits for Redis": (Catch(row=86, workers=1, text=r"heartbeats missing|all heartbeats are back"),),
    "waits for PostgreSQL": (Catch(row=87, workers=1, text=r"the stop covers|heartbeats missing|heartbeats are back"),),
    "held rows": (Catch(row=88, workers=1, text=r"health names what is held|is booked|others waited|has not run"),),
    "answers of Redis": (Catch(row=89, workers=1, text=r"processes ended|the stop covers"),),
    "the protector's clock": (Catch(row=89, workers=2, text=r"the stop covers"),),
    # Long and short, by the number of workers.
    # Long and short, by the number of workers.
    "going on": tuple(Catch(row=96, workers=count, text=r"s from a fill to the books|I4: ") for count in (1, 2)),
    "exits are followed": tuple(Catch(row=76, workers=count, text=r"the positions are closed") for count in (1, 2)),
    "closes make way": (Catch(row=82, workers=2, text=r"the trades are closed"),),
}


def break_safeguard(**_: Any) -> None:
    SAFEGUARDS[os.environ["CHAOS_BROKEN"]]()


# Only in a worker that the runner has started for it, after Django is set up and before its pool is forked.
if "CHAOS_BROKEN" in os.environ:
    celeryd_after_setup.connect(break_safeguard)
