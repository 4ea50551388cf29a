"""Listens to what workers report of their tasks, as Flower does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.events.receiver import EventReceiver

from execution_project.broker_names import EVENT_EXCHANGE, KEY_PREFIX

Event = dict[str, Any]


@contextmanager
def task_events(broker_url: str) -> Iterator[list[Event]]:
    """Yield a list that grows by each event of a task; the listener is there before the list is."""
    found: list[Event] = []
    # Not the current application of this process: others ask that one for the service's settings.
    app = Celery(broker=broker_url, set_as_current=False)
    app.conf.update(broker_transport_options={"global_keyprefix": KEY_PREFIX}, event_exchange=EVENT_EXCHANGE)
    begun = threading.Event()

    class Listener(EventReceiver):  # type: ignore[misc]
        def on_consume_ready(self, *_: object, **__: object) -> None:
            begun.set()

    def note(event: Event) -> None:
        if str(event.get("type")).startswith("task-"):
            found.append(event)

    connection = app.connection_for_read()
    listener = Listener(connection, handlers={"*": note}, app=app)

    def listen() -> None:
        with app, connection:
            listener.capture(limit=None, timeout=None, wakeup=False)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        if not begun.wait(10):
            raise TimeoutError("the listener has not begun")
        yield found
    finally:
        listener.should_stop = True
        thread.join()
