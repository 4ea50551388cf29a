"""Runs work on several positions in parallel, so that none waits for another's answer.

Each worker is a thread with a database connection and an exchange client of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

from django.db import connections

from execution.domain.ports import Exchange, SpareExchange

Value = TypeVar("Value")
# Most of a task is waiting for the exchange; more workers than this would wait for the processor instead.
MOST_WORKERS = 8
LOOK_SECONDS = 0.5


def run_parallel(
    tasks: Sequence[Callable[[Exchange], Value]], exchange: Exchange, spare: SpareExchange | None
) -> list[Value]:
    """Run the tasks, the first ones first, and return their results in their order.

    The caller runs a single task itself, on its own connections, and all of them when there are no spare clients.

    Raises:
        Exception: the first that a task raised; the other workers run the tasks that had not begun.

    """
    workers = min(len(tasks), MOST_WORKERS)
    if spare is None or workers < 2:
        return [task(exchange) for task in tasks]
    waiting: SimpleQueue[tuple[int, Callable[[Exchange], Value]]] = SimpleQueue()
    for numbered in enumerate(tasks):
        waiting.put(numbered)
    answers: dict[int, Value] = {}
    with ThreadPoolExecutor(workers) as pool:
        working = [pool.submit(_work, waiting, answers, spare) for _ in range(workers)]
        try:
            # In short waits: a thread that sleeps on a lock does not notice that the time of its Celery task is over.
            while wait(working, LOOK_SECONDS).not_done:
                pass
        finally:
            # Cut short, the workers end what they have begun and take no more.
            with suppress(Empty):
                while True:
                    waiting.get_nowait()
    for worker in working:
        worker.result()
    return [answers[number] for number in range(len(tasks))]


def _work(
    waiting: "SimpleQueue[tuple[int, Callable[[Exchange], Value]]]", answers: dict[int, Value], spare: SpareExchange
) -> None:
    try:
        with spare() as exchange:
            while True:
                number, task = waiting.get_nowait()
                answers[number] = task(exchange)
    except Empty:
        return
    finally:
        # The thread ends here, and its connection would stay open until the garbage is collected.
        connections.close_all()
