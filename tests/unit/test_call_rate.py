"""The window of calls by key, at its edges."""

from execution.domain.call_rate import CallRate


class Clock:
    """A clock that stands where it was put."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_calls_beyond_the_limit_wait_until_the_oldest_is_a_minute_old() -> None:
    clock = Clock()
    rate = CallRate(monotonic=clock)

    assert rate.take("a", most=2) == 0
    clock.now = 1010.0
    assert rate.take("a", most=2) == 0
    clock.now = 1020.0
    assert rate.take("a", most=2) == 40
    # Another key has its own.
    assert rate.take("b", most=2) == 0
    clock.now = 1059.0
    assert rate.take("a", most=2) == 1
    clock.now = 1060.0
    assert rate.take("a", most=2) == 0
    # The one of 1010 is still in the window.
    assert rate.take("a", most=2) == 10
