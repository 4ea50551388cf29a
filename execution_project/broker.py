"""Celery's transport over Redis, with one repair: using a connection that was lost is a connection error.

When Redis goes away, kombu closes the connection, which hands unacknowledged messages back over the connection that it
has just forgotten, and tasks that end later acknowledge over it. Both found None where an address should be, and an
AttributeError is nothing to reconnect after: the worker ended. What could not be handed back or acknowledged is
delivered again after the visibility timeout; every task is safe to run twice.
"""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as LostConnectionError


class Channel(redis.Channel):
    """Named by the transport below."""

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 -- kombu's signature
        if self.connection is None or self.connection.client is None:
            raise LostConnectionError("the connection to the broker was lost")
        return super()._connparams(asynchronous)  # type: ignore[no-untyped-call]  # kombu has few types


class Transport(redis.Transport):
    """Named by `broker_transport` in celeryconfig.py."""

    Channel = Channel
