"""The names that the system gives to streams and their groups."""

STREAM_PREFIX = "quantum:stream:"


def stream_of(event_type: str) -> str:
    return f"{STREAM_PREFIX}{event_type}"


def group_of(event_type: str, service: str = "execution") -> str:
    return f"quantum:group:{service}:{event_type}"
