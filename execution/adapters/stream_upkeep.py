"""Keeps streams and their groups from growing without end, and never takes an entry that somebody has still to read."""

from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

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
    """Trim a stream to the system's length when all that any group has still to read is within it."""
    length: Any = redis.xlen(stream)
    if length <= STREAM_LENGTH:
        return 0
    groups: Any = redis.xinfo_groups(stream)
    if not groups or any(_unread(group) is None for group in groups):
        return 0
    if max(_unread(group) or 0 for group in groups) > STREAM_LENGTH:
        return 0
    trimmed: Any = redis.xtrim(stream, maxlen=STREAM_LENGTH, approximate=True)
    return int(trimmed)


def forget_readers(redis: Redis, stream: str, group: str, *, idle_ms: int = LONG_GONE_MS) -> int:
    """Drop readers of a group that have been silent for long and hold nothing: each restart makes new ones."""
    try:
        gone: Any = redis.eval(FORGET_READERS, 1, stream, group, str(idle_ms))
    except ResponseError as error:
        # No stream or no group yet: nobody to forget.
        if "no such key" in str(error) or "NOGROUP" in str(error):
            return 0
        raise
    return int(gone)


def _unread(group: Mapping[str, Any]) -> int | None:
    """Return how far from the end a group's oldest unfinished entry may be; None when Redis cannot tell.

    What was given to a reader and not acknowledged may lie anywhere in the stream.
    """
    lag = group.get("lag")
    return None if lag is None or group["pending"] else int(lag)
