"""Celery's transport over Redis, with repairs: of a connection that was lost, of the place that it held, of a question.

When Redis goes away, kombu closes the connection, which hands unacknowledged messages back over the connection that it
has just forgotten, and tasks that end later acknowledge over it. Both found None where an address should be, and an
AttributeError is nothing to reconnect after: the worker ended. What could not be handed back or acknowledged is
delivered again after the visibility timeout; every task is safe to run twice.

A task that could not be acknowledged kept its place among those that a worker may take at once. A worker that takes one
at a time then took none for good, and asked Redis for nothing, so that it never noticed the loss either.

With a prefix in front of its keys kombu asks whether a queue exists without it: EXISTS is not among the commands that
it prefixes. And an address that it knows for a socket of this machine would choose kombu's own transport, not ours.
"""

from typing import Any

from kombu.transport import redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError

# Of connections: by TCP, and by a socket of this machine.
CLASSES: tuple[Any, Any] = (redis.Channel.connection_class, UnixDomainSocketConnection)
OF_TCP = frozenset({"host", "port", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"})


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
    # Of a socket of this machine; empty: host and port count.
    socket_path = ""
    from_transport_options = (*redis.Channel.from_transport_options, "socket_path")  # type: ignore[assignment]

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 -- kombu's signature
        if self.connection is None or self.connection.client is None:
            raise LostConnectionError("the connection to the broker was lost")
        # Read by kombu's own code below, which makes its class of connections from this one.
        self.connection_class = CLASSES[bool(self.socket_path)]
        parameters = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # kombu has few types
        if self.socket_path:
            parameters = {name: value for name, value in parameters.items() if name not in OF_TCP}
            parameters["path"] = self.socket_path
        return parameters

    def _has_queue(self, queue: str, **_: Any) -> bool:
        """Whether messages lie in a queue, which is when Redis has its list."""
        return bool(self._size(queue))  # type: ignore[no-untyped-call]  # as above


class Transport(redis.Transport):
    """Named by `broker_transport` in celeryconfig.py."""

    Channel = Channel
