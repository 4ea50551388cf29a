"""Several positions at a time: what concerns one of them waits for no answer that another is waiting for.

Each hand is a thread with a database connection and an exchange client of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

from django.db import connections

from execution.domain.ports import Exchange

# Lends a client that nobody else uses meanwhile.
SpareExchange = Callable[[], AbstractContextManager[Exchange]]
Value = TypeVar("Value")
# Most of an errand is waiting for the exchange; more hands than this would wait for the processor instead.
MOST_HANDS = 8
LOOK_SECONDS = 0.5


def run_parallel(
    errands: Sequence[Callable[[Exchange], Value]], exchange: Exchange, spare: SpareExchange | None
) -> list[Value]:
    """Run the errands, the first ones first, and return their answers in their order.

    A single errand, or any without spare clients, is the caller's own work, on its own connections.

    Raises:
        Exception: the first that an errand raised; those that had not begun in that hand are left to the others.

    """
    hands = min(len(errands), MOST_HANDS)
    if spare is None or hands < 2:
        return [errand(exchange) for errand in errands]
    waiting: SimpleQueue[tuple[int, Callable[[Exchange], Value]]] = SimpleQueue()
    for numbered in enumerate(errands):
        waiting.put(numbered)
    answers: dict[int, Value] = {}
    with ThreadPoolExecutor(hands) as pool:
        working = [pool.submit(_work_off, waiting, answers, spare) for _ in range(hands)]
        try:
            # Looked at again and again: a thread that sleeps on a lock cannot be told that its task's time is over.
            while wait(working, LOOK_SECONDS).not_done:
                pass
        finally:
            # Cut short, the hands end what they have begun and take no more.
            with suppress(Empty):
                while True:
                    waiting.get_nowait()
    for hand in working:
        hand.result()
    return [answers[number] for number in range(len(errands))]


def _work_off(
    waiting: "SimpleQueue[tuple[int, Callable[[Exchange], Value]]]", answers: dict[int, Value], spare: SpareExchange
) -> None:
    try:
        with spare() as exchange:
            while True:
                number, errand = waiting.get_nowait()
                answers[number] = errand(exchange)
    except Empty:
        return
    finally:
        # The thread ends here, and its connection would stay open until the garbage is collected.
        connections.close_all()
