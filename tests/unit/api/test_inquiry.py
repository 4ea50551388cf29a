"""A store that hangs is named in time, by everybody who asks, and asked once only."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from execution.api.inquiry import Inquiry, UnansweredError

SECONDS = 0.2


def hanging(release: Event, asked: list[int]) -> Callable[[], str]:
    def question() -> str:
        asked.append(1)
        release.wait(30)
        return "answer"

    return question


def test_an_answer_in_time_is_returned() -> None:
    assert Inquiry(lambda: "answer", seconds=5).ask() == "answer"


def test_a_late_answer_is_no_silence_while_the_last_one_is_fresh() -> None:
    release, answers = Event(), iter(["first", "second"])

    def question() -> str:
        answer = next(answers)
        if answer == "second":
            release.wait(30)
        return answer

    inquiry = Inquiry(question, seconds=SECONDS, kept_seconds=60)
    assert inquiry.ask() == "first"
    assert inquiry.ask() == "first"
    # It should tell the second one as soon as it is there.
    release.set()
    inquiry.in_its_thread(lambda: None)
    assert inquiry._last is not None
    assert inquiry._last[0] == "second"


def test_the_last_answer_counts_for_a_while_only() -> None:
    release, answers = Event(), iter(["first", "second"])

    def question() -> str:
        answer = next(answers)
        if answer == "second":
            release.wait(30)
        return answer

    inquiry = Inquiry(question, seconds=SECONDS, kept_seconds=SECONDS / 2)
    assert inquiry.ask() == "first"
    with pytest.raises(UnansweredError):
        inquiry.ask()
    release.set()


def test_what_the_question_raises_is_raised() -> None:
    def question() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Inquiry(question, seconds=5).ask()


def test_a_time_out_of_the_question_itself_is_its_answer() -> None:
    def question() -> str:
        raise TimeoutError("of the socket")

    with pytest.raises(TimeoutError, match="of the socket"):
        Inquiry(question, seconds=5).ask()


def test_a_question_that_hangs_is_named_in_time_and_put_once() -> None:
    release = Event()
    asked: list[int] = []
    inquiry = Inquiry(hanging(release, asked), seconds=SECONDS)
    begun = time.monotonic()

    def ask() -> str:
        with pytest.raises(UnansweredError, match=r"no answer within 0\.2s") as said:
            inquiry.ask()
        return str(said.value)

    with ThreadPoolExecutor(8) as callers:
        assert len([each.result() for each in [callers.submit(ask) for _ in range(8)]]) == 8
    # It should tell whoever comes later at once, without another wait.
    later = time.monotonic()
    ask()
    assert time.monotonic() - later < SECONDS
    assert time.monotonic() - begun < 10
    assert asked == [1]
    # It should be asked anew once the hanging question has ended.
    release.set()
    inquiry.in_its_thread(lambda: None)
    assert inquiry.ask() == "answer"
    assert len(asked) == 2
