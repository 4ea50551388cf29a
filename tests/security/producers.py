"""A producer of events that signs them, in another hand than the service's: by the page's words alone."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from tests.support.stack import AI, Seal

KEY_ID, PRODUCER = "ai-1", "ai-engine"


def producer_keys(
    secret: str, *, key_id: str = KEY_ID, streams: tuple[str, ...] = (AI,), further: Mapping[str, object] | None = None
) -> str:
    """Return EVENT_SIGNING_KEYS with one producer's key, and these."""
    own = {key_id: {"producer": PRODUCER, "secret": secret, "streams": list(streams)}}
    return json.dumps({**own, **(further or {})})


def signing_as(secret: str, *, key_id: str = KEY_ID) -> Seal:
    return lambda stream, fields: signed(stream, fields, secret, key_id=key_id)


def signed(
    stream: str, fields: Mapping[Any, Any], secret: str, *, key_id: str = KEY_ID, at_ms: int = 0, nonce: str = ""
) -> dict[Any, Any]:
    """Return the fields of an entry with their signature."""
    marks = {
        "signature_key": key_id,
        "signature_time": str(at_ms or time.time_ns() // 10**6),
        "signature_nonce": nonce or secrets.token_hex(16),
    }
    others = [part for field in sorted(fields.items()) for part in field]
    parts = [part.encode() for part in ("execution-event-1", stream, *marks.values(), *others)]
    body = b"".join(b"%d:%b," % (len(part), part) for part in parts)
    return {**fields, **marks, "signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
