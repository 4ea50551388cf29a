"""A mark in Redis that shows whether Redis has kept its data.

A Redis that was flushed, or restarted without its data, has lost the mark with everything else.
"""

import structlog
from redis import Redis, RedisError

log = structlog.get_logger(__name__)
KEY = "execution:memory"


class RedisMemory:
    """Sets and finds the mark. A Redis that does not answer counts as one that has lost its data."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def is_whole(self) -> bool:
        try:
            return bool(self._redis.exists(KEY))
        except RedisError:
            return False

    def mark_intact(self) -> None:
        try:
            self._redis.set(KEY, 1)
        except RedisError as error:
            # Without the mark entries wait, which is right while Redis is away.
            log.warning("mark_not_left", error=type(error).__name__)
