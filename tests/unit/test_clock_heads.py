"""What the heads of answers tell of the exchange's clock: a clock that was set is asked for at once, and only once."""

from execution.adapters.binance.clock import ServerClock

DAY_MS = 86_400_000.0


class Times:
    """Our monotonic and wall clock, in seconds, and the exchange's, in milliseconds ahead of them."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.ahead_ms = 0.0
        self.clock = ServerClock(monotonic=lambda: self.now, wall=lambda: self.now)
        self.clock.ask(self.server)

    def server(self) -> int:
        return int(self.now * 1000 + self.ahead_ms)

    def hear(self, off_ms: float = 0.0) -> bool:
        """Hear one answer; True when the clock is to be asked for now."""
        self.now += 1
        self.clock.hear(self.server() + off_ms)
        return self.clock.is_due


def test_an_exchange_whose_clock_was_set_is_asked_at_once() -> None:
    times = Times()
    times.ahead_ms = 8 * DAY_MS

    assert times.hear()
    times.clock.ask(times.server)

    assert times.clock.offset_ms == 8 * DAY_MS
    assert not times.hear()


def test_a_head_that_is_off_for_good_is_asked_about_once() -> None:
    times = Times()

    assert times.hear(off_ms=2 * DAY_MS)
    times.clock.ask(times.server)

    assert times.clock.offset_ms == 0
    assert [times.hear(off_ms=2 * DAY_MS) for _ in range(5)] == [False] * 5


def test_seconds_of_delay_are_no_reason_to_ask() -> None:
    times = Times()

    assert [times.hear(off_ms=off) for off in (-30_000, 30_000, 0)] == [False] * 3


def test_a_clock_that_was_found_out_otherwise_is_not_asked_again() -> None:
    """A refused signature has led to the question before any head was heard."""
    times = Times()
    times.ahead_ms = 3_600_000
    times.clock.ask(times.server)

    assert not times.hear(off_ms=-3_600_000)
