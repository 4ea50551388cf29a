"""What the service costs at the exchange in request weight: idle, and for a whole round trip, by the exchange's table.

Time is stepped: the stream reads, beat's cycle runs every ten seconds and the watchdog of stops every two, as in
production. The numbers are exact, so that one more reading is seen.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import pytest

from execution import wiring
from execution.domain import policy as keys
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import StreamedFill, VenueBlock
from execution.operations.single_flight import Duty, single_flight
from execution.protection.reached_levels import note_reached_levels
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.reconciliation.reading_plan import WHOLE_EVERY, WHOLE_WEIGHT
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.kill_switch import engage
from execution.risk.policy_store import set_policy_value
from execution.store.heartbeats import beat
from execution.store.stream_freshness import MARK_STREAM
from execution.tasks import run_monitor_cycle
from paper_exchange.http.params import Params
from paper_exchange.http.routes import ROUTES
from tests.support.desk import PATIENCE, Desk
from tests.support.listener import Listener
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
SYMBOLS = tuple(
    f"{base}USDT"
    for base in ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "LTC", "LINK", "AVAX", "DOT", "TRX", "BCH")
)
CYCLE_SECONDS, PROTECTOR_SECONDS, MINUTE = 10, 2, 60
MONITOR_SILENT_AFTER = timedelta(seconds=22)
# No funding is due near this minute.
QUIET_MINUTE = 20


@dataclass(kw_only=True)
class Stack:
    """The service's periodic parts in one process, with a clock that is stepped."""

    desk: Desk
    listener: Listener | None = None
    passed: int = 0
    marks: dict[str, Decimal] = field(default_factory=dict)

    def let_pass(self, seconds: int) -> None:
        for _ in range(0, seconds, PROTECTOR_SECONDS):
            self.desk.clock.let_pass(PROTECTOR_SECONDS)
            self.passed += PROTECTOR_SECONDS
            self.report()
            ensure_cover(self.desk.tools(), patience=PATIENCE, monitor_silent_after=MONITOR_SILENT_AFTER)
            if self.passed % CYCLE_SECONDS == 0:
                self.desk.cycle(by_beat=True)

    def report(self) -> None:
        """Let the streams report, when they are up."""
        if self.listener is None:
            return
        self.listener.step()
        note_reached_levels(self.marks, now=self.desk.clock())
        beat(MARK_STREAM, now=self.desk.clock(), details={})


def weights(desk: Desk) -> dict[str, int]:
    """Return the weight of what was asked since the ledger was cleared, by request. Public readings are the test's."""
    found: Counter[str] = Counter()
    for row in desk.ledger.requests:
        route = ROUTES[row["method"], row["path"]]
        found[f"{row['method']} {row['path']}"] += route.weigh(Params({k: str(v) for k, v in row["params"].items()}))
    return {name: weight for name, weight in found.items() if weight}


@pytest.fixture
def stack(desk: Desk) -> Stack:
    """The parts without the user-data stream, at a time of day when no funding is due."""
    ahead = timedelta(minutes=(QUIET_MINUTE - desk.exchange.now().minute) % 60)
    desk.paper.control("POST", "clock", {"advance_ms": int(ahead.total_seconds() * 1000)})
    desk.clock.stop()
    timed = desk.another(monotonic=lambda: desk.clock().timestamp())
    set_policy_value(keys.MAX_POSITIONS, Decimal(50), source="test", now=desk.clock())
    return Stack(desk=timed)


@pytest.fixture
def streaming(stack: Stack) -> Iterator[Stack]:
    """The parts with the user-data stream up."""
    with Listener(desk=stack.desk) as listener:
        stack.listener = listener.connect()
        yield stack


def opened(stack: Stack, number: int, side: str) -> list[UUID]:
    trades = [stack.desk.trade_opened(symbol, side) for symbol in SYMBOLS[:number]]
    if stack.listener:
        stack.listener.until(lambda: StreamedFill.objects.count() >= number, what="entries are reported")
    return trades


def minute(stack: Stack) -> dict[str, int]:
    """Return the weight of an idle minute, after everything was read once."""
    stack.let_pass(CYCLE_SECONDS)
    stack.desk.paper.clear_ledger()
    stack.let_pass(MINUTE)
    return weights(stack.desk)


ALGO_LISTS, LISTS = "GET /fapi/v1/openAlgoOrders", "GET /fapi/v1/openOrders"
POSITIONS, SYMBOL_CONFIG = "GET /fapi/v3/positionRisk", "GET /fapi/v1/symbolConfig"
# In each regular minute: six readings of the positions and the listing, one of the account's settings and wallets.
REGULAR = {
    POSITIONS: 30,
    "GET /fapi/v1/exchangeInfo": 6,
    "GET /fapi/v1/accountConfig": 5,
    SYMBOL_CONFIG: 5,
    "GET /fapi/v3/account": 5,
    "GET /fapi/v1/assetIndex": 10,
}


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("number", "legs"), [(1, 6), (13, 39)])
def test_idle_minute_with_the_stream_up(streaming: Stack, number: int, legs: int, side: str) -> None:
    opened(streaming, number, side)

    found = minute(streaming)

    assert found == {**REGULAR, ALGO_LISTS: legs}
    # Every five minutes both lists are read with all symbols.
    assert sum(found.values()) + WHOLE_WEIGHT * (timedelta(minutes=1) / WHOLE_EVERY) <= 120
    streaming.desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("number", [1, 13])
def test_idle_minute_without_the_stream(stack: Stack, number: int, side: str) -> None:
    opened(stack, number, side)

    # Everything in each cycle, and the positions by the watchdog of stops every two seconds, as well as by the cycle.
    assert minute(stack) == {
        **REGULAR,
        POSITIONS: 30 + 150,
        ALGO_LISTS: 240,
        LISTS: 240,
        "GET /fapi/v1/accountConfig": 30,
        SYMBOL_CONFIG: 30,
        "GET /fapi/v3/account": 30,
    }


Way = Callable[[Desk, str], None]


def stopped_out(desk: Desk, side: str) -> None:
    desk.paper.set_price("ETHUSDT", "2390" if side == "buy" else "2610")


def target_met(desk: Desk, side: str) -> None:
    desk.paper.set_price("ETHUSDT", "2610" if side == "buy" else "2390")


def flattened(desk: Desk, _: str) -> None:
    engage(KillLevel.FLATTEN, Authorization(by="test", reason="tried"), now=desk.clock())
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock, spare=None)


# What ends a position, with the weight of it: each leg that is left costs its cancel and the look at what became of it.
WAYS: Mapping[str, tuple[Way, dict[str, int]]] = MappingProxyType(
    {
        "a stop fills": (stopped_out, {"DELETE /fapi/v1/algoOrder": 1, "GET /fapi/v1/algoOrder": 1}),
        "a target fills": (target_met, {"DELETE /fapi/v1/algoOrder": 1, "GET /fapi/v1/algoOrder": 1}),
        "closed at market": (flattened, {"DELETE /fapi/v1/algoOrder": 2, "GET /fapi/v1/algoOrder": 2, POSITIONS: 5}),
    }
)


def entered(stack: Stack, side: str) -> UUID:
    """Open a position in a symbol that was traded before, moments after another decision."""
    levels = {"stop_loss": 2400, "take_profit": 2600} if side == "buy" else {"stop_loss": 2600, "take_profit": 2400}
    request_id = stack.desk.decide("ETHUSDT", side, **levels)
    stack.desk.run(request_id, until="protect_position")
    if stack.listener:
        entry = stack.desk.order(request_id, "ENTRY")
        stack.listener.until(lambda: StreamedFill.objects.filter(order=entry).exists(), what="the entry is reported")
    stack.desk.run(request_id)
    return request_id


def ended(stack: Stack, request_id: UUID) -> None:
    if stack.listener:
        stack.listener.until(lambda: stack.desk.trade(request_id).state == "CLOSED", what="the trade is closed")
        stack.listener.until(lambda: not stack.desk.ledger.live(), what="its legs are gone")
    else:
        stack.desk.clock.let_pass(PROTECTOR_SECONDS)
        ensure_cover(stack.desk.tools(), patience=PATIENCE, monitor_silent_after=MONITOR_SILENT_AFTER)


def looked_over(stack: Stack, request_id: UUID) -> dict[str, int]:
    """Let the books be looked over in one cycle, and return what that has cost beside the cycle itself."""
    stack.desk.clock.let_pass(MINUTE + 1)
    stack.report()
    stack.desk.paper.clear_ledger()
    stack.desk.cycle(by_beat=True)
    assert stack.desk.trade(request_id).checked_at
    found = weights(stack.desk)
    cycle = {*REGULAR, LISTS, ALGO_LISTS}
    return {name: weight for name, weight in found.items() if name not in cycle}


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("way", "exits"), WAYS.values(), ids=WAYS.keys())
def test_round_trip_with_the_stream_up(streaming: Stack, way: Way, exits: dict[str, int], side: str) -> None:
    desk = streaming.desk
    first = entered(streaming, side)
    target_met(desk, side)
    ended(streaming, first)
    desk.paper.set_price("ETHUSDT", "2500")
    desk.paper.clear_ledger()

    request_id = entered(streaming, side)
    way(desk, side)
    ended(streaming, request_id)

    # The book of a decision, and its legs' ends: no list of fills, no income.
    assert weights(desk) == {"GET /fapi/v1/depth": 2, **exits}
    assert looked_over(streaming, request_id) == {}
    # Orders and their cancels are not counted: each is one request of the position's own.
    assert 2 + sum(weight for name, weight in exits.items() if not name.startswith("DELETE")) <= 9
    desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_round_trip_without_the_stream(stack: Stack, side: str) -> None:
    """Fills and funding are read then, each list once for the books, and the income once more for their correction."""
    desk = stack.desk
    desk.cycle()
    request_id = entered(stack, side)
    desk.clock.let_pass(PROTECTOR_SECONDS)
    desk.paper.clear_ledger()
    target_met(desk, side)

    ended(stack, request_id)

    assert desk.trade(request_id).state == "CLOSED"
    assert weights(desk) == {
        POSITIONS: 5,
        "GET /fapi/v1/userTrades": 5,
        "GET /fapi/v1/income": 30,
        # The cancel of the target shows that it has triggered, and its order what it has filled.
        "DELETE /fapi/v1/algoOrder": 2,
        "GET /fapi/v1/algoOrder": 2,
        "GET /fapi/v1/order": 1,
    }
    assert looked_over(stack, request_id) == {"GET /fapi/v1/income": 30}
    desk.check()


# What is seldom read is seen in time all the same


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("number", "within"), [(1, 10), (13, 20)])
def test_stop_cancelled_by_hand_is_seen_while_the_stream_is_mute(
    streaming: Stack, number: int, within: int, side: str
) -> None:
    trades = opened(streaming, number, side)
    streaming.let_pass(CYCLE_SECONDS)
    streaming.desk.paper.control("POST", "streams/faults", {"action": "silent", "count": None})
    stop = streaming.desk.order(trades[-1], "STOP")
    streaming.desk.person.sign_request("DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": stop.client_order_id})

    streaming.let_pass(within)

    assert streaming.desk.order_states(trades[-1], "STOP") == ["CANCELED", "ACCEPTED"]
    assert streaming.listener is not None
    assert streaming.listener.told["covering"] == "stream"
    streaming.desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_leverage_that_was_set_since_the_settings_were_read_raises_no_alarm(streaming: Stack, side: str) -> None:
    """The account's settings are a minute old at most: what we have set ourselves since is not in them."""
    desk = streaming.desk
    streaming.let_pass(CYCLE_SECONDS)
    desk.paper.clear_ledger()
    opened(streaming, 2, side)
    streaming.let_pass(2 * CYCLE_SECONDS)

    # Each entry has read its own symbol, and no cycle has read them all.
    assert weights(desk)[SYMBOL_CONFIG] == 2 * 5
    assert list(VenueBlock.objects.filter(alarming=True)) == []

    streaming.let_pass(MINUTE)
    assert weights(desk)[SYMBOL_CONFIG] == 3 * 5
    assert list(VenueBlock.objects.filter(alarming=True)) == []


def test_cycle_that_was_asked_for_reads_everything_or_the_next_one_does(streaming: Stack) -> None:
    desk = streaming.desk
    opened(streaming, 1, "buy")
    streaming.let_pass(CYCLE_SECONDS)
    desk.paper.clear_ledger()
    desk.cycle()
    assert weights(desk)[LISTS] == 40

    # The duty is another process's just now, so that the cycle is skipped.
    with single_flight(Duty.WATCH_POSITIONS) as held:
        assert held
        desk.clock.let_pass(1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wiring, "clock", desk.clock)
            at_once([run_monitor_cycle])
    desk.paper.clear_ledger()
    streaming.let_pass(CYCLE_SECONDS)
    assert weights(desk)[LISTS] == 40

    desk.paper.clear_ledger()
    streaming.let_pass(CYCLE_SECONDS)
    assert LISTS not in weights(desk)


def test_cycle_without_lists_does_not_end_the_streams_catching_up(streaming: Stack) -> None:
    assert streaming.listener is not None
    resync = streaming.listener.session.resync
    streaming.let_pass(CYCLE_SECONDS)
    streaming.listener.cycles = False

    resync.require()
    streaming.desk.clock.let_pass(1)
    streaming.desk.cycle(by_beat=True)
    resync.step()
    done = [resync.is_done]
    streaming.desk.clock.let_pass(1)
    streaming.desk.cycle()
    resync.step()

    assert [*done, resync.is_done] == [False, True]
