"""Trims streams and their groups, and never an entry that a consumer has still to read."""

from collections.abc import Sequence

from redis import Redis
from redis.exceptions import ResponseError

from execution.adapters.stream_replies import Facts, reply
from execution.domain.stream_offsets import STREAM_LENGTH

LONG_GONE_MS = 24 * 3600 * 1000
# In one step, because a reader that wakes in between would lose what it is given then.
FORGET_READERS = """
local gone = 0
for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local facts = {}
    for place = 1, #reader, 2 do facts[reader[place]] = reader[place + 1] end
    if facts['pending'] == 0 and facts['idle'] > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts['name'])
        gone = gone + 1
    end
end
return gone
"""


def shorten(redis: Redis, stream: str) -> int:
    """Trim a stream to the system's length when all that any group has still to read is within it.

    Returns how many entries were removed.
    """
    length: int = reply(redis.xlen(stream))
    if length <= STREAM_LENGTH:
        return 0
    groups: Sequence[Facts] = reply(redis.xinfo_groups(stream))
    if not groups or any(_unread(group) is None for group in groups):
        return 0
    if max(_unread(group) or 0 for group in groups) > STREAM_LENGTH:
        return 0
    trimmed: int = reply(redis.xtrim(stream, maxlen=STREAM_LENGTH, approximate=True))
    return trimmed


def forget_readers(redis: Redis, stream: str, group: str, *, idle_ms: int = LONG_GONE_MS) -> int:
    """Delete consumers of a group that were idle for `idle_ms` and hold no entry.

    Each restart makes a new one. Returns how many there were.
    """
    try:
        gone: int = redis.eval(FORGET_READERS, 1, stream, group, str(idle_ms))
    except ResponseError as error:
        # No stream or no group yet: no consumer to delete.
        if "no such key" in str(error) or "NOGROUP" in str(error):
            return 0
        raise
    return gone


def _unread(group: Facts) -> int | None:
    """Return how far from the end a group's oldest unfinished entry may be. None when Redis does not know.

    An entry that was delivered and not acknowledged may lie anywhere in the stream.
    """
    lag = group.get("lag")
    return None if lag is None or group["pending"] else int(lag)
