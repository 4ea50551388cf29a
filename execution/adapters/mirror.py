"""The second backend of the TradeStore: open trades as Redis hashes, for neighbours that read fast."""

from collections.abc import Mapping, Sequence
from itertools import chain

from redis import Redis, RedisError

from execution.domain.ports import MirrorError

PREFIX = "trade:"
# Reconciliation may have read a trade as open just before it was closed and mirrored: what it writes then is outdated.
# A close is always written, whatever its time.
# A key of another type is no trade and is deleted: it must not stop the relay or reconciliation.
WRITE = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then redis.call('DEL', KEYS[1]) end
local known = redis.call('HMGET', KEYS[1], 'status', 'updated_at')
if known[1] == 'CLOSED' and ARGV[1] == 'OPEN' and known[2] and known[2] > ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
if ARGV[3] ~= '' then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return 1
"""


class RedisTradeMirror:
    """Writes `trade:{id}` hashes, each with all of its fields.

    PostgreSQL has every trade, so losing the hashes costs no more than rebuilding them.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write = redis.register_script(WRITE)

    def write(self, trades: Sequence[Mapping[str, str]], *, keep_seconds: int | None) -> None:
        """Store the trades. With `keep_seconds` their hashes expire after that time.

        An open state that is older than a close already stored is left out.

        Raises:
            MirrorError: Redis is away, or takes nothing.

        """
        if not trades:
            return
        try:
            self._write_all(trades, "" if keep_seconds is None else str(keep_seconds))
        except RedisError as error:
            raise MirrorError(f"{type(error).__name__}: {error}") from error

    def _write_all(self, trades: Sequence[Mapping[str, str]], kept: str) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            for trade in trades:
                facts = [trade["status"], trade["updated_at"], kept, *chain.from_iterable(trade.items())]
                self._write(keys=[f"{PREFIX}{trade['trade_id']}"], args=facts, client=pipe)
            pipe.execute()
