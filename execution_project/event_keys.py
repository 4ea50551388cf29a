"""The keys of the producers of events, as EVENT_SIGNING_KEYS writes them: one JSON object, an entry a key.

    {"ai-2026a": {"producer": "ai-engine", "secret": "...", "streams": ["ai.decision.made"]}}

A producer may have two keys while they are exchanged. No error shows what was given: it holds the secrets.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SHORTEST_SECRET = 32
FIELDS = frozenset({"producer", "secret", "streams"})
MOST_KEYS = 100


@dataclass(frozen=True, kw_only=True)
class EventKey:
    """One key: whose it is, and the event types that it may sign."""

    producer: str
    secret: SecretStr
    streams: frozenset[str]


def parse_event_keys(text: str) -> Mapping[str, EventKey]:
    """Return the keys by their ids.

    Raises:
        ValueError: not such an object, a short secret, or one secret for two producers; one line a broken rule.

    """
    try:
        given = json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        # Its own text would show what stands there.
        raise ValueError(f"is not JSON: column {error.colno}") from None
    if not isinstance(given, dict) or not 0 < len(given) <= MOST_KEYS:
        raise ValueError(f"must be a JSON object of 1 to {MOST_KEYS} keys")
    if broken := [sentence for key_id, fields in given.items() for sentence in _problems(key_id, fields)]:
        raise ValueError("; ".join(broken))
    keys = {
        key_id: EventKey(
            producer=fields["producer"], secret=SecretStr(fields["secret"]), streams=frozenset(fields["streams"])
        )
        for key_id, fields in given.items()
    }
    _refuse_shared_secrets(keys)
    return keys


def _problems(key_id: str, fields: Any) -> Iterator[str]:
    if not NAME.fullmatch(key_id):
        yield "a key's id must be 1 to 64 of A-Z a-z 0-9 . _ -"
        return
    if not isinstance(fields, dict) or fields.keys() != FIELDS:
        yield f"{key_id} must have exactly: {', '.join(sorted(FIELDS))}"
        return
    producer, secret, streams = fields["producer"], fields["secret"], fields["streams"]
    if not isinstance(producer, str) or not NAME.fullmatch(producer):
        yield f"{key_id}: producer must be 1 to 64 of A-Z a-z 0-9 . _ -"
    if not isinstance(secret, str) or len(secret) < SHORTEST_SECRET or not secret.isascii():
        yield f"{key_id}: secret must have at least {SHORTEST_SECRET} ASCII characters"
    if not isinstance(streams, list) or not streams or not all(isinstance(name, str) and name for name in streams):
        yield f"{key_id}: streams must be a list of event types"


def _refuse_shared_secrets(keys: Mapping[str, EventKey]) -> None:
    """Refuse one secret under two ids: one producer could sign for the other, or a new key is the old one."""
    counted = Counter(key.secret.get_secret_value() for key in keys.values())
    shared = [key_id for key_id, key in keys.items() if counted[key.secret.get_secret_value()] > 1]
    if shared:
        raise ValueError(f"{' and '.join(shared)} have the same secret")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("names something twice")
    return dict(pairs)
