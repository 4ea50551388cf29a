"""Asks Redis about the streams that we read and our groups on them, and makes a missing group in the right place."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from execution.adapters.stream_names import group_of, stream_of
from execution.domain.stream_offsets import BEGINNING, StreamFacts, StreamGap, StreamPlace, continues

PENDING_PAGE = 100
# What Redis says of one key: another type lies there, or we may not touch it. All other refusals are about all of it.
OF_ONE_STREAM = ("WRONGTYPE", "NOPERM")


def is_of_one_stream(error: Exception) -> bool:
    """Whether a refusal concerns a single stream, so that all others go on."""
    return isinstance(error, ResponseError) and (
        isinstance(error, NoPermissionError) or any(code in str(error) for code in OF_ONE_STREAM)
    )


def ask_facts(redis: Redis, event_types: Sequence[str]) -> dict[str, StreamFacts]:
    """Return the facts of every stream that has our group, in one round trip."""
    with redis.pipeline(transaction=False) as pipe:
        for event_type in event_types:
            pipe.xinfo_stream(stream_of(event_type))
            pipe.xinfo_groups(stream_of(event_type))
        replies = pipe.execute(raise_on_error=False)
    found = {}
    for event_type, stream, groups in zip(event_types, replies[::2], replies[1::2], strict=True):
        if isinstance(stream, ResponseError) or isinstance(groups, ResponseError):
            # The stream is gone; the next reading notices it and makes it anew.
            continue
        for reply in (stream, groups):
            if isinstance(reply, Exception):
                raise reply
        if facts := _facts(stream, groups, group_of(event_type)):
            found[event_type] = facts
    return found


def make_group(redis: Redis, event_type: str, place: StreamPlace | None) -> StreamGap | None:
    """Create our group unless it is there: behind the last entry that was handled, or else from the beginning.

    Whatever lies behind that place is read again, and what was stored already is recognised by its identity. A stream
    that has begun anew is read from its beginning, and what was unread of the old one is gone: that is returned.
    """
    stream, group = stream_of(event_type), group_of(event_type)
    fresh = _facts_without_group(redis, stream)
    same = place is not None and fresh is not None and _is_the_same(redis, stream, place, fresh)
    start, read = (place.entry_id, place.entries_read) if place and same else ("0", None)
    try:
        redis.xgroup_create(stream, group, id=start, mkstream=True, entries_read=read)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
        return None
    if place is None or same:
        return None
    return StreamGap(event_type=event_type, after=place.entry_id)


def rested(redis: Redis, event_type: str, pause_ms: Callable[[int], int], count: int) -> dict[str, int]:
    """Return unacknowledged entries whose pause is over, oldest first, with how often each was delivered.

    All that is pending is looked through: entries that rest must not hide those behind them.
    """
    found: dict[str, int] = {}
    start = "-"
    while len(found) < count:
        page: Any = redis.xpending_range(
            stream_of(event_type), group_of(event_type), start, "+", PENDING_PAGE, idle=pause_ms(1)
        )
        for row in page:
            if row["time_since_delivered"] >= pause_ms(row["times_delivered"]):
                found[row["message_id"].decode()] = row["times_delivered"]
        if len(page) < PENDING_PAGE:
            break
        start = f"({page[-1]['message_id'].decode()}"
    return dict(list(found.items())[:count])


def _is_the_same(redis: Redis, stream: str, place: StreamPlace, facts: StreamFacts) -> bool:
    entry: Any = redis.xrange(stream, place.entry_id, place.entry_id)
    return continues(place, facts, entry_is_there=bool(entry))


def _facts_without_group(redis: Redis, stream: str) -> StreamFacts | None:
    try:
        reply: Any = redis.xinfo_stream(stream)
    except ResponseError:
        return None
    return _facts(reply, None, "")


def _facts(stream: Mapping[str, Any], groups: Any, name: str) -> StreamFacts | None:
    common: dict[str, Any] = {
        "first_id": stream["first-entry"][0].decode() if stream["first-entry"] else None,
        "last_id": stream["last-generated-id"].decode(),
        # Redis before 7 does not count.
        "entries_added": int(stream.get("entries-added") or 0),
        "length": int(stream["length"]),
    }
    if groups is None:
        return StreamFacts(**common)
    group = next((group for group in groups if group["name"] == name.encode()), None)
    if group is None:
        return None
    delivered_to, read = group["last-delivered-id"].decode(), group.get("entries-read")
    return StreamFacts(
        **common,
        delivered_to=delivered_to,
        # A group that has read nothing has no count yet.
        entries_read=0 if read is None and delivered_to == BEGINNING else read,
        pending=int(group["pending"]),
    )
