"""One holder at a time of a periodic duty, by a lease in Redis that runs out when its holder dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from redis import Redis

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@contextmanager
def lease(redis: Redis, duty: str, *, seconds: float) -> Iterator[bool]:
    """Yield whether this caller has the duty now; it only avoids pile-ups, correctness never rests on it."""
    key, token = f"execution:lease:{duty}", uuid4().hex
    held = bool(redis.set(key, token, nx=True, px=int(seconds * 1000)))
    try:
        yield held
    finally:
        # Only our own lease: another holder may have taken over after ours ran out.
        if held:
            redis.eval(RELEASE, 1, key, token)
