"""Asks Redis about our streams and groups, and creates a missing group at its place."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from execution.adapters.stream_names import group_of, stream_of
from execution.adapters.stream_replies import Batch, Facts, reply
from execution.domain.stream_offsets import BEGINNING, StreamFacts, StreamGap, StreamPlace, continues

PENDING_PAGE = 100
# Refusals that concern one key: it holds another type, or we may not access it. All others concern the whole of Redis.
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
            # The stream is gone. The next reading notices it and creates it anew.
            continue
        for answer in (stream, groups):
            if isinstance(answer, Exception):
                raise answer
        if facts := _facts(stream, groups, group_of(event_type)):
            found[event_type] = facts
    return found


def make_group(redis: Redis, event_type: str, place: StreamPlace | None) -> StreamGap | None:
    """Create our group unless it exists: behind the last handled entry, or else from the beginning.

    Whatever lies behind that place is read again, and what was stored already is recognised by its identity. A stream
    that has begun anew is read from its beginning, and what was unread of the old one is gone: that is returned.
    """
    stream, group = stream_of(event_type), group_of(event_type)
    same = place is not None and _is_the_same(redis, stream, place)
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

    It walks all pending entries: those that still rest must not hide the ones behind them.
    """
    found: dict[str, int] = {}
    start = "-"
    while len(found) < count:
        page: Sequence[Facts] = reply(
            redis.xpending_range(
                stream_of(event_type), group_of(event_type), start, "+", PENDING_PAGE, idle=pause_ms(1)
            )
        )
        for row in page:
            if row["time_since_delivered"] >= pause_ms(row["times_delivered"]):
                found[row["message_id"].decode()] = row["times_delivered"]
        if len(page) < PENDING_PAGE:
            break
        start = f"({page[-1]['message_id'].decode()}"
    return dict(list(found.items())[:count])


def _is_the_same(redis: Redis, stream: str, place: StreamPlace) -> bool:
    """Whether a stream is still the one in which the place was reached, and not one that has begun anew."""
    try:
        facts: Facts = reply(redis.xinfo_stream(stream))
    except ResponseError:
        return False
    entry: Batch = reply(redis.xrange(stream, place.entry_id, place.entry_id))
    return continues(place, _facts_of_stream(facts), entry_is_there=bool(entry))


def _facts_of_stream(stream: Facts) -> StreamFacts:
    return StreamFacts(
        first_id=stream["first-entry"][0].decode() if stream["first-entry"] else None,
        last_id=stream["last-generated-id"].decode(),
        # Redis before 7 does not count.
        entries_added=int(stream.get("entries-added") or 0),
        length=int(stream["length"]),
    )


def _facts(stream: Facts, groups: Sequence[Facts], name: str) -> StreamFacts | None:
    """Return the facts of a stream and the group of that name, or None without such a group."""
    group = next((group for group in groups if group["name"] == name.encode()), None)
    if group is None:
        return None
    delivered_to, read = group["last-delivered-id"].decode(), group.get("entries-read")
    return replace(
        _facts_of_stream(stream),
        delivered_to=delivered_to,
        # A group that has read nothing has no count yet.
        entries_read=0 if read is None and delivered_to == BEGINNING else read,
        pending=int(group["pending"]),
    )
