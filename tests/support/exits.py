"""Every way in which the service closes a position at market, as a story arranges it and lets it act."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from execution.domain.authorization import Authorization
from execution.domain.external import ExternalPositions
from execution.domain.kill_switch import KillLevel
from execution.domain.reasons import CloseReason
from execution.models import EssStatus, Order, Trade
from execution.protection.ensure_exits import ensure_exits
from execution.reconciliation.actions import CloseInTime
from execution.reconciliation.enforce_ess_trip import TripAction, work_off_trip
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.reconciliation.repair import repair
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.kill_switch import engage
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ALGO_ORDER

SYMBOL = "BTCUSDT"
SIDES, MODES = ("buy", "sell"), ("one-way", "hedge")


@dataclass(frozen=True, kw_only=True)
class Exit:
    """One way out: what has to be so before, and who closes then. `one_way`: it exists in that mode only."""

    name: str
    act: Callable[[Desk, UUID], None]
    arrange: Callable[[Desk, UUID], None] = lambda _desk, _pk: None
    adopted: bool = False
    one_way: bool = False
    # What rests beside the position when it is closed.
    has_stop: bool = True


def opened(desk: Desk, way: Exit, *, side: str, mode: str = "one-way") -> UUID:
    """Open a position on this side and mode, by a decision or by a person, and arrange what the way out needs."""
    # The monitor works, so that the protector does nothing in its place.
    desk.cycle()
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    request_id = _adopted(desk, side, mode) if way.adopted else desk.trade_opened(side=side)
    way.arrange(desk, request_id)
    return request_id


def by_hand(desk: Desk, side: str, mode: str, quantity: str, *, closing: bool = False) -> None:
    """Let a person trade at the same account; `side` is that of the position."""
    sides = {"buy": ("BUY", "SELL", "LONG"), "sell": ("SELL", "BUY", "SHORT")}[side]
    place = {"positionSide": sides[2]} if mode == "hedge" else {"reduceOnly": "true"} if closing else {}
    desk.person.new_order(symbol=SYMBOL, side=sides[closing], type="MARKET", quantity=quantity, **place)


def _adopted(desk: Desk, side: str, mode: str) -> UUID:
    desk.external = ExternalPositions.ADOPT
    by_hand(desk, side, mode, "0.010")
    desk.cycle()
    desk.cycle()
    return Trade.objects.get(state="OPEN").pk


# Who closes


def _in_time(desk: Desk, request_id: UUID) -> None:
    repair(CloseInTime(trade_id=request_id, reason=CloseReason.TIME), desk.tools())


def _by_kill_switch(desk: Desk, _: UUID) -> None:
    engage(KillLevel.FLATTEN, Authorization(by="anna", reason="test"), now=desk.clock())
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


def _by_trip(desk: Desk, _: UUID) -> None:
    now = desk.clock()
    known = {"state": "TRIPPED", "permitted": False, "reason": "test", "source": "event", "observed_at": now}
    EssStatus.objects.update_or_create(defaults=known)
    work_off_trip(TripAction.FLATTEN, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


def _by_chain(desk: Desk, request_id: UUID) -> None:
    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


def _by_protector(desk: Desk, request_id: UUID) -> None:
    Trade.objects.filter(pk=request_id).update(updated_at=desk.clock() - timedelta(minutes=1))
    ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(days=1))


# What is so before


def _stop_refused(desk: Desk, request_id: UUID) -> None:
    """Lose the stop, and let its level have passed: every new one is refused."""
    _refuse(desk, "STOP_MARKET")
    _lose(desk, request_id, "STOP")


def _target_reached(desk: Desk, request_id: UUID) -> None:
    _refuse(desk, "TAKE_PROFIT_MARKET")
    _lose(desk, request_id, "TARGET")


def _dust(desk: Desk, request_id: UUID) -> None:
    """Leave less than the symbol's step."""
    by_hand(desk, "buy" if desk.trade(request_id).direction == "LONG" else "sell", "one-way", "0.004", closing=True)
    desk.clock.let_pass(3)
    desk.cycle()
    desk.paper.control("POST", "symbols", {"symbol": SYMBOL, "step": "0.01"})
    desk.exchange._market.forget_rules()
    desk.exchange.rules(SYMBOL)


def _refuse(desk: Desk, kind: str) -> None:
    match = {"type": kind}
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, count=None, match=match, id=kind)


def _lose(desk: Desk, request_id: UUID, purpose: str) -> None:
    for order in Order.objects.filter(request_id=request_id, purpose=purpose, state="ACCEPTED"):
        desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": order.client_order_id})
        Order.objects.filter(pk=order.pk).update(state="CANCELED")


IN_TIME = Exit(name="time exit", act=_in_time)
KILL_SWITCH = Exit(name="kill switch", act=_by_kill_switch)
TRIP = Exit(name="trip", act=_by_trip)
CHAIN = Exit(name="chain", act=_by_chain, arrange=_stop_refused, has_stop=False)
PROTECTOR = Exit(name="protector", act=_by_protector, arrange=_stop_refused, has_stop=False)
TARGET = Exit(name="target", act=_by_chain, arrange=_target_reached)
DUST = Exit(name="dust", act=_by_chain, arrange=_dust, one_way=True)
ADOPTED = Exit(name="adopted", act=_by_chain, arrange=_stop_refused, adopted=True, has_stop=False)
EXITS = (IN_TIME, KILL_SWITCH, TRIP, CHAIN, PROTECTOR, TARGET, DUST, ADOPTED)


def each_exit() -> list[tuple[Exit, str, str]]:
    """Return every way out on both sides and in each mode that it has; neighbours turn round which side has which."""
    found = []
    for number, way in enumerate(EXITS):
        modes = MODES[:1] * 2 if way.one_way else MODES
        sides = SIDES if number % 2 else SIDES[::-1]
        found += [(way, side, mode) for side, mode in zip(sides, modes, strict=True)]
    return found


def named(case: object) -> str:
    return case.name if isinstance(case, Exit) else str(case)
