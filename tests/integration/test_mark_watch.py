"""The stream of mark prices on the paper exchange: it notes what passes a stop, calls the protector, and comes back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from threading import Event
from time import monotonic

import pytest

from execution.adapters.binance.mark_stream import BinanceMarkStream, read_marks
from execution.domain.ports import MarkConnection, StreamClosedError
from execution.models import Heartbeat, Order
from execution.store.stream_freshness import MARK_STREAM, marks_are_streamed
from execution.user_stream.dispatch import BrokerSilentError
from execution.user_stream.mark_prices import MOST_SILENT, MarkWatch
from tests.support.desk import Desk, ShiftedClock

pytestmark = pytest.mark.django_db
D = Decimal
BTC = "BTCUSDT"
STOPPING = Event()


@dataclass
class Calls:
    """What the protector was asked; `silent`: the broker takes nothing."""

    number: int = 0
    silent: bool = False

    def __call__(self) -> None:
        self.number += 1
        if self.silent:
            raise BrokerSilentError("away")


@dataclass
class Told:
    """A connection that tells what the test says, and nothing when that is used up."""

    messages: list[Mapping[str, Decimal]] = field(default_factory=list)
    closed: bool = False

    def receive(self, *, within_seconds: float) -> Mapping[str, Decimal] | None:
        del within_seconds
        return self.messages.pop(0) if self.messages else None

    def close(self) -> None:
        self.closed = True


@dataclass
class Line:
    """A stream that opens these connections one after another; None refuses."""

    connections: list[Told | None]
    asked: int = 0

    def connect(self) -> MarkConnection:
        self.asked += 1
        found = self.connections.pop(0) if self.connections else None
        if found is None:
            raise StreamClosedError("cannot connect")
        return found


@pytest.fixture
def clock(desk: Desk) -> ShiftedClock:
    """The desk's clock; orders that are sent need it to go on."""
    return desk.clock


def passed(side: str) -> dict[str, Decimal]:
    return {BTC: D(49000) if side == "buy" else D(51000)}


def opened(desk: Desk, side: str = "buy") -> Order:
    stop = 49500.0 if side == "buy" else 50500.0
    return desk.order(desk.trade_opened(side=side, stop_loss=stop), "STOP")


def read_for(watch: MarkWatch, seconds: float) -> Iterator[None]:
    """Step until the caller has seen enough, or the time is over."""
    ends = monotonic() + seconds
    while monotonic() < ends:
        watch.step(STOPPING)
        yield
    raise AssertionError("not seen in time")


def test_it_hears_all_symbols_of_the_exchange_and_notes_a_stop_that_is_passed(desk: Desk) -> None:
    stop = opened(desk)
    desk.paper.control("POST", "triggers", {"action": "IGNORE", "symbol": BTC, "count": None})
    stream = BinanceMarkStream(stream_url=desk.paper.stream_url, ping_seconds=15, clock=desk.clock)
    calls = Calls()
    with MarkWatch(stream=stream, call_protector=calls, clock=desk.clock) as watch:
        for _ in read_for(watch, 20):
            if Heartbeat.objects.filter(part=MARK_STREAM).exists():
                break
        assert marks_are_streamed(desk.clock())
        assert Heartbeat.objects.get(part=MARK_STREAM).details["symbols"] > 20
        desk.paper.set_price(BTC, "49000")
        for _ in read_for(watch, 20):
            stop.refresh_from_db()
            if stop.passed_since:
                break
        assert calls.number == 0
        desk.clock.let_pass(2)
        for _ in read_for(watch, 20):
            if calls.number:
                break
    stop.refresh_from_db()
    assert stop.overdue_at is not None


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_it_calls_once_when_the_bound_is_over_without_another_price(desk: Desk, clock: ShiftedClock, side: str) -> None:
    stop, calls = opened(desk, side), Calls()
    clock.stop()
    watch = MarkWatch(stream=Line([Told([passed(side)])]), call_protector=calls, clock=clock)
    watch.step(STOPPING)
    clock.let_pass(1.9)
    watch.step(STOPPING)
    assert calls.number == 0
    clock.let_pass(0.1)
    watch.step(STOPPING)
    watch.step(STOPPING)

    stop.refresh_from_db()
    assert (calls.number, stop.overdue_at) == (1, clock())


def test_a_broker_that_is_away_leaves_it_to_beat(desk: Desk, clock: ShiftedClock) -> None:
    opened(desk)
    clock.stop()
    calls = Calls(silent=True)
    watch = MarkWatch(stream=Line([Told([passed("buy")])]), call_protector=calls, clock=clock)
    watch.step(STOPPING)
    clock.let_pass(2)
    watch.step(STOPPING)
    assert calls.number == 1


def test_a_connection_that_tells_no_prices_is_replaced_with_growing_pauses(desk: Desk, clock: ShiftedClock) -> None:
    desk.clock.stop()
    silent, stopping = Told(), Event()
    # Waiting between two tries is real time.
    stopping.set()
    line = Line([silent, None, None, Told([{BTC: D(50000)}])])
    watch = MarkWatch(stream=line, call_protector=Calls(), clock=clock)
    watch.step(stopping)
    clock.let_pass(MOST_SILENT.total_seconds())
    watch.step(stopping)
    assert (silent.closed, line.asked) == (True, 1)
    asked = []
    for seconds in (0.4, 0.1, 0.9, 0.1, 1.9, 0.1):
        clock.let_pass(seconds)
        watch.step(stopping)
        asked.append(line.asked)
    assert asked == [1, 2, 2, 3, 3, 4]
    assert Heartbeat.objects.get(part=MARK_STREAM).details == {"symbols": 1}


def test_prices_that_are_old_are_not_relied_upon(desk: Desk, clock: ShiftedClock) -> None:
    desk.clock.stop()
    MarkWatch(stream=Line([Told([{BTC: D(50000)}])]), call_protector=Calls(), clock=clock).step(STOPPING)
    assert marks_are_streamed(clock())
    assert not marks_are_streamed(clock() + timedelta(seconds=3.1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"e":"markPriceUpdate","s":"BTCUSDT","p":"50000.10","st":1}]', {BTC: D("50000.10")}),
        ('{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","s":"BTCUSDT","p":"1"}]}', {BTC: D(1)}),
        ('{"e":"markPriceUpdate","s":"BTCUSDT","p":"1"}', {BTC: D(1)}),
        # Contracts of the other product, and what is no price.
        ('[{"e":"markPriceUpdate","s":"BTCUSD_PERP","p":"1","st":2}]', {}),
        ('[{"e":"markPriceUpdate","s":"BTCUSDT","p":"0"},{"e":"x","s":"A","p":"1"},7,{"s":"B"}]', {}),
        ('[{"e":"markPriceUpdate","s":"BTCUSDT","p":"NaN"},{"e":"markPriceUpdate","s":"BTCUSDT","p":null}]', {}),
        ('{"result":null,"id":1}', {}),
        ("7", {}),
        ("no json", {}),
    ],
)
def test_messages_are_read_as_far_as_they_can_be(text: str, found: dict[str, Decimal]) -> None:
    assert read_marks(text) == found
