"""Every order that reduces a position, crossed with every filter that may stand against it, long and short.

The filters change while the position is open, as they do at the exchange. Whatever they are, the position is covered,
its levels do what they are for, and nothing is sent that the exchange refuses for a filter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.authorization import Authorization
from execution.domain.external import ExternalPositions
from execution.domain.kill_switch import KillLevel
from execution.domain.money import ceil_to, floor_to
from execution.domain.protection_moves import ProtectionMove
from execution.models import Order, Trade
from execution.protection.amend_bracket import move_protection
from execution.protection.coverage import uncovered_positions
from execution.reconciliation.enforce_ess_trip import TripAction, work_off_trip
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.risk.kill_switch import engage
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

pytestmark = pytest.mark.django_db
D = Decimal
SYMBOL, SIZE = "BTCUSDT", D("0.010")
FILTERS: Mapping[str, Mapping[str, str]] = {
    "market maximum": {"market_max_quantity": "0.004"},
    "coarser step and least quantity": {"step": "0.004"},
    "coarser tick": {"tick": "7"},
    "minimum notional": {"min_notional": "1000"},
    "all of them": {"market_max_quantity": "0.004", "step": "0.002", "tick": "7", "min_notional": "1000"},
}
FILTER_CODES = {-1013, -1111, -4003, -4004, -4005, -4014, -4023, -4164}
WORD = Authorization(by="anna", reason="a test")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a story plays: at which desk, on which side, in which mode, and how the exchange changes its terms."""

    desk: Desk
    side: str
    hedged: bool
    terms: Mapping[str, str]

    def at(self, winning: str) -> str:
        """Return the price that lies so far on the winning side of 50000; below zero on the losing one."""
        return format(D(50000) + (D(winning) if self.side == "buy" else -D(winning)), "f")

    def on_tick(self, winning: str) -> str:
        """Return that price on the present tick, not nearer to 50000 than asked."""
        price, tick = D(self.at(winning)), D(self.terms.get("tick", "0.1"))
        return format((ceil_to if price > 50000 else floor_to)(price, tick), "f")

    def opened(self, **fields: Any) -> UUID:
        request_id = self.desk.signal(side=self.side, **({"stop_loss": self.at("-1000")} | fields))
        assert self.desk.run(request_id) == "RECORDED", self.desk.request(request_id).reason
        return request_id

    def change(self) -> None:
        self.desk.paper.control("POST", "symbols", {"symbol": SYMBOL, **self.terms})
        # Told within one cycle to all.
        self.watch()

    def watch(self, cycles: int = 1, seconds: float = 3) -> None:
        for _ in range(cycles):
            self.desk.clock.let_pass(seconds)
            self.desk.cycle()

    def move(self, *winning: str) -> None:
        for price in winning:
            self.desk.paper.set_price(SYMBOL, self.on_tick(price))
            self.watch(2)

    def lose(self, kind: str) -> None:
        """Let a person cancel our orders of a kind; the monitor places them anew, under the present filters."""
        for row in self.desk.ledger.live(kind, SYMBOL):
            self.desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": row["clientAlgoId"]})
        self.watch(2)

    def by_hand(self) -> None:
        opening = "BUY" if self.side == "buy" else "SELL"
        side = {"positionSide": "LONG" if self.side == "buy" else "SHORT"} if self.hedged else {}
        self.desk.person.new_order(symbol=SYMBOL, side=opening, type="MARKET", quantity="0.010", **side)


def stop(place: Place) -> None:
    place.opened(take_profit=place.at("5000"))
    place.change()
    place.lose("STOP_MARKET")
    place.move("-1010")


def target(place: Place) -> None:
    place.opened(take_profit=place.at("1000"))
    place.change()
    place.lose("TAKE_PROFIT_MARKET")
    place.move("1010")


def three_targets(place: Place) -> None:
    shares = [(place.at("1000"), "0.3"), (place.at("1100"), "0.3"), (place.at("1200"), "0.4")]
    place.opened(take_profits=[{"price": price, "share": share} for price, share in shares])
    place.change()
    place.move("1010", "1110", "1210")


def trailing(place: Place) -> None:
    place.opened(take_profit=place.at("9000"), trailing={"callback_percent": "1"})
    place.change()
    place.lose("TRAILING_STOP_MARKET")
    place.move("2000", "1000")


def break_even(place: Place) -> None:
    shares = [(place.at("1000"), "0.4"), (place.at("3000"), "0.6")]
    targets = [{"price": price, "share": share} for price, share in shares]
    place.opened(take_profits=targets, break_even=True)
    place.change()
    place.move("1010", "30")


def moved_stop(place: Place) -> None:
    request_id = place.opened(take_profit=place.at("5000"))
    place.change()
    tick = D(place.terms.get("tick", "0.1"))
    price = D(place.at("-500")) // tick * tick
    asked = ProtectionMove(stop_price=price)
    assert move_protection(request_id, asked, WORD, exchange=place.desk.exchange, now=place.desk.clock()) == 1
    place.watch(2)
    place.move("-520")


def time_exit(place: Place) -> None:
    place.opened(take_profit=place.at("5000"), time_exit_seconds=600)
    place.change()
    place.watch(seconds=601)
    place.watch(2)


def kill_switch(place: Place) -> None:
    place.opened(take_profit=place.at("5000"))
    place.change()
    engage(KillLevel.FLATTEN, WORD, now=place.desk.clock())
    work_off_kill_switch(exchange=place.desk.exchange, rules=place.desk._protection(), clock=place.desk.clock)
    place.watch(2)


def trip_action(place: Place) -> None:
    place.opened(take_profit=place.at("5000"))
    place.change()
    place.desk.publish("ess.tripped", {"reason": "drawdown", "timestamp": place.desk.clock().isoformat()})
    place.desk.read_bus()
    rules = place.desk._protection()
    work_off_trip(TripAction.FLATTEN, exchange=place.desk.exchange, rules=rules, clock=place.desk.clock)
    place.watch(2)


def adoption(place: Place) -> None:
    place.desk.external = ExternalPositions.ADOPT
    place.by_hand()
    place.change()
    place.watch(3)
    assert Trade.objects.get().state == "OPEN"
    place.move("-1400")


def external_guard(place: Place) -> None:
    place.desk.external = ExternalPositions.PROTECT
    place.by_hand()
    place.change()
    place.watch(3)
    assert place.desk.ledger.live_stops
    place.move("-1400")
    place.watch(3)


def level_passed(place: Place) -> None:
    """Let a stop be lost, and its level have passed before it can be placed anew."""
    place.opened(take_profit=place.at("5000"))
    place.change()
    refused = {"code": -2021, "msg": "Order would immediately trigger."}
    fault = {"action": "reply", "status": 400, "body": refused, "match": {"type": "STOP_MARKET"}, "count": None}
    place.desk.paper.add_fault(path=ALGO_ORDER, method="POST", **fault)
    place.lose("STOP_MARKET")
    place.watch(2)


def lost_in_silence(place: Place) -> None:
    """Let a person reduce the position, so that every exit has to follow."""
    place.opened(take_profit=place.at("1000"))
    place.change()
    closing = "SELL" if place.side == "buy" else "BUY"
    side = {"positionSide": "LONG" if place.side == "buy" else "SHORT"} if place.hedged else {"reduceOnly": "true"}
    quantity = "0.004"
    place.desk.person.new_order(symbol=SYMBOL, side=closing, type="MARKET", quantity=quantity, **side)
    place.watch(3)
    place.move("1010")


STORIES: list[Callable[[Place], None]] = [
    stop,
    target,
    three_targets,
    trailing,
    break_even,
    moved_stop,
    time_exit,
    kill_switch,
    trip_action,
    adoption,
    external_guard,
    level_passed,
    lost_in_silence,
]


@pytest.mark.parametrize(("side", "hedged"), [("buy", False), ("sell", True)], ids=["long one-way", "short hedge"])
@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_reducing_order_obeys_every_filter(
    desk: Desk,
    story: Callable[[Place], None],
    filters: str,
    side: str,
    hedged: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    if hedged:
        desk.person.change_position_mode(dualSidePosition="true")
    place = Place(desk=desk, side=side, hedged=hedged, terms=FILTERS[filters])

    story(place)

    # It should be out of the position, as far as any order can close it.
    left = abs(desk.ledger.positions.get(SYMBOL, D(0)))
    step = D(place.terms.get("step", "0.001"))
    assert left == 0 or (hedged and left == SIZE % step < step), left
    # It should not have sent what filters refuse, but for orders that were on their way when they changed.
    assert refused_by_filters() == []
    if left == 0:
        assert desk.ledger.live() == []
        assert not Trade.objects.exclude(state="CLOSED").exists()
        # What a person has paid for opening it is in no books of ours.
        if story not in {external_guard, adoption}:
            desk.check()
    else:
        assert [each.sentence.split(":")[0].split()[-1] for each in uncovered_positions()] == ["REMAINDER_UNTRADABLE"]
        assert sends_nothing_more(place)


def refused_by_filters() -> list[tuple[str, str, int | None]]:
    orders = Order.objects.filter(error_code__in=FILTER_CODES)
    return list(orders.values_list("purpose", "order_type", "error_code"))


def sends_nothing_more(place: Place) -> bool:
    """Whether the monitor leaves alone what no order can change."""
    before = Order.objects.count()
    place.watch(3, seconds=10)
    return Order.objects.count() == before
