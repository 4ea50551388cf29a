"""Celery's consumer with task events sent in bundles.

A prefork worker sends its event buffer at every turn of its loop, so that each task costs several publications for
Flower alone: a third of the worker's main process. Four bundles a second look the same on Flower's page.
"""

from typing import Any

from celery.worker.consumer import Consumer

BUNDLE_SECONDS = 0.25


class BundlingConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Named by `worker_consumer` in celeryconfig.py."""

    _bundle_due: Any = None

    def on_send_event_buffered(self) -> None:
        """Have the buffer sent soon, instead of at the loop's next turn. Celery calls this for each event."""
        if self.hub and self._bundle_due is None:
            self._bundle_due = self.hub.call_later(BUNDLE_SECONDS, self._send_bundle)

    def _send_bundle(self) -> None:
        self._bundle_due = None
        self._flush_events()
