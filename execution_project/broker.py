"""Celery's transport over Redis, with two repairs: of a connection that was lost, and of the place that it held.

When Redis goes away, kombu closes the connection, which hands unacknowledged messages back over the connection that it
has just forgotten, and tasks that end later acknowledge over it. Both found None where an address should be, and an
AttributeError is nothing to reconnect after: the worker ended. What could not be handed back or acknowledged is
delivered again after the visibility timeout; every task is safe to run twice.

A task that could not be acknowledged kept its place among those that a worker may take at once. A worker that takes one
at a time then took none for good, and asked Redis for nothing, so that it never noticed the loss either.
"""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError


class QoS(redis.QoS):
    """Counts what a worker has taken; what has ended frees its place, whether Redis heard of it or not."""

    def ack(self, delivery_tag: Any) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu has few types
        except RedisError:
            self._quick_ack(delivery_tag)
            raise

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 -- kombu's signature
        try:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
        except RedisError:
            self._quick_ack(delivery_tag)
            raise


class Channel(redis.Channel):
    """Named by the transport below."""

    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 -- kombu's signature
        if self.connection is None or self.connection.client is None:
            raise LostConnectionError("the connection to the broker was lost")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # kombu has few types


class Transport(redis.Transport):
    """Named by `broker_transport` in celeryconfig.py."""

    Channel = Channel
