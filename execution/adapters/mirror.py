"""The second backend of the TradeStore: open trades as Redis hashes, for neighbours that read fast."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

PREFIX = "trade:"


class RedisTradeMirror:
    """Writes `trade:{id}` hashes whole; PostgreSQL is the truth, so losing them costs nothing but a rebuild."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def write(self, trades: Sequence[Mapping[str, str]], *, keep_seconds: int | None) -> None:
        """Store the trades; with `keep_seconds` they vanish after that time."""
        if not trades:
            return
        with self._redis.pipeline(transaction=True) as pipe:
            for trade in trades:
                key = f"{PREFIX}{trade['trade_id']}"
                pipe.hset(key, mapping=dict[Any, Any](trade))
                if keep_seconds is not None:
                    pipe.expire(key, keep_seconds)
            pipe.execute()
