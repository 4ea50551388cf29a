"""Kill switch and trip close several positions at a time: none waits for the answer about another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.models import KillSwitch, Trade
from execution.reconciliation.enforce_ess_trip import TripAction, work_off_trip
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.risk.kill_switch import engage
from execution.signals.accept import ESS_TRIPPED
from tests.support.desk import Desk
from tests.support.ledger import ORDER

pytestmark = pytest.mark.django_db(transaction=True)
# Shorter than the receive window, and far longer than the other positions' closes take.
DELAY_MS = 2500
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
Spare = Callable[[], Any]


def spares(desk: Desk) -> Spare:
    @contextmanager
    def spare() -> Iterator[Exchange]:
        yield desk.another().exchange

    return spare


def switch(desk: Desk) -> bool:
    if not KillSwitch.objects.filter(released_at=None).exists():
        engage(KillLevel.FLATTEN, Authorization(by="test", reason="tried"), now=desk.clock())
    rules = desk._protection()
    return work_off_kill_switch(exchange=desk.exchange, rules=rules, clock=desk.clock, spare=spares(desk))


def trip(desk: Desk) -> bool:
    desk.publish(ESS_TRIPPED, {"reason": "tried", "timestamp": desk.clock().isoformat()})
    desk.read_bus()
    rules = desk._protection()
    work_off_trip(TripAction.FLATTEN, exchange=desk.exchange, rules=rules, clock=desk.clock, spare=spares(desk))
    return True


both_words = pytest.mark.parametrize("word", [switch, trip])
both_sides = pytest.mark.parametrize("side", ["buy", "sell"])


def opened(desk: Desk, side: str) -> dict[str, UUID]:
    found = {symbol: desk.trade_opened(symbol, side) for symbol in SYMBOLS}
    desk.paper.clear_ledger()
    return found


@both_words
@both_sides
def test_no_close_waits_for_the_answer_about_another(desk: Desk, word: Callable[[Desk], bool], side: str) -> None:
    opened(desk, side)
    slow, *others = SYMBOLS
    desk.paper.add_fault(path=ORDER, method="POST", action="delay", ms=DELAY_MS, count=1, match={"symbol": slow})

    word(desk)

    # It should have closed the first one last, though it is the oldest, and each once.
    closes = [row["symbol"] for row in desk.ledger.orders if row["reduceOnly"]]
    assert (sorted(closes[:3]), closes[3:]) == (sorted(others), [slow])
    assert desk.ledger.positions == {}
    desk.clock.let_pass(10)
    desk.cycle()
    assert set(Trade.objects.values_list("state", flat=True)) == {"CLOSED"}
    desk.check()


@both_words
@both_sides
def test_a_position_that_cannot_be_closed_keeps_no_other_open(
    desk: Desk, word: Callable[[Desk], bool], side: str
) -> None:
    opened(desk, side)
    mute, *_ = SYMBOLS
    desk.paper.add_fault(path=ORDER, method="POST", action="refuse", status=400, code=-4131, match={"symbol": mute})

    word(desk)

    assert set(desk.ledger.positions) == {mute}


@both_sides
def test_resting_entries_are_cancelled_side_by_side(desk: Desk, side: str) -> None:
    prices = {"BTCUSDT": 50000, "ETHUSDT": 2500, "SOLUSDT": 150}
    requests = {}
    for symbol, price in prices.items():
        away = Decimal(price) * (Decimal("0.99") if side == "buy" else Decimal("1.01"))
        requests[symbol] = desk.signal(
            symbol, side, price=format(away, "f"), quantity="1.0" if price < 9999 else "0.010"
        )
        assert desk.run(requests[symbol]) == "ACCEPTED", desk.request(requests[symbol]).reason
    slow, *others = prices
    desk.paper.clear_ledger()
    desk.paper.add_fault(path=ORDER, method="DELETE", action="delay", ms=DELAY_MS, count=1, match={"symbol": slow})

    assert switch(desk)

    # The look-up that follows a cancel tells who had its answer first.
    asked = [row["params"]["symbol"] for row in desk.ledger.requests if (row["method"], row["path"]) == ("GET", ORDER)]
    assert (sorted(asked[:2]), asked[2:]) == (sorted(others), [slow])
    assert {desk.request(pk).state for pk in requests.values()} == {"CANCELED"}


def test_what_the_exchange_does_not_answer_is_said_after_all_were_tried(desk: Desk) -> None:
    opened(desk, "buy")
    mute, *_ = SYMBOLS
    desk.paper.add_fault(path=ORDER, method="POST", action="refuse", code=-4131, count=None, match={"symbol": mute})
    desk.paper.add_fault(
        path="/fapi/v3/positionRisk", method="GET", action="refuse", status=503, code=-1008, count=None
    )

    with pytest.raises(ExchangeUnavailableError):
        switch(desk)

    assert set(desk.ledger.positions) == {mute}
